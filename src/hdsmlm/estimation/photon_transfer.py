"""Gain and offset from the noise of a movie in which molecules blink.

The variance of a grey value is a straight line of its mean for every camera
(:mod:`hdsmlm.imaging.camera`):

``variance = K·(mean - z)``,  ``K = F²·gain``,  ``z = offset - read variance/K``,

with ``gain`` in grey values per photo-electron: the photon transfer curve (Janesick, "Photon
Transfer", SPIE 2007). Blinking molecules change the light itself, so neither the variance in time
nor the difference of two frames measures the noise alone. Light is blurred by the point-spread
function, though, and noise is not: at the highest spatial frequencies there is noise only
(Heintzmann et al., bioRxiv 291914, 2018, do this in Fourier space with single images). Here:

- a stencil of signed binomial weights, ``c = b⊗b``, ``b_i = (-1)^i·C(6, i)``, whose response to a
  point-spread function of sigma 1.0 px has a squared norm of 5e-6 (1.3 px: 5e-8) of its norm;
- on the difference of two consecutive frames, so that fixed patterns of the chip cancel;
- the mean from the same pixels with the weights ``c²``, for which the line holds exactly;
- sorted into bins by what predicts that mean from OTHER pixels: the same mean in the frame before
  and the frame after the pair, and the pair's ring of pixels at distance 3, which have 0.4 % of the
  stencil's weight. Their noise is independent of the stencil's, so the means of a bin are unbiased
  (an instrumental variable), where sorting by the stencil's own mean would bend the line.

Where charge is smeared along the readout register (incomplete transfer in a CCD), the noise is no
longer white along that axis: its power falls from the lowest to the highest frequency. Smearing
conserves charge, so that the power at frequency 0 is still that of shot noise, and K is the slope
of the line times the ratio of the two powers. The ratio is taken from the stencil that is signed
along one axis and smooth along the other, against the other axis, so that what a narrow
point-spread function leaks into both cancels.

The line gives K and z. It does not give the offset and the read variance apart; see
:mod:`hdsmlm.estimation.camera`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from hdsmlm.estimation.sample import FrameSample

ORDER = 6
"""Order of the binomial stencil; it spans ORDER + 1 pixels."""
_QUANTILES = np.r_[np.linspace(0, 0.9, 16), 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 1.0]
_TILES = 4
_MIN_COUNT = 200
_OUTLIER = 6.0
_MAX_NOISY_SHARE = 0.2
_ROUNDING_ADU2 = 1 / 12
_CONSISTENT = 1.4826
_SMEARED = 1.15
"""Ratio of noise powers from which an axis counts as smeared."""


@dataclass(frozen=True)
class PhotonTransfer:
    """The line ``variance = slope·(mean - zero)`` and how well it holds.

    Parameters
    ----------
    slope_adu : float
        K = F²·gain, grey values.
    slope_error_adu : float
        Its standard error.
    zero_adu : float
        Mean at which the line reaches no variance: offset - read variance/K.
    zero_error_adu : float
        Its standard error.
    mean_adu, variance_adu2 : array, shape (bins,)
        The measured points.
    noisy_share : float
        Share of stencils left out because their pixels are noisier than the line (hot pixels).
    fixed_pattern_adu : float
        Standard deviation between pixels that stays from frame to frame, grey values.
    whiteness : float
        Noise at low over that at high spatial frequency, along the whiter axis: 1 for raw pixels.
    smear : float
        The same ratio along the other axis over that along the whiter one; 1 where it is within
        what white noise shows, else the factor by which smeared charge hid the slope, which
        ``slope_adu`` already has.
    smear_axis : str
        Axis of the smear, "x" or "y".
    """

    slope_adu: float
    slope_error_adu: float
    zero_adu: float
    zero_error_adu: float
    mean_adu: NDArray[np.float64]
    variance_adu2: NDArray[np.float64]
    noisy_share: float
    fixed_pattern_adu: float
    whiteness: float
    smear: float = 1.0
    smear_axis: str = "x"

    @property
    def is_significant(self) -> bool:
        """Whether variance grows with the mean beyond doubt."""
        return self.slope_adu > 5 * self.slope_error_adu

    def variance_at(self, mean_adu: float) -> float:
        """Return the variance on the line, grey values²."""
        return self.slope_adu * (mean_adu - self.zero_adu)


@dataclass(frozen=True)
class _Pairs:
    """Stencils on pairs of frames; arrays of shape (pairs, y, x).

    ``low_x`` is the noise power at (0, 1/2) cycles per pixel (x, y) over that at (1/2, 1/2),
    ``low_y`` that at (1/2, 0).
    """

    variance: NDArray[np.float32]
    mean: NDArray[np.float32]
    sorter: NDArray[np.float32]
    steady: NDArray[np.float32]
    low_x: float
    low_y: float


def photon_transfer(sample: FrameSample) -> PhotonTransfer:
    """Measure the line of a movie.

    Parameters
    ----------
    sample : FrameSample
        Raw grey values.

    Returns
    -------
    PhotonTransfer
        With standard errors from a jackknife over 16 tiles of the field.
    """
    pairs = _measure(sample)
    bins = _bins(pairs.sorter)
    keep = np.ones(pairs.mean.shape[1:], dtype=bool)
    sums = _sums(pairs, bins, keep)
    slope, zero = _line(*_points(sums.sum(axis=0)))
    noisy = _noisy(pairs, slope, zero)
    if 0 < noisy.mean() < _MAX_NOISY_SHARE:
        keep = ~noisy
        sums = _sums(pairs, bins, keep)
        slope, zero = _line(*_points(sums.sum(axis=0)))
    used = np.flatnonzero(sums[:, :, 0].sum(axis=1) > 0)
    left_out = np.array([_line(*_points(sums.sum(axis=0) - sums[tile])) for tile in used])
    with np.errstate(invalid="ignore"):  # the zero of a flat line lies at minus infinity
        spread = np.sqrt(np.maximum(len(used) - 1, 0) * left_out.var(axis=0))
    mean, variance, _ = _points(sums.sum(axis=0))
    pattern = pairs.steady[keep].astype(np.float64).mean()
    white = min(pairs.low_x, pairs.low_y)
    smear = max(pairs.low_x, pairs.low_y) / white if white > 0 else 1.0
    if smear < _SMEARED:
        white, smear = 0.5 * (pairs.low_x + pairs.low_y), 1.0
    return PhotonTransfer(
        slope_adu=smear * slope,
        slope_error_adu=smear * float(spread[0]),
        zero_adu=zero,
        zero_error_adu=float(spread[1]) if np.isfinite(spread[1]) else np.inf,
        mean_adu=mean,
        variance_adu2=smear * variance,
        noisy_share=float(noisy.mean()) if noisy.mean() < _MAX_NOISY_SHARE else 0.0,
        fixed_pattern_adu=float(np.sqrt(max(pattern, 0.0))),
        whiteness=float(white),
        smear=float(smear),
        smear_axis="x" if pairs.low_x > pairs.low_y else "y",
    )


def _weights() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the binomial weights of unit norm: without and with alternating sign."""
    plain = np.array([comb(ORDER, i) for i in range(ORDER + 1)], dtype=np.float64)
    plain /= np.sqrt((plain**2).sum())
    signs = (-1.0) ** np.arange(ORDER + 1)
    return plain.astype(np.float32), (plain * signs).astype(np.float32)


