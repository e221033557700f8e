"""The fixed validation set: scenes that no training seed reaches, scored like a movie.

The simulated part is the same for every run of the same ranges. Each binned source adds a part of
its own: whole sequences that are never learnt from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.prediction import DecodingConfig
from hdsmlm.config.run import RunConfig
from hdsmlm.evaluation.doubt import DoubtfulTruth, score_beside_doubt
from hdsmlm.evaluation.matching import match_knn
from hdsmlm.evaluation.overlay import draw_overlay, scored_marks
from hdsmlm.evaluation.scores import DetectionScore
from hdsmlm.inference.decode import decode
from hdsmlm.inference.windows import pad_frames, padded_size
from hdsmlm.simulation.scene import SceneSampler
from hdsmlm.training.binned import labelled_sequence
from hdsmlm.training.patches import LabelledScene, labelled
from hdsmlm.training.sources import OpenSource

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Normalized frames (t, y, x) to probabilities (t, 4, y, x)."""


def draw_labelled_scenes(config: RunConfig, seed: int, count: int) -> list[LabelledScene]:
    """Draw ``count`` scenes of a stream, the same ones every time."""
    sampler = SceneSampler(config.simulation, config.training.scene_shape)
    return [labelled(sampler.draw(seed, index), config) for index in range(count)]


def score_tier1(
    scenes: list[LabelledScene],
    probabilities: list[NDArray[np.float32]],
    decoding: DecodingConfig,
) -> DetectionScore:
    """Return the pooled kNN score for reliable emitters (SNR >= 2); nothing counts in doubt."""
    tp = fp = fn = ignored = 0
    for scene, p in zip(scenes, probabilities, strict=True):
        found = decode(p, decoding, pixel_size_nm=scene.pixel_size_nm)
        truth = DoubtfulTruth(
            scene.emitters, scene.doubtful, scene.frames.shape, scene.pixel_size_nm
        )
        result = score_beside_doubt(truth, found)
        tp, fp, fn = tp + result.tp, fp + result.fp, fn + result.fn
        ignored += result.ignored
    return DetectionScore(tp, fp, fn, ignored)


@dataclass(frozen=True)
class BinnedPart:
    """Sequences of one binned source that are scored and never learnt from.

    Parameters
    ----------
    name : str
        Of the source.
    weight : float
        Its share of the mixture.
    scenes : list of LabelledScene
        The sequences.
    """

    name: str
    weight: float
    scenes: list[LabelledScene]


class ValidationSet:
    """Scores a network on fixed scenes; ``scenes`` and the last ``probabilities`` can be drawn.

    Parameters
    ----------
    config : RunConfig
        The run.
    seed : int
        Stream of the simulated scenes.
    sources : sequence of OpenSource
        The binned sources of the run.
    """

    def __init__(self, config: RunConfig, seed: int, sources: Sequence[OpenSource] = ()) -> None:
        self.config = config
        self.scenes = draw_labelled_scenes(config, seed, config.training.validation.scenes)
        self.probabilities: list[NDArray[np.float32]] = []
        self._simulated_weight, *weights = config.data.weights
        self.parts = [
            BinnedPart(source.identity.name, weight, self._held_out(source))
            for source, weight in zip(sources, weights, strict=True)
        ]

    def _held_out(self, source: OpenSource) -> list[LabelledScene]:
        rows = evenly(source.held_out_rows, self.config.training.validation.scenes)
        return [
            labelled_sequence(source.sequences, int(row), self.config.normalization) for row in rows
        ]

    def score(self, network: Network) -> dict[str, float]:
        """Return cross-entropy and the tier-1 kNN scores at the default decoding.

        The names ``loss``, ``recall``, ``precision`` and ``f1`` are of the simulated scenes. A
        binned source adds ``NAME_loss`` and ``NAME_f1``; with any, ``mixed_loss`` is the mean of
        the losses, weighted as the sources are.
        """
        self.probabilities = [network(scene.frames) for scene in self.scenes]
        detection = score_tier1(self.scenes, self.probabilities, DecodingConfig())
        scores = {
            "loss": cross_entropy(self.scenes, self.probabilities),
            "recall": detection.recall,
            "precision": detection.precision,
            "f1": detection.f1,
        }
        mixed = self._simulated_weight * scores["loss"]
        for part in self.parts:
            answers = [self._answer(network, scene) for scene in part.scenes]
            loss = cross_entropy(part.scenes, answers)
            scores[f"{part.name}_loss"] = loss
            scores[f"{part.name}_f1"] = score_tier1(part.scenes, answers, DecodingConfig()).f1
            mixed += part.weight * loss
        if self.parts:
            scores["mixed_loss"] = mixed
        return scores

    def _answer(self, network: Network, scene: LabelledScene) -> NDArray[np.float32]:
        """Run the network on a field of any size."""
        _, height, width = scene.frames.shape
        multiple = self.config.network.spatial_multiple
        size = [padded_size(n, multiple=multiple, smallest=multiple) for n in (height, width)]
        return network(pad_frames(scene.frames, *size))[:, :, :height, :width]


def evenly(rows: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return at most ``count`` of the rows, evenly spread, the first one always."""
    if len(rows) <= count:
        return rows
    return rows[np.arange(count) * len(rows) // count]


def cross_entropy(scenes: list[LabelledScene], probabilities: list[NDArray[np.float32]]) -> float:
    """Return the mean of ``-log p(true class)`` over the pixels that count."""
    total = weight = 0.0
    for scene, p in zip(scenes, probabilities, strict=True):
        classes = scene.labels.classes[:, None].astype(np.intp)
        true = np.take_along_axis(p, classes, axis=1)[:, 0]
        total -= float(np.sum(scene.labels.weights * np.log(np.maximum(true, 1e-7))))
        weight += float(scene.labels.weights.sum())
    return total / weight


def draw_validation(validation: ValidationSet, folder: Path, count: int = 3) -> list[Path]:
    """Write overlays of the middle frames of the first scenes: correct, missed, false."""
    pictures = []
    scored = zip(validation.scenes, validation.probabilities, strict=True)
    for index, (scene, p) in enumerate(list(scored)[:count]):
        middle = len(p) // 2
        found = decode(p, DecodingConfig(), pixel_size_nm=scene.pixel_size_nm)
        matching = match_knn(scene.emitters, found, scene.pixel_size_nm)
        marks = scored_marks(scene.emitters, found, matching, middle, scene.pixel_size_nm)
        pictures.append(
            draw_overlay(
                scene.frames[middle],
                marks,
                folder / f"scene_{index}.png",
                scene.pixel_size_nm,
                f"validation scene {index}, frame {middle}",
            )
        )
    return pictures
