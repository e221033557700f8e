"""Width of the point-spread function from the flicker of a movie, however dense it is.

In the difference of two consecutive frames every molecule that changed appears with a sign of its
own. Molecules blink independently, so cross terms vanish on average, whatever their density and
arrangement, and the spatial covariance of the difference is

``C(r) = A·(h ⋆ h)(r) + noise·[r = 0] + B``,

the autocorrelation of the point-spread function: the principle of SOFI (Dertinger et al., PNAS 106,
22287, 2009), here with the lag 0 left out because of the noise. For a Gaussian of width sigma
integrated over pixels ``h ⋆ h`` is, per axis, the second difference of
``F(u) = u·Φ(u/s) + s·φ(u/s)`` with ``s = √2·sigma``. Light that does not change has no part in it:
out-of-focus background and fixed patterns cancel.

A molecule that moves between two frames leaves its image twice, with opposite signs, side by side,
and the covariance gets too narrow: the less so, the longer the frames are apart. Background that
bleaches makes it too wide, the more so the longer. Therefore frames ``LAGS_FRAMES`` apart are
compared, and the width is taken from those whose covariance is most like that of a Gaussian.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2
from scipy.optimize import least_squares
from scipy.special import ndtr

from hdsmlm.estimation.sample import FrameSample

MAX_LAG_PX = 7
LAGS_FRAMES = (1, 2, 4)
"""How far apart the frames are that are subtracted."""
_BOUNDS_PX = (0.35, 5.0)
_NARROWEST_PX = 0.45
"""Narrower flicker is that of single pixels: noise of the camera, compression."""
_GROUPS = 8
_SMEAR_PX = 2
_Project = Callable[[float], tuple[NDArray[np.float64], float]]


@dataclass(frozen=True)
class PsfWidth:
    """Width of a Gaussian point-spread function.

    Parameters
    ----------
    sigma_px : float
        Standard deviation, pixels.
    error_px : float
        Standard error, by a jackknife over time.
    residual : float
        Root mean square of the misfit over the amplitude A·(h ⋆ h)(0): how far from Gaussian.
    significance : float
        Amplitude over the scatter of the covariance at the largest lags.
    lag_frames : int
        How far apart the frames were.
    neighbours_sigma_px : float
        Width from consecutive frames: smaller where molecules move.
    """

    sigma_px: float
    error_px: float
    residual: float
    significance: float
    lag_frames: int = 1
    neighbours_sigma_px: float = np.nan

    @property
    def moves(self) -> bool:
        """Whether consecutive frames show a narrower width than frames far apart."""
        return self.lag_frames > 1 and self.sigma_px > 1.05 * self.neighbours_sigma_px

    @property
    def is_significant(self) -> bool:
        """Whether molecules blink enough to tell, and the width lies inside the bounds."""
        inside = _NARROWEST_PX < self.sigma_px < 0.98 * _BOUNDS_PX[1]
        return inside and self.significance > 10 and self.error_px < 0.1 * self.sigma_px


def autocorrelation(lag_px: NDArray[np.floating], sigma_px: float) -> NDArray[np.float64]:
    """Return ``(h ⋆ h)(lag)`` of a Gaussian integrated over pixels, one axis.

    Examples
    --------
    >>> float(autocorrelation(np.arange(-40, 41), 1.3).sum().round(9))
    1.0
    """
    scale = np.sqrt(2.0) * sigma_px

    def integral(u: NDArray[np.floating]) -> NDArray[np.float64]:
        v = u / scale
        return u * ndtr(v) + scale * np.exp(-0.5 * v * v) / np.sqrt(2 * np.pi)

    return integral(lag_px + 1) - 2 * integral(lag_px) + integral(lag_px - 1)


def psf_width(sample: FrameSample, smear_axis: str | None = None) -> PsfWidth:
    """Estimate the width from the covariance of frame differences.

    Parameters
    ----------
    sample : FrameSample
        Raw grey values.
    smear_axis : {"x", "y"}, optional
        Axis along which neighbouring pixels share noise
        (:attr:`~hdsmlm.estimation.photon_transfer.PhotonTransfer.smear`); the short lags along it
        are left out beside lag 0.
    """
    length = max(len(run) for run in sample.runs)
    lags = [lag for lag in LAGS_FRAMES if lag == 1 or 2 * lag <= length]
    widths = [_width_at(sample, lag, _noisy_lags(smear_axis)) for lag in lags]
    told = [width for width in widths if width.is_significant] or widths[:1]
    best = min(told, key=lambda width: width.residual)
    return replace(best, neighbours_sigma_px=widths[0].sigma_px)


def _width_at(sample: FrameSample, lag_frames: int, noisy: NDArray[np.bool_]) -> PsfWidth:
    groups = _covariances(sample, lag_frames)
    total = groups.sum(axis=0)
    sigma, residual, significance = _fit(total / len(groups), noisy)
    others = [_fit((total - group) / (len(groups) - 1), noisy)[0] for group in groups]
    error = np.sqrt((len(groups) - 1) * np.var(others)) if len(groups) > 1 else np.inf
    return PsfWidth(sigma, float(error), residual, significance, lag_frames)


def _covariances(sample: FrameSample, lag_frames: int) -> NDArray[np.float64]:
    """Return covariance maps (groups, 2·MAX_LAG + 1, 2·MAX_LAG + 1), one per stretch of time."""
    height, width = sample.shape
    size = (height + MAX_LAG_PX, width + MAX_LAG_PX)
    overlap = irfft2(np.abs(rfft2(np.ones((height, width)), s=size)) ** 2, s=size)
    lags = np.arange(-MAX_LAG_PX, MAX_LAG_PX + 1)
    window = np.ix_(lags, lags)
    maps = []
    n_parts = max(1, -(-_GROUPS // len(sample.runs)))
    for run in sample.runs:
        if len(run) <= lag_frames:
            continue
        difference = run[lag_frames:] - run[:-lag_frames]
        difference -= difference.mean(axis=(1, 2), keepdims=True)
        for part in np.array_split(difference, min(n_parts, len(difference))):
            power = np.zeros((size[0], size[1] // 2 + 1))
            for frame in part:
                power += np.abs(rfft2(frame, s=size)) ** 2
            maps.append(irfft2(power / len(part), s=size)[window] / overlap[window])
    return np.array(maps)


def _noisy_lags(smear_axis: str | None) -> NDArray[np.bool_]:
    """Return the lags (y, x) at which noise has a part in the covariance."""
    noisy = np.zeros((2 * MAX_LAG_PX + 1,) * 2, bool)
    near = slice(MAX_LAG_PX - _SMEAR_PX, MAX_LAG_PX + _SMEAR_PX + 1)
    noisy[MAX_LAG_PX, near if smear_axis == "x" else MAX_LAG_PX] = True
    noisy[near if smear_axis == "y" else MAX_LAG_PX, MAX_LAG_PX] = True
    return noisy


def _fit(covariance: NDArray[np.float64], noisy: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return sigma, relative residual and significance of a covariance map."""
    lag = np.arange(-MAX_LAG_PX, MAX_LAG_PX + 1, dtype=np.float64)
    distance2 = lag[:, None] ** 2 + lag**2
    sigma, radius = 1.3, 6.0
    amplitude = rms = 0.0
    for _ in range(4):
        inside = ~noisy & (distance2 <= radius**2)
        data = covariance[inside]

        def project(
            width: float, inside: NDArray[np.bool_] = inside, data: NDArray[np.float64] = data
        ) -> tuple[NDArray[np.float64], float]:
            line = autocorrelation(lag, width)
            shape = np.outer(line, line)
            design = np.column_stack([shape[inside], np.ones(len(data))])
            solution = np.linalg.lstsq(design, data, rcond=None)[0]
            return design @ solution - data, float(solution[0] * shape.max())

        scale = max(float(np.abs(data).max()), 1e-12)

        def relative(
            parameters: NDArray[np.float64], scale: float = scale, project: _Project = project
        ) -> NDArray[np.float64]:
            return project(float(parameters[0]))[0] / scale

        found = least_squares(relative, [sigma], bounds=_BOUNDS_PX)
        sigma = float(found.x[0])
        misfit, amplitude = project(sigma)
        rms = float(np.sqrt(np.mean(misfit**2)))
        radius = float(np.clip(3 * sigma, 2.5, MAX_LAG_PX))
    outer = covariance[distance2 > (MAX_LAG_PX - 1) ** 2]
    scatter = max(float(outer.std()), 1e-12)
    if amplitude <= 0:
        return sigma, np.inf, 0.0
    return sigma, rms / amplitude, amplitude / scatter
