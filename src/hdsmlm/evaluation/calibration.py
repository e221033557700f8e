"""Calibration: of the pixels called occupied with probability p, a share p should be occupied."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.labels.counts import Labels
from hdsmlm.records.count_map import N_CLASSES


@dataclass(frozen=True)
class Calibration:
    """Reliability of the probabilities.

    Parameters
    ----------
    n : array of int, shape (bins,)
        Pixels in each bin of the probability ``1 - P0`` that the pixel is occupied.
    mean_probability, observed_share : array, shape (bins,)
        Mean probability and share of truly occupied pixels; NaN in empty bins.
    ece : float
        Expected calibration error ``sum_b n_b / n · |mean_b - observed_b|`` over all pixels.
    ece_occupied : float
        The same without the first bin, which holds nearly all pixels and is empty background.
    brier : float
        Mean over pixels of ``sum_c (P_c - [class = c])²`` (Brier 1950); 0 is best, 2 worst.
    brier_base : float
        The Brier score of a forecast that gives each pixel the mean class shares.
    """

    n: NDArray[np.int64]
    mean_probability: NDArray[np.float64]
    observed_share: NDArray[np.float64]
    ece: float
    ece_occupied: float
    brier: float
    brier_base: float

    @property
    def brier_skill(self) -> float:
        """``1 - brier / brier_base``: 1 is perfect, 0 no better than the mean shares."""
        return 1.0 - self.brier / self.brier_base if self.brier_base > 0 else float("nan")


class CalibrationTally:
    """Sums that :class:`Calibration` is made of, chunk by chunk.

    Parameters
    ----------
    n_bins : int
        Bins of equal width in 0..1.
    """

    def __init__(self, n_bins: int = 20) -> None:
        self._n = np.zeros(n_bins, np.int64)
        self._probability = np.zeros(n_bins)
        self._occupied = np.zeros(n_bins)
        self._squared_error = 0.0
        self._classes = np.zeros(N_CLASSES, np.int64)

    def update(self, probabilities: NDArray[np.floating], labels: Labels) -> None:
        """Add consecutive frames; pixels of weight 0 are left out.

        Parameters
        ----------
        probabilities : array, shape (t, 4, y, x)
            Class probabilities.
        labels : Labels
            True classes and weights, shape (t, y, x).
        """
        reliable = labels.weights > 0
        true = labels.classes[reliable]
        forecast = np.moveaxis(probabilities, 1, -1)[reliable]
        occupied = np.clip(1.0 - forecast[:, 0].astype(np.float64), 0.0, 1.0)
        n_bins = len(self._n)
        place = np.minimum((occupied * n_bins).astype(np.intp), n_bins - 1)
        self._n += np.bincount(place, minlength=n_bins)
        self._probability += np.bincount(place, occupied, minlength=n_bins)
        self._occupied += np.bincount(place, (true > 0).astype(np.float64), minlength=n_bins)
        for index in range(N_CLASSES):
            error = forecast[:, index] - (true == index)
            self._squared_error += float(np.sum(error**2, dtype=np.float64))
        self._classes += np.bincount(true, minlength=N_CLASSES)

    def result(self) -> Calibration:
        """Return the calibration of all frames so far; NaN without a pixel."""
        nothing = np.full(len(self._n), np.nan)
        some = self._n > 0
        mean = np.divide(self._probability, self._n, out=nothing.copy(), where=some)
        observed = np.divide(self._occupied, self._n, out=nothing.copy(), where=some)
        gap = np.abs(self._probability - self._occupied)
        total = int(self._n.sum())
        shares = self._classes / total if total else np.full(N_CLASSES, np.nan)
        return Calibration(
            n=self._n.copy(),
            mean_probability=mean,
            observed_share=observed,
            ece=_ratio(float(gap.sum()), total),
            ece_occupied=_ratio(float(gap[1:].sum()), int(self._n[1:].sum())),
            brier=_ratio(self._squared_error, total),
            brier_base=float(np.sum(shares * (1.0 - shares))),
        )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
