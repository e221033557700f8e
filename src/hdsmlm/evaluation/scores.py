"""Scores of a matching: precision, recall, F1, Jaccard, RMSE, efficiency, RMSMD; per tier.

Tiers (by the signal-to-noise ratio of the true emitter): 1 is SNR >= 2, 2 is 1 <= SNR < 2,
3 is SNR < 1. In a score for tier 1 a prediction that is matched to an emitter of tier 2 or 3
counts neither as true nor as false, like the photon cut of the SMLM challenge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hdsmlm.evaluation.matching import Matching
from hdsmlm.labels.counts import RELIABLE_SNR
from hdsmlm.records.emitters import Emitters

FAINT_SNR = 1.0
"""Below it an emitter is of tier 3."""


@dataclass(frozen=True)
class DetectionScore:
    """How many of the true emitters were found, how many predictions are true, and how near.

    Parameters
    ----------
    tp, fp, fn : int
        Matched predictions, unmatched predictions, missed true emitters.
    ignored : int
        Predictions that count neither as true nor as false (matched to another tier).
    rmse_nm : float
        Lateral root mean square distance over the matches; NaN without matches.
    """

    tp: int
    fp: int
    fn: int
    ignored: int = 0
    rmse_nm: float = float("nan")

    @property
    def precision(self) -> float:
        """TP / (TP + FP); NaN without predictions."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); NaN without true emitters."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """2·TP / (2·TP + FP + FN), the harmonic mean of precision and recall."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def jaccard(self) -> float:
        """TP / (TP + FP + FN)."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    def efficiency(self, alpha_per_nm: float = 1.0) -> float:
        """``100 - sqrt((100 - JAC)² + (alpha·RMSE)²)`` with JAC in % (Sage et al. 2019)."""
        return float(100.0 - np.hypot(100.0 - 100.0 * self.jaccard, alpha_per_nm * self.rmse_nm))


def tiers(truth: Emitters) -> NDArray[np.int8]:
    """Return the tier (1, 2, 3) of each true emitter; without an ``snr`` column all are tier 1."""
    if "snr" not in truth:
        return np.ones(len(truth), np.int8)
    snr = truth["snr"]
    return np.where(snr >= RELIABLE_SNR, 1, np.where(snr >= FAINT_SNR, 2, 3)).astype(np.int8)


def score(matching: Matching, wanted: NDArray[np.bool_] | None = None) -> DetectionScore:
    """Count true and false of a matching.

    Parameters
    ----------
    matching : Matching
        From :mod:`hdsmlm.evaluation.matching`, made with ALL true emitters.
    wanted : array of bool, shape (n_truth,), optional
        True emitters that the score is about, e.g. ``tiers(truth) == 1``. Predictions matched to
        others are ignored.

    Examples
    --------
    >>> from hdsmlm.evaluation.matching import match_knn
    >>> truth = Emitters({"frame": [0, 0], "x_nm": [1e3, 5e3], "y_nm": [1e3, 1e3], "snr": [9, 1.5]})
    >>> guess = Emitters({"frame": [0, 0], "x_nm": [1e3, 5e3], "y_nm": [1e3, 1e3]})
    >>> result = score(match_knn(truth, guess, 100.0), tiers(truth) == 1)
    >>> result.tp, result.fp, result.fn, result.ignored
    (1, 0, 0, 1)
    """
    if wanted is None:
        wanted = np.ones(matching.n_truth, bool)
    counted = wanted[matching.truth_rows]
    tp = int(counted.sum())
    distances = matching.distances_nm[counted]
    return DetectionScore(
        tp=tp,
        fp=matching.n_predicted - len(matching),
        fn=int(wanted.sum()) - tp,
        ignored=len(matching) - tp,
        rmse_nm=float(np.sqrt(np.mean(distances**2))) if tp else float("nan"),
    )


def rmsmd_nm(truth: Emitters, predicted: Emitters) -> float:
    """Root mean square minimum distance of the two point sets, frames pooled (Sun, Sci. Rep. 2018).

    ``RMSMD = sqrt((sum_i min_j |p_i - q_j|² + sum_j min_i |p_i - q_j|²) / (n_p + n_q))`` with the
    lateral distance. It needs no tolerance, so that one far outlier weighs as much as it is far;
    and since the sets are pooled over the movie, an emitter missed in one frame but found in
    another costs nothing.

    Returns
    -------
    float
        In nm; NaN where a table has no rows.
    """
    if not len(truth) or not len(predicted):
        return float("nan")
    p = np.column_stack([truth["x_nm"], truth["y_nm"]])
    q = np.column_stack([predicted["x_nm"], predicted["y_nm"]])
    to_predicted, _ = cKDTree(q).query(p)
    to_truth, _ = cKDTree(p).query(q)
    total = float(np.sum(to_predicted**2) + np.sum(to_truth**2))
    return float(np.sqrt(total / (len(p) + len(q))))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
