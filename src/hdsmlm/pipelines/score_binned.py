"""Score a model on binned recordings: real light, or a virtual movie's, whose truth was measured.

Whole sequences are predicted, decoded and matched. Where the truth is in doubt nothing counts, for
found emitters and for counts alike. Unless all are asked for, only the sequences are scored that no
run learns from; they are other sums of the same sparse frames, so that a model which learnt from
the folder is at home in them. An independent comparison needs a folder that neither model has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.bundle import Bundle
from hdsmlm.config.evaluation import EvaluationConfig
from hdsmlm.config.prediction import EngineName, Precision
from hdsmlm.errors import ConfigError
from hdsmlm.evaluation.detection import random_placement
from hdsmlm.evaluation.doubt import DoubtfulTruth, score_beside_doubt
from hdsmlm.evaluation.matching import Field
from hdsmlm.evaluation.scores import DetectionScore
from hdsmlm.inference.decode import decode
from hdsmlm.inference.engines import build_engine
from hdsmlm.inference.predictor import Predictor
from hdsmlm.pipelines.validation import cross_entropy
from hdsmlm.records.count_map import expected_count
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.training.binned import Sequences, held_out_rows, labelled_sequence
from hdsmlm.training.patches import LabelledScene
from hdsmlm.training.sources import open_folder
from hdsmlm.units import density_per_um2


@dataclass(frozen=True)
class BinnedScore:
    """Scores of one model on sequences of one recording, pooled.

    Parameters
    ----------
    name : str
        Of the recording.
    n_sequences, n_frames : int
        How many were scored.
    density_per_um2 : float
        True emitters per µm² and frame, those with SNR < 2 included, doubtful ones not.
    doubt_share : float
        Share of the pixels in which nothing counts (SNR < 2 or in doubt).
    detection : DetectionScore
        Tier-1 kNN.
    f1_error : float
        Standard error of F1, by a jackknife over the sequences; NaN for a single one.
    chance_f1 : float
        F1 of as many random positions.
    loss : float
        Cross-entropy over the pixels that count.
    count_bias : float
        Expected minus true counts over the pixels that count, relative to the true ones.
    count_error : float
        Mean over frames of the absolute difference of the two, relative to the mean true count.
    """

    name: str
    n_sequences: int
    n_frames: int
    density_per_um2: float
    doubt_share: float
    detection: DetectionScore
    f1_error: float
    chance_f1: float
    loss: float
    count_bias: float
    count_error: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, rounded; None where a score has no value."""
        found = self.detection
        values = {
            "density_per_um2": self.density_per_um2,
            "doubt_share": self.doubt_share,
            "f1": found.f1,
            "f1_error": self.f1_error,
            "recall": found.recall,
            "precision": found.precision,
            "rmse_nm": found.rmse_nm,
            "chance_f1": self.chance_f1,
            "loss": self.loss,
            "count_bias": self.count_bias,
            "count_error": self.count_error,
        }
        return {
            "n_sequences": self.n_sequences,
            "n_frames": self.n_frames,
            **{
                name: round(float(value), 5) if np.isfinite(value) else None
                for name, value in values.items()
            },
        }


@dataclass(frozen=True)
class SequenceChoice:
    """Which sequences of which recording are scored.

    Parameters
    ----------
    name : str
        Of the recording.
    sequences : Sequences
        The recording.
    rows : array of int
        Its sequences that are scored.
    """

    name: str
    sequences: Sequences
    rows: NDArray[np.intp]


