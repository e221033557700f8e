"""What a patch of a movie looks like, as a few numbers with physical names.

They compare a movie with the patches that a model was trained on (:mod:`hdsmlm.estimation.domain`).
Intensities are those that the network sees: normalized by the percentiles of the recording. Grey
values per photo-electron and the offset of a camera therefore have no part in them; what is left is
the noise relative to the light, the spots, their number, their life and the background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter

PATCH_PX = 32
"""Side of a patch: some ten PSF widths, and smaller than nearly all movies."""
_STENCIL = np.array([1.0, -6.0, 15.0, -20.0, 15.0, -6.0, 1.0])
"""(-1)^i·C(6, i): light that was blurred by a PSF does not pass (photon transfer)."""
_SMOOTHING_PX = 1.0
_THRESHOLD = 5.0
_LEAST = 1e-3
_LAGS_PX = (2, 3, 4, 5)
_WIDTHS_PX = np.linspace(0.35, 6.0, 300)
_WIDTH_CURVE = np.mean(
    [np.exp(-(lag**2 - 1) / (4 * (_WIDTHS_PX**2 + 1 / 12))) for lag in _LAGS_PX], axis=0
)
"""Mean covariance at those lags over that at lag 1, for each width: rises with the width."""


@dataclass(frozen=True)
class Feature:
    """One number of a patch.

    Parameters
    ----------
    name : str
        Identifier.
    quantity : str
        What it measures, in words.
    high, low : str
        What is said of a movie with a larger, a smaller value than the training scenes.
    """

    name: str
    quantity: str
    high: str
    low: str


FEATURES: tuple[Feature, ...] = (
    Feature(
        "median_level",
        "typical brightness between the movie's dark and bright percentile",
        "more of your field is bright",
        "less of your field is bright",
    ),
    Feature(
        "bright_level",
        "90th percentile of the normalized brightness",
        "light fills more of your field",
        "light fills less of your field",
    ),
    Feature(
        "large_structure",
        "share of the spatial power in structures wider than 11 px (log10)",
        "your pictures have more large-scale structure",
        "your pictures have less large-scale structure",
    ),
    Feature(
        "static_structure",
        "share of the contrast that is smooth and does not change (log10)",
        "your background has more structure that stays",
        "your background has less structure that stays",
    ),
    Feature(
        "fine_structure",
        "share of the spatial power in details finer than 3 px (log10)",
        "your pictures have more fine detail (noise, narrow spots)",
        "your pictures have less fine detail (smooth, wide spots)",
    ),
    Feature(
        "spot_width",
        "width (sigma) of what flickers, px (log10)",
        "your PSF is wider",
        "your PSF is narrower",
    ),
    Feature(
        "noise",
        "pixel noise over the contrast (log10)",
        "your spots stand out less from the noise (fewer photons or more background)",
        "your spots stand out more from the noise (more photons or less background)",
    ),
    Feature(
        "noise_texture",
        "noise power at the finest scale over that at the next (log10)",
        "your noise has an unusually fine grain (sharpened?)",
        "your finest grain is smooth: noise correlated between pixels, or a very narrow PSF",
    ),
    Feature(
        "spots",
        "local maxima above the noise per 1000 px and frame (log10)",
        "you have more separate spots per pixel",
        "you have fewer separate spots per pixel",
    ),
    Feature(
        "crowding",
        "excess kurtosis of the flicker, changed in sign: how many emitters share a PSF (log10)",
        "more emitters overlap in your movie (denser)",
        "fewer emitters overlap in your movie (sparser)",
    ),
    Feature(
        "persistence",
        "correlation of the light from frame to frame",
        "your molecules stay on longer",
        "your molecules stay on for a shorter time",
    ),
)
"""Every feature, in the order of the columns."""


def patch_features(patches: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the features of normalized patches.

    Parameters
    ----------
    patches : array, shape (n, t, PATCH_PX, PATCH_PX)
        ``2·(v - low)/(high - low) - 1``, not clipped; at least 3 frames.

    Returns
    -------
    array of float64, shape (n, len(FEATURES))
        Finite numbers.
    """
    patches = np.asarray(patches, dtype=np.float32)
    seen = np.clip(patches, -1.0, 1.0)
    columns: dict[str, NDArray[np.floating]] = {
        "median_level": np.median(seen, axis=(1, 2, 3)),
        "bright_level": np.quantile(seen, 0.9, axis=(1, 2, 3)),
    }
    columns |= _spectrum(seen) | _flicker(patches) | _noise_and_spots(patches, seen)
    return np.column_stack([columns[feature.name] for feature in FEATURES]).astype(np.float64)


def cut_patches(block: NDArray[np.floating]) -> NDArray[np.floating]:
    """Cut (t, y, x) into its whole patches (n, t, PATCH_PX, PATCH_PX); a rest is left out."""
    t, rows, columns = block.shape[0], block.shape[1] // PATCH_PX, block.shape[2] // PATCH_PX
    block = block[:, : rows * PATCH_PX, : columns * PATCH_PX]
    tiles = block.reshape(t, rows, PATCH_PX, columns, PATCH_PX)
    return tiles.transpose(1, 3, 0, 2, 4).reshape(-1, t, PATCH_PX, PATCH_PX)