def _along(
    frames: NDArray[np.float32], weights: NDArray[np.float32], axis: int
) -> NDArray[np.float32]:
    """Correlate along one axis, valid part only."""
    size = frames.shape[axis] - len(weights) + 1
    parts = [slice(None)] * frames.ndim
    result: NDArray[np.float32] | None = None
    for shift, weight in enumerate(weights):
        parts[axis] = slice(shift, shift + size)
        piece = frames[tuple(parts)] * weight
        result = piece if result is None else np.add(result, piece, out=result)
    assert result is not None
    return result


def _measure(sample: FrameSample) -> _Pairs:
    plain, signed = _weights()
    variance, mean, sorter = [], [], []
    pattern: NDArray[np.float64] | None = None
    low_x_sum = low_y_sum = corner_sum = 0.0
    n_runs = 0
    for run in sample.runs:
        if len(run) < 4:
            continue
        along_x = _along(run, signed, 2)
        response = _along(along_x, signed, 1)
        local = _along(_along(run, plain**2, 2), plain**2, 1)
        difference = response[1:-2] - response[2:-1]
        variance.append(0.5 * difference * difference)
        mean.append(0.5 * (local[1:-2] + local[2:-1]))
        ring = _ring(run)
        sorter.append(_prediction(mean[-1], local[:-3] + local[3:], ring[1:-2] + ring[2:-1]))
        # The mean response of a run is the fixed pattern plus noise / length.
        steady = response.astype(np.float64).mean(axis=0) ** 2
        steady -= 0.5 * np.square(np.diff(response, axis=0)).mean(axis=0) / len(run)
        pattern = steady if pattern is None else pattern + steady
        n_runs += 1
        dim = sorter[-1] <= np.median(sorter[-1])
        high_x, high_y = _along(along_x, plain, 1), _along(_along(run, plain, 2), signed, 1)
        low_y_sum += 0.5 * float(np.square(high_x[1:-2] - high_x[2:-1])[dim].mean())
        low_x_sum += 0.5 * float(np.square(high_y[1:-2] - high_y[2:-1])[dim].mean())
        corner_sum += float(variance[-1][dim].mean())
    assert pattern is not None
    return _Pairs(
        np.concatenate(variance),
        np.concatenate(mean),
        np.concatenate(sorter),
        (pattern / n_runs).astype(np.float32),
        low_x_sum / corner_sum if corner_sum > 0 else 1.0,
        low_y_sum / corner_sum if corner_sum > 0 else 1.0,
    )