def choose_sequences(folders: Sequence[Path], every: bool) -> list[SequenceChoice]:
    """Open folders of ``hdsmlm bin`` for scoring.

    Parameters
    ----------
    folders : sequence of Path
        The folders; each is called by its name.
    every : bool
        Take all sequences; else those alone that no run learns from.

    Raises
    ------
    ConfigError
        When a folder is missing or damaged, or two have one name.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"two folders have the same name among {', '.join(names)}; rename one, so that the "
            "scores can be told apart"
        )
    choices = []
    for folder, name in zip(folders, names, strict=True):
        sequences = open_folder(folder, name, verify=True).sequences
        n = sequences.n_sequences
        rows = np.arange(n, dtype=np.intp) if every else held_out_rows(n)[1]
        choices.append(SequenceChoice(name, sequences, rows))
    return choices


def score_binned(
    bundle: Bundle,
    choices: Sequence[SequenceChoice],
    engine: EngineName = "auto",
    precision: Precision = "f32",
    listener: Listener = silent,
) -> tuple[BinnedScore, ...]:
    """Predict, decode and score sequences of binned recordings with a bundle."""
    predictor = Predictor(build_engine(engine, bundle, precision=precision), bundle.manifest)
    return tuple(_score(bundle, predictor, choice, listener) for choice in choices)


def _score(
    bundle: Bundle, predictor: Predictor, choice: SequenceChoice, listener: Listener
) -> BinnedScore:
    tally = _Tally(bundle, choice.sequences.pixel_size_nm)
    for done, row in enumerate(choice.rows):
        scene = labelled_sequence(choice.sequences, int(row), bundle.manifest.normalization)
        tally.add(scene, predictor.predict(scene.frames))
        listener(Event("score", done + 1, len(choice.rows), choice.name, "sequences"))
    return tally.result(choice)


class _Tally:
    """Adds up what the sequences of one recording give."""

    def __init__(self, bundle: Bundle, pixel_size_nm: float) -> None:
        self._decoding = bundle.manifest.decoding
        self._pixel_size_nm = pixel_size_nm
        settings = EvaluationConfig()
        self._rng = np.random.default_rng(settings.chance_seed)
        self._found: list[DetectionScore] = []
        self._chance: list[DetectionScore] = []
        self._squares: list[float] = []
        self._losses: list[float] = []
        self._loss_weights: list[float] = []
        self._expected: list[NDArray[np.float64]] = []
        self._true: list[NDArray[np.float64]] = []
        self._emitters = 0

    def add(self, scene: LabelledScene, probabilities: NDArray[np.float32]) -> None:
        """Add one sequence: probabilities (t, 4, y, x)."""
        t, height, width = scene.frames.shape
        truth = DoubtfulTruth(
            scene.emitters, scene.doubtful, scene.frames.shape, scene.pixel_size_nm
        )
        found = decode(probabilities, self._decoding, pixel_size_nm=scene.pixel_size_nm)
        result = score_beside_doubt(truth, found)
        self._found.append(result)
        field = Field(t, height, width, scene.pixel_size_nm)
        self._chance.append(score_beside_doubt(truth, random_placement(found, field, self._rng)))
        if result.tp:
            self._squares.append(result.tp * result.rmse_nm**2)
        weights = scene.labels.weights
        self._losses.append(cross_entropy([scene], [probabilities]))
        self._loss_weights.append(float(weights.sum()))
        expected = expected_count(probabilities) * weights
        self._expected.append(expected.sum(axis=(1, 2), dtype=np.float64))
        self._true.append((scene.labels.classes * weights).sum(axis=(1, 2), dtype=np.float64))
        self._emitters += len(scene.emitters)

    def result(self, choice: SequenceChoice) -> BinnedScore:
        """Return the pooled scores."""
        t, height, width = choice.sequences.shape
        n_frames = t * len(choice.rows)
        expected, true = np.concatenate(self._expected), np.concatenate(self._true)
        mean_true = max(float(true.mean()), np.finfo(float).tiny)
        counted = float(np.sum(self._loss_weights))
        return BinnedScore(
            name=choice.name,
            n_sequences=len(choice.rows),
            n_frames=n_frames,
            density_per_um2=density_per_um2(
                self._emitters / n_frames, height, width, self._pixel_size_nm
            ),
            doubt_share=1.0 - counted / (n_frames * height * width),
            detection=_pooled(self._found, self._squares),
            f1_error=jackknife_error(self._found),
            chance_f1=_pooled(self._chance, []).f1,
            loss=float(np.average(self._losses, weights=self._loss_weights)),
            count_bias=float((expected.mean() - true.mean()) / mean_true),
            count_error=float(np.abs(expected - true).mean() / mean_true),
        )


def jackknife_error(parts: Sequence[DetectionScore]) -> float:
    """Return the standard error of the pooled F1 over independent parts.

    ``sqrt((n - 1)/n Σ (F1_-i - mean)²)`` with F1_-i that of all parts but i (Efron and Stein, The
    jackknife estimate of variance, Annals of Statistics, 1981); NaN for fewer than two parts.
    """
    if len(parts) < 2:
        return float("nan")
    counts = np.array([(part.tp, part.fp, part.fn) for part in parts], float)
    tp, fp, fn = (counts.sum(axis=0) - counts).T
    f1 = 2 * tp / np.maximum(2 * tp + fp + fn, 1.0)
    n = len(parts)
    return float(np.sqrt((n - 1) / n * ((f1 - f1.mean()) ** 2).sum()))


def _pooled(parts: list[DetectionScore], squares: list[float]) -> DetectionScore:
    tp = sum(part.tp for part in parts)
    return DetectionScore(
        tp,
        sum(part.fp for part in parts),
        sum(part.fn for part in parts),
        sum(part.ignored for part in parts),
        float(np.sqrt(sum(squares) / tp)) if tp and squares else float("nan"),
    )