def _spectrum(seen: NDArray[np.float32]) -> dict[str, NDArray[np.floating]]:
    """Shares of the power in bands, and of the variance in what is smooth and stays."""
    centred = seen - seen.mean(axis=(2, 3), keepdims=True)
    window = np.hanning(PATCH_PX + 2)[1:-1].astype(np.float32)
    power = np.abs(np.fft.rfft2(centred * np.outer(window, window))) ** 2
    power = power.mean(axis=1)
    fy, fx = np.fft.fftfreq(PATCH_PX)[:, None], np.fft.rfftfreq(PATCH_PX)[None, :]
    radius = np.hypot(fy, fx)
    total = power.sum(axis=(1, 2)) + 1e-12
    smooth = _smooth(seen.mean(axis=1), 3.0)
    static = smooth.std(axis=(1, 2)) / (centred.std(axis=(1, 2, 3)) + 1e-6)
    return {
        "large_structure": _log(power[:, radius < 0.09].sum(axis=1) / total),
        "fine_structure": _log(power[:, radius > 0.34].sum(axis=1) / total),
        "static_structure": _log(static),
    }


def _flicker(patches: NDArray[np.float32]) -> dict[str, NDArray[np.floating]]:
    """Width, persistence and crowding of what changes from frame to frame.

    The covariance of a difference of frames at a spatial lag r above 0 is free of noise and falls
    as ``exp(-r²/4s²)``, ``s² = sigma² + 1/12``. At temporal lag τ its amplitude is
    ``1 - q^τ`` for exponential on-times, so that amplitude(2)/amplitude(1) = 1 + q.
    """
    first = patches[:, 1:] - patches[:, :-1]
    second = patches[:, 2:] - patches[:, :-2]
    near = _covariance(first, 1)
    far = np.mean([_covariance(first, lag) for lag in _LAGS_PX], axis=0)
    sigma = np.interp(far / np.maximum(near, 1e-9), _WIDTH_CURVE, _WIDTHS_PX)
    kept = _covariance(second, 1) / np.maximum(near, 1e-9) - 1
    smooth = _smooth(first, _SMOOTHING_PX)
    smooth = smooth - smooth.mean(axis=(2, 3), keepdims=True)
    variance = (smooth**2).mean(axis=(1, 2, 3)) + 1e-12
    kurtosis = (smooth**4).mean(axis=(1, 2, 3)) / variance**2 - 3
    return {
        "spot_width": np.log10(sigma),
        "persistence": np.clip(kept, -0.5, 1.5),
        "crowding": -np.log10(np.maximum(kurtosis, 0.0) + 0.1),
    }


def _noise_and_spots(
    patches: NDArray[np.float32], seen: NDArray[np.float32]
) -> dict[str, NDArray[np.floating]]:
    """Noise by a stencil that light does not pass, its texture, and the maxima above it."""
    difference = patches[:, 1:] - patches[:, :-1]
    along_y = _filtered(difference, 2)
    both = _filtered(along_y, 3)
    norm = float((_STENCIL**2).sum())
    finest = (both**2).mean(axis=(1, 2, 3)) / norm**2
    next_fine = 0.5 * (
        (_lag_sum(along_y, 3) ** 2).mean(axis=(1, 2, 3))
        + (_lag_sum(_filtered(difference, 3), 2) ** 2).mean(axis=(1, 2, 3))
    )
    noise = np.sqrt(finest / 2) + 1e-6  # of one frame
    contrast = seen.std(axis=(1, 2, 3)) + 1e-3
    smooth = _smooth(patches, _SMOOTHING_PX)
    level = np.median(smooth, axis=(2, 3), keepdims=True)
    limit = _THRESHOLD * noise / (2 * np.sqrt(np.pi) * _SMOOTHING_PX)
    peak = smooth == maximum_filter(smooth, size=(1, 1, 3, 3))
    peak &= smooth > level + limit[:, None, None, None]
    peak[:, :, :, [0, -1]] = False
    peak[:, :, [0, -1]] = False
    return {
        "noise": np.log10(noise / contrast),
        "noise_texture": np.log10((finest + 1e-12) / (next_fine / (2 * norm) + 1e-12)),
        "spots": np.log10(1000 * peak.mean(axis=(1, 2, 3)) + 0.3),
    }


def _filtered(array: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the stencil's response along one axis, where it fits whole."""
    n = array.shape[axis] - len(_STENCIL) + 1
    total = np.zeros(1, dtype=np.float32)
    for k, weight in enumerate(_STENCIL):
        piece = np.take(array, np.arange(k, k + n), axis=axis)
        total = total + np.float32(weight) * piece
    return total


def _lag_sum(array: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the difference of pixels two apart: its power peaks at half the finest frequency."""
    n = array.shape[axis]
    ahead = np.take(array, np.arange(2, n), axis=axis)
    return ahead - np.take(array, np.arange(0, n - 2), axis=axis)


def _covariance(difference: NDArray[np.float32], lag: int) -> NDArray[np.floating]:
    """Return the covariance at ``lag`` pixels, mean of both axes, shape (n,)."""
    centred = difference - difference.mean(axis=(2, 3), keepdims=True)
    along_y = (centred[:, :, lag:] * centred[:, :, :-lag]).mean(axis=(1, 2, 3))
    along_x = (centred[:, :, :, lag:] * centred[:, :, :, :-lag]).mean(axis=(1, 2, 3))
    return 0.5 * (along_y + along_x)


def _smooth(array: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    return gaussian_filter1d(gaussian_filter1d(array, sigma_px, axis=-1), sigma_px, axis=-2)


def _log(share: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.log10(np.maximum(share, _LEAST))
