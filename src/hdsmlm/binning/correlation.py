"""How long blinks are remembered: the autocorrelation of the on-frames of linked blinks.

``C(τ) = (pairs of localizations of one blink that lie τ frames apart) / (localizations whose frame
plus τ is still in the movie)``: the probability that an emitter which is on now is on, within the
same blink, τ frames later; C(0) = 1. For exponential on-times of mean m it is exp(-τ/m) where
frames are short. Its error treats blinks as independent (ratio estimator; Cochran,
Sampling Techniques, 1977).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hdsmlm.errors import MovieError
from hdsmlm.records.emitters import Emitters

MIN_ROWS = 20
"""Localizations, and blinks, that a value of the autocorrelation must rest on."""
_RULE_OF_THREE = 3.0
"""Upper 95 % limit of a count of which none was seen."""
_ONE_SIDED_95 = 1.645
_MEDIAN_ERROR, _CONSISTENT = 1.2533, 1.4826
"""Error of a median over that of a mean; standard deviation over the median of deviations."""


@dataclass(frozen=True)
class BlinkCorrelation:
    """The autocorrelation of a movie's blinks.

    Parameters
    ----------
    value, upper : array, shape (n_lags,)
        C(0), C(1), ... and their upper 95 % limits.
    n_blinks : int
        Blinks that it rests on.
    n_frames : int
        Frames of the movie.
    """

    value: NDArray[np.float64]
    upper: NDArray[np.float64]
    n_blinks: int
    n_frames: int

    def lag_frames(self, level: float) -> int:
        """Return the smallest lag at which C, with its upper 95 % limit, is at most ``level``.

        Raises
        ------
        MovieError
            When it does not fall that far within the movie; says what to do.
        """
        low = np.flatnonzero(self.upper <= level)
        if low.size:
            return max(int(low[0]), 1)
        last = len(self.value) - 1
        seen = (
            f"after {last} frames an emitter that is on is still on with a probability of "
            f"{self.value[-1]:.2f} (upper limit {self.upper[-1]:.2f}; at most {level:g} is wanted)"
        )
        raise MovieError(
            f"the correlation time of the blinks is longer than the movie's {self.n_frames} frames "
            f"tell: {seen}, from {self.n_blinks} blinks. Give a longer movie, or --lag if you know "
            "the on-time, or --augment to separate the same blink in space instead of time"
        )


def blink_correlation(
    emitters: Emitters,
    n_frames: int,
    max_lag_frames: int = 1000,
    seen: Emitters | None = None,
) -> BlinkCorrelation:
    """Return the autocorrelation of linked blinks.

    Parameters
    ----------
    emitters : Emitters
        Localizations with ``blink_id``; a blink has one row per frame at most.
    n_frames : int
        Frames of the movie.
    max_lag_frames : int, optional
        Longest lag.
    seen : Emitters, optional
        All rows of these blinks, doubtful ones as well: a blink that is in doubt τ frames later is
        still on. By default ``emitters``.

    Raises
    ------
    MovieError
        When there are too few localizations to tell anything.
    """
    if len(emitters) < MIN_ROWS:
        raise MovieError(
            f"the blinks of this movie cannot be measured: it has {len(emitters)} sound "
            f"localizations, at least {MIN_ROWS} are needed. Look at it with `hdsmlm doctor`, or "
            "give the lag with --lag"
        )
    stride = n_frames + max_lag_frames + 1
    keys, known = (
        np.unique(table["blink_id"].astype(np.int64) * stride + table["frame"])
        for table in (emitters, emitters if seen is None else seen)
    )
    _, blink = np.unique(keys // stride, return_inverse=True)
    frame = keys % stride
    n_blinks = int(blink.max()) + 1
    values, upper = [1.0], [1.0]
    for lag in range(1, min(max_lag_frames, n_frames - 1) + 1):
        at_risk = frame + lag < n_frames
        rows = np.bincount(blink[at_risk], minlength=n_blinks)
        n_at_risk = int((rows > 0).sum())
        if n_at_risk < MIN_ROWS:
            break
        wanted = keys[at_risk] + lag
        place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        pairs = np.bincount(blink[at_risk], known[place] == wanted, n_blinks)
        value = float(pairs.sum() / rows.sum())
        error = float(np.sqrt(np.sum((pairs - value * rows) ** 2)) / rows.sum())
        values.append(value)
        upper.append(max(value + _ONE_SIDED_95 * error, _RULE_OF_THREE / n_at_risk))
        if value == 0.0:
            break
    return BlinkCorrelation(np.array(values), np.array(upper), n_blinks, n_frames)


@dataclass(frozen=True)
class BlinkDrift:
    """How fast blinks move together.

    Parameters
    ----------
    x_nm, y_nm : float
        Displacement per frame.
    error_nm : float
        Standard error of each.
    """

    x_nm: float
    y_nm: float
    error_nm: float

    @property
    def least_nm(self) -> float:
        """Displacement per frame that is beyond doubt: the mean less three standard errors."""
        return max(float(np.hypot(self.x_nm, self.y_nm)) - 3 * self.error_nm, 0.0)


def blink_drift(emitters: Emitters, radius_nm: float) -> BlinkDrift | None:
    """Return the median displacement from frame to frame of what is on in both.

    Localizations of consecutive frames that lie within ``radius_nm`` of each other are taken for
    one emitter; in a sparse movie few others come so near, and those lie on all sides. No linking
    is needed, which a drift beyond the localization error would break.

    Parameters
    ----------
    emitters : Emitters
        Localizations.
    radius_nm : float
        Largest displacement between two frames.

    Returns
    -------
    BlinkDrift or None
        None for fewer than 20 pairs.
    """
    frame = emitters["frame"].astype(np.int64)
    gap = 4.0 * radius_nm
    now = np.column_stack([emitters["x_nm"], emitters["y_nm"], frame * gap])
    before = now + np.array([0.0, 0.0, gap])
    pairs = cKDTree(now).sparse_distance_matrix(cKDTree(before), radius_nm, output_type="ndarray")
    if len(pairs) < MIN_ROWS:
        return None
    moved = (now[pairs["i"]] - before[pairs["j"]])[:, :2]
    middle = np.median(moved, axis=0)
    spread = _MEDIAN_ERROR * _CONSISTENT * float(np.median(np.abs(moved - middle)))
    return BlinkDrift(float(middle[0]), float(middle[1]), spread / np.sqrt(len(moved)))