def _ring(run: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of the outermost pixels of every stencil."""
    outer, inner = np.ones(ORDER + 1, np.float32), np.ones(ORDER - 1, np.float32)
    whole = _along(_along(run, outer, 2), outer, 1)
    core = _along(_along(run, inner, 2), inner, 1)[:, 1:-1, 1:-1]
    return (whole - core) / np.float32(len(outer) ** 2 - len(inner) ** 2)


def _prediction(mean: NDArray[np.float32], *others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the linear prediction of ``mean`` from quantities with noise of their own."""
    flat = [other.ravel() - other.mean() for other in others]
    gram = np.array([[float(np.dot(a, b)) for b in flat] for a in flat])
    target = mean.ravel() - mean.mean()
    right = np.array([float(np.dot(a, target)) for a in flat])
    weights = np.linalg.lstsq(gram, right, rcond=None)[0].astype(np.float32)
    result = np.zeros_like(mean)
    for weight, other in zip(weights, others, strict=True):
        result += weight * other
    return result


def _bins(sorter: NDArray[np.float32]) -> NDArray[np.intp]:
    edges: NDArray[np.floating] = np.asarray(np.quantile(sorter, _QUANTILES))
    return np.clip(np.searchsorted(edges, sorter, side="right") - 1, 0, len(edges) - 2)


def _sums(pairs: _Pairs, bins: NDArray[np.intp], keep: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return per tile and bin: count, sum of variance, of mean and of squared variance."""
    height, width = keep.shape
    rows = np.arange(height) * _TILES // height
    columns = np.arange(width) * _TILES // width
    tile = rows[:, None] * _TILES + columns
    n_bins = len(_QUANTILES) - 1
    index = (tile * n_bins + bins)[:, keep].ravel()
    size = _TILES**2 * n_bins
    variance = pairs.variance[:, keep].ravel().astype(np.float64)
    mean = pairs.mean[:, keep].ravel().astype(np.float64)
    one = np.ones(len(mean))
    sums = np.column_stack(
        [
            np.bincount(index, weights=values, minlength=size)
            for values in (one, variance, mean, variance**2)
        ]
    )
    return np.reshape(sums, (_TILES**2, n_bins, 4)).astype(np.float64)


def _points(
    sums: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean, variance less the rounding, and its weight for every filled bin."""
    sums = sums[sums[:, 0] >= min(_MIN_COUNT, sums[:, 0].max())]
    count = sums[:, 0]
    variance, mean = sums[:, 1] / count, sums[:, 2] / count
    scatter = np.maximum(sums[:, 3] / count - variance**2, 1e-12)
    return mean, variance - _ROUNDING_ADU2, count / scatter


def _line(
    mean: NDArray[np.float64], variance: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, float]:
    """Return slope and zero of the weighted line; a flat one has its zero at minus infinity."""
    centre = np.average(mean, weights=weight)
    level = np.average(variance, weights=weight)
    spread = np.average((mean - centre) ** 2, weights=weight)
    if spread <= 0:
        return 0.0, -np.inf
    slope = np.average((mean - centre) * (variance - level), weights=weight) / spread
    return float(slope), float(centre - level / slope) if slope else -np.inf


def _noisy(pairs: _Pairs, slope: float, zero: float) -> NDArray[np.bool_]:
    """Return the stencils whose variance over time lies far above the line."""
    if slope <= 0:
        return np.zeros(pairs.mean.shape[1:], dtype=bool)
    expected = slope * (pairs.mean.mean(axis=0, dtype=np.float64) - zero)
    ratio = pairs.variance.mean(axis=0, dtype=np.float64) / np.maximum(expected, 1e-9)
    middle = np.median(ratio)
    return ratio > middle + _OUTLIER * _CONSISTENT * np.median(np.abs(ratio - middle))
