"""The fixed validation set: scenes that no training seed reaches, scored like a movie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.prediction import DecodingConfig
from hdsmlm.config.run import RunConfig
from hdsmlm.evaluation.matching import match_knn
from hdsmlm.evaluation.overlay import draw_overlay, scored_marks
from hdsmlm.evaluation.scores import DetectionScore, score, tiers
from hdsmlm.inference.decode import decode
from hdsmlm.labels.counts import Labels, count_labels
from hdsmlm.normalization import normalizer_of_array
from hdsmlm.records.emitters import Emitters
from hdsmlm.simulation.scene import SceneSampler

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Normalized frames (t, y, x) to probabilities (t, 4, y, x)."""


@dataclass(frozen=True)
class LabelledScene:
    """A scene as the network sees it, with its truth.

    Parameters
    ----------
    frames : array of float32, shape (t, y, x)
        Normalized.
    labels : Labels
        Count classes and weights.
    emitters : Emitters
        Truth.
    pixel_size_nm : float
        Side of a pixel.
    """

    frames: NDArray[np.float32]
    labels: Labels
    emitters: Emitters
    pixel_size_nm: float


def draw_labelled_scenes(config: RunConfig, seed: int, count: int) -> list[LabelledScene]:
    """Draw ``count`` scenes of a stream, the same ones every time."""
    sampler = SceneSampler(config.simulation, config.training.scene_shape)
    scenes = []
    for index in range(count):
        scene = sampler.draw(seed, index)
        frames = normalizer_of_array(scene.frames, config.normalization)(scene.frames, 0)
        labels = count_labels(scene.emitters, scene.frames.shape, scene.pixel_size_nm)
        scenes.append(LabelledScene(frames, labels, scene.emitters, scene.pixel_size_nm))
    return scenes


def score_tier1(
    scenes: list[LabelledScene],
    probabilities: list[NDArray[np.float32]],
    decoding: DecodingConfig,
) -> DetectionScore:
    """Return the pooled kNN score for reliable emitters (SNR >= 2)."""
    tp = fp = fn = ignored = 0
    for scene, p in zip(scenes, probabilities, strict=True):
        found = decode(p, decoding, pixel_size_nm=scene.pixel_size_nm)
        result = score(
            match_knn(scene.emitters, found, scene.pixel_size_nm), tiers(scene.emitters) == 1
        )
        tp, fp, fn = tp + result.tp, fp + result.fp, fn + result.fn
        ignored += result.ignored
    return DetectionScore(tp, fp, fn, ignored)


class ValidationSet:
    """Scores a network on fixed scenes; ``scenes`` and the last ``probabilities`` can be drawn."""

    def __init__(self, config: RunConfig, seed: int) -> None:
        self.config = config
        self.scenes = draw_labelled_scenes(config, seed, config.training.validation.scenes)
        self.probabilities: list[NDArray[np.float32]] = []

    def score(self, network: Network) -> dict[str, float]:
        """Return cross-entropy and the tier-1 kNN scores at the default decoding."""
        self.probabilities = [network(scene.frames) for scene in self.scenes]
        detection = score_tier1(self.scenes, self.probabilities, DecodingConfig())
        return {
            "loss": cross_entropy(self.scenes, self.probabilities),
            "recall": detection.recall,
            "precision": detection.precision,
            "f1": detection.f1,
        }


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
