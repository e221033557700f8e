"""Calibrate a trained network on scenes that it has never seen: confidence, then threshold.

Confidence: the temperature that minimizes the cross-entropy of ``softmax(log p / temperature)``
(Guo et al., ICML 2017). Threshold: the lowest one whose tier-1 F1 is within 0.002 of the best. F1
is flat around its maximum, and an emitter that is missed does not come back, while the fit removes
most of the false ones.
The scenes are a stream of their own, apart from training, validation and the test set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from hdsmlm.config.prediction import CalibrationConfig, DecodingConfig
from hdsmlm.inference.predictor import calibrate as correct_confidence
from hdsmlm.pipelines.validation import Network, cross_entropy, score_tier1
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.training.patches import LabelledScene

THRESHOLDS = tuple(round(0.30 + 0.025 * k, 3) for k in range(21))
F1_TOLERANCE = 0.002
"""F1 that a lower threshold may cost."""


@dataclass(frozen=True)
class CalibrationResult:
    """Calibration and decoding with the figures that led to them.

    Parameters
    ----------
    calibration : CalibrationConfig
        To be folded into the last convolution.
    decoding : DecodingConfig
        With the chosen threshold.
    loss_before, loss_after : float
        Cross-entropy on the calibration scenes.
    f1_by_decoding : dict
        Tier-1 F1 for each threshold that was tried.
    """

    calibration: CalibrationConfig
    decoding: DecodingConfig
    loss_before: float
    loss_after: float
    f1_by_decoding: dict[str, float]


def calibrate(
    network: Network, scenes: list[LabelledScene], listener: Listener = silent
) -> CalibrationResult:
    """Return the calibration of a network.

    Parameters
    ----------
    network : callable
        Normalized frames (t, y, x) to probabilities (t, 4, y, x), uncalibrated.
    scenes : list of LabelledScene
        The calibration set.
    """
    raw = []
    for index, scene in enumerate(scenes):
        raw.append(network(scene.frames))
        listener(Event("calibrate", index + 1, len(scenes), "predicting", "scenes"))
    calibration = fit_confidence(scenes, raw)
    calibrated = [p.copy() for p in raw]
    for p in calibrated:
        correct_confidence(p, calibration)
    f1 = {}
    for done, threshold in enumerate(THRESHOLDS):
        f1[threshold] = score_tier1(scenes, calibrated, DecodingConfig(threshold=threshold)).f1
        listener(Event("calibrate", done + 1, len(THRESHOLDS), "decoding", "thresholds"))
    return CalibrationResult(
        calibration,
        DecodingConfig(threshold=lowest_good_threshold(f1)),
        cross_entropy(scenes, raw),
        cross_entropy(scenes, calibrated),
        {f"threshold {threshold:.3f}": round(value, 4) for threshold, value in f1.items()},
    )


def lowest_good_threshold(f1: dict[float, float]) -> float:
    """Return the lowest threshold whose F1 is within :data:`F1_TOLERANCE` of the best.

    Examples
    --------
    >>> lowest_good_threshold({0.3: 0.91, 0.4: 0.939, 0.5: 0.94, 0.6: 0.93})
    0.4
    """
    least = max(f1.values()) - F1_TOLERANCE
    return min(threshold for threshold, value in f1.items() if value >= least)


def fit_confidence(
    scenes: list[LabelledScene], probabilities: list[NDArray[np.float32]]
) -> CalibrationConfig:
    """Return the temperature with the largest likelihood; class biases stay 0.

    One number, since a bias per class fits the crowded structures of the calibration scenes, where
    nearly all pixels with 3+ emitters lie, and then overcounts everywhere else.
    """
    log_p, classes, weights = _sample(scenes, probabilities)
    rows = np.arange(len(classes))
    weights = weights / weights.sum()

    def loss(log_scale: float) -> float:
        logits = np.exp(log_scale) * log_p
        logits -= logits.max(axis=1, keepdims=True)
        log_norm = np.log(np.exp(logits).sum(axis=1))
        return float(np.sum(weights * (log_norm - logits[rows, classes])))

    best = minimize_scalar(loss, bounds=(np.log(0.2), np.log(5.0)), method="bounded").x
    return CalibrationConfig(temperature=float(np.exp(-best)), folded=True)


def _sample(
    scenes: list[LabelledScene], probabilities: list[NDArray[np.float32]]
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
    """Keep every pixel that matters and every 20th of the empty ones, weighted by 20."""
    keep_one_in = 20
    parts: list[tuple[NDArray, NDArray, NDArray]] = []
    for scene, p in zip(scenes, probabilities, strict=True):
        rows = p.transpose(0, 2, 3, 1).reshape(-1, p.shape[1])
        classes = scene.labels.classes.ravel().astype(np.intp)
        weights = scene.labels.weights.ravel().astype(np.float64)
        counts = weights > 0
        dull = counts & (classes == 0) & (rows[:, 0] > 0.98)
        chosen = counts & ~dull
        thinned = np.flatnonzero(dull)[::keep_one_in]
        chosen[thinned] = True
        weights[thinned] *= dull.sum() / max(len(thinned), 1)
        parts.append((rows[chosen], classes[chosen], weights[chosen]))
    log_p = np.log(np.maximum(np.concatenate([part[0] for part in parts]), 1e-12))
    return (
        log_p.astype(np.float64),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
    )
