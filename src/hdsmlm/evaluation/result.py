"""The whole result of an evaluation, and its flat form ``scores.json``.

Keys of ``scores.json``; a value that has no meaning (no predictions, no SNR column) is null:

==============================  =======================================================
``n_frames``, ``height_px``,    extent of the scored movie
``width_px``, ``pixel_size_nm``
``n_truth``, ``n_predicted``    rows of the two tables
``n_tier1/2/3``                 true emitters with SNR >= 2, 1 to 2, < 1
``density_per_um2``             true emitters per µm² and frame
``<row>_f1``, ``_precision``,   detection score; ``<row>`` is ``knn`` (headline),
``_recall``, ``_jaccard``,      ``smlm2016`` (250 nm, greedy), ``smlm2016_optimal`` or
``_tp``, ``_fp``, ``_fn``,      ``strict`` (100 nm, greedy), followed by ``_tier1`` or
``_ignored``, ``_rmse_nm``,     ``_all``; ``_chance_f1`` is the mean F1 of a random
``_efficiency``,                placement of the same number of predictions per frame
``_chance_f1``, ``_pairing``
``<row>_axial_rmse_nm``,        only where both tables have z
``<row>_efficiency_axial``
``rmsmd_nm``,                   root mean square minimum distance, frames pooled, and
``chance_rmsmd_nm``             that of a random placement
``offset_x_nm``,                mean of (predicted - true) over the kNN matches
``offset_y_nm``
``density_<a>_to_<b>_*``        kNN tier 1 score of the bin of local density, per µm²
``snr_<a>_to_<b>_*``            kNN recall of the bin of SNR, all tiers
``<source>_window_bias``,       count per window, per frame (reliable pixels) and per
``_window_mae``, ``_frame_*``,  frame (all); ``<source>`` is ``table`` (rows of the
``_frame_all_*``                predicted table) or ``map`` (expected counts of the map)
``<source>_window_confusion_    windows of true class i counted as class j (3 means 3+);
true<i>_counted<j>``            likewise ``<source>_pixel_confusion_*``
``<source>_pixel_class<c>_      precision and recall of the count class
precision``, ``_recall``
``calibration_ece``,            of the count map
``_ece_occupied``, ``_brier``,
``_brier_base``,
``_brier_skill``
==============================  =======================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.evaluation import EvaluationConfig
from hdsmlm.evaluation.bins import BinScore
from hdsmlm.evaluation.calibration import Calibration, CalibrationTally
from hdsmlm.evaluation.counts import (
    CountScores,
    CountTally,
    Error,
    class_precision,
    class_recall,
    frame_labels,
    table_counts,
)
from hdsmlm.evaluation.detection import Detection, detect_scores
from hdsmlm.evaluation.matching import Field
from hdsmlm.evaluation.scores import tiers
from hdsmlm.records.count_map import N_CLASSES, expected_count
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Event, Listener, silent

Value = float | int | str | None
ReadCountMap = Callable[[int, int], NDArray[np.floating]]
"""Frames start to stop - 1 of a count map, shape (t, 4, y, x)."""

_CHUNK_PIXELS = 2_000_000


@dataclass(frozen=True)
class Evaluation:
    """All scores of one prediction.

    Parameters
    ----------
    field : Field
        Extent that was scored.
    n_by_tier : tuple of int
        True emitters of tier 1, 2, 3.
    n_predicted : int
        Rows of the predicted table.
    detection : Detection
        Matching scores.
    offset_nm : tuple of float
        Mean (x, y) of predicted minus true over the headline matches.
    counts : mapping of str to CountScores
        By source: ``"table"``, and ``"map"`` where a count map was given.
    calibration : Calibration or None
        Of the count map.
    notes : tuple of str
        What a reader must know to judge the numbers.
    """

    field: Field
    n_by_tier: tuple[int, int, int]
    n_predicted: int
    detection: Detection
    offset_nm: tuple[float, float]
    counts: Mapping[str, CountScores]
    calibration: Calibration | None = None
    notes: tuple[str, ...] = ()

    @property
    def n_truth(self) -> int:
        """True emitters of all tiers."""
        return sum(self.n_by_tier)

    @property
    def density_per_um2(self) -> float:
        """True emitters per µm² and frame."""
        return self.n_truth / (self.field.n_frames * self.field.area_um2)


def evaluate(
    truth: Emitters,
    predicted: Emitters,
    field: Field,
    config: EvaluationConfig,
    read_count_map: ReadCountMap | None = None,
    listener: Listener = silent,
) -> Evaluation:
    """Score a table, and a count map where there is one.

    Parameters
    ----------
    truth, predicted : Emitters
        In nm from the corner of the first pixel.
    field : Field
        Extent of the movie.
    config : EvaluationConfig
        Tolerances and bins.
    read_count_map : callable, optional
        Reads frames of the count map; it is asked for one chunk after the other.
    listener : Listener
        Hears the progress in frames.
    """
    detection = detect_scores(truth, predicted, field, config)
    matching = detection.matching
    offsets = [
        float(np.mean(predicted[name][matching.predicted_rows] - truth[name][matching.truth_rows]))
        if len(matching)
        else math.nan
        for name in ("x_nm", "y_nm")
    ]
    counts, calibration = _count(truth, predicted, field, config, read_count_map, listener)
    tier = tiers(truth)
    notes: tuple[str, ...] = ()
    if "snr" not in truth:
        notes = ("The truth has no 'snr' column: every true emitter counts as tier 1.",)
    return Evaluation(
        field=field,
        n_by_tier=(int((tier == 1).sum()), int((tier == 2).sum()), int((tier == 3).sum())),
        n_predicted=len(predicted),
        detection=detection,
        offset_nm=(offsets[0], offsets[1]),
        counts=counts,
        calibration=calibration,
        notes=notes,
    )


def flat_scores(evaluation: Evaluation) -> dict[str, Value]:
    """Return every score under the flat keys that the module's docstring lists."""
    extent, detection = evaluation.field, evaluation.detection
    flat: dict[str, Value] = {
        "n_frames": extent.n_frames,
        "height_px": extent.height,
        "width_px": extent.width,
        "pixel_size_nm": extent.pixel_size_nm,
        "n_truth": evaluation.n_truth,
        "n_predicted": evaluation.n_predicted,
        **{f"n_tier{i + 1}": n for i, n in enumerate(evaluation.n_by_tier)},
        "density_per_um2": evaluation.density_per_um2,
        "rmsmd_nm": detection.rmsmd_nm,
        "chance_rmsmd_nm": detection.chance_rmsmd_nm,
        "offset_x_nm": evaluation.offset_nm[0],
        "offset_y_nm": evaluation.offset_nm[1],
    }
    for row in detection.rows:
        flat |= {f"{row.key}_{name}": value for name, value in row_values(row.score).items()}
        flat[f"{row.key}_efficiency"] = row.efficiency
        flat[f"{row.key}_chance_f1"] = row.chance_f1
        flat[f"{row.key}_pairing"] = row.pairing
        if not math.isnan(row.axial_rmse_nm):
            flat[f"{row.key}_axial_rmse_nm"] = row.axial_rmse_nm
            flat[f"{row.key}_efficiency_axial"] = row.efficiency_axial
    for part in detection.by_density:
        key = _bin_key("density", part)
        flat |= {f"{key}_{name}": value for name, value in row_values(part.score).items()}
        flat[f"{key}_chance_f1"] = part.chance_f1
    for part in detection.by_snr:
        key = _bin_key("snr", part)
        flat |= {f"{key}_recall": part.score.recall, f"{key}_n": part.score.tp + part.score.fn}
    for source, scores in evaluation.counts.items():
        flat |= {f"{source}_{name}": value for name, value in _count_values(scores).items()}
    if evaluation.calibration is not None:
        for name in ("ece", "ece_occupied", "brier", "brier_base", "brier_skill"):
            flat[f"calibration_{name}"] = getattr(evaluation.calibration, name)
    return {key: _plain(value) for key, value in flat.items()}


def row_values(score: object) -> dict[str, Value]:
    """Return the values of a detection score by their names in ``scores.json``."""
    names = ("f1", "precision", "recall", "jaccard", "tp", "fp", "fn", "ignored", "rmse_nm")
    return {name: getattr(score, name) for name in names}


def _count(
    truth: Emitters,
    predicted: Emitters,
    field: Field,
    config: EvaluationConfig,
    read_count_map: ReadCountMap | None,
    listener: Listener,
) -> tuple[dict[str, CountScores], Calibration | None]:
    by_table, by_map = CountTally(config.window_px), CountTally(config.window_px)
    calibration = CalibrationTally(config.n_calibration_bins)
    truth, predicted = truth.sorted(), predicted.sorted()
    step = max(1, _CHUNK_PIXELS // (field.height * field.width))
    for start in range(0, field.n_frames, step):
        stop = min(start + step, field.n_frames)
        here = _frames(truth, start, stop)
        labels = frame_labels(here, start, stop, field)
        n_true = table_counts(here, start, stop, field).sum(axis=(1, 2))
        counted = table_counts(_frames(predicted, start, stop), start, stop, field)
        by_table.update(counted, np.minimum(counted, N_CLASSES - 1), labels, n_true)
        if read_count_map is not None:
            probabilities = read_count_map(start, stop)
            by_map.update(
                expected_count(probabilities), probabilities.argmax(axis=1), labels, n_true
            )
            calibration.update(probabilities, labels)
        listener(Event("evaluate", stop, field.n_frames, "counts compared"))
    scores = {"table": by_table.result()}
    if read_count_map is None:
        return scores, None
    return scores | {"map": by_map.result()}, calibration.result()


def _frames(table: Emitters, start: int, stop: int) -> Emitters:
    """Return the rows of some frames of a table that is sorted by frame."""
    first, last = np.searchsorted(table["frame"], [start, stop])
    return table.select(np.arange(first, last))


def _count_values(scores: CountScores) -> dict[str, Value]:
    flat: dict[str, Value] = {}
    errors: dict[str, Error] = {
        "window": scores.window,
        "frame": scores.frame,
        "frame_all": scores.frame_all,
    }
    for name, error in errors.items():
        flat |= {
            f"{name}_bias": error.bias,
            f"{name}_mae": error.mae,
            f"{name}_mean_truth": error.mean_truth,
        }
    for name, confusion in (
        ("pixel", scores.pixel_confusion),
        ("window", scores.window_confusion),
    ):
        precision, recall = class_precision(confusion), class_recall(confusion)
        for i in range(N_CLASSES):
            flat[f"{name}_class{i}_precision"] = float(precision[i])
            flat[f"{name}_class{i}_recall"] = float(recall[i])
            for j in range(N_CLASSES):
                flat[f"{name}_confusion_true{i}_counted{j}"] = int(confusion[i, j])
    return flat


def _bin_key(name: str, part: BinScore) -> str:
    return f"{name}_{part.low:g}_to_{part.high:g}"


def _plain(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value
