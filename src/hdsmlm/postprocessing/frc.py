"""Fourier ring correlation: the resolution of a localization data set.

Two halves of the localizations are rendered and their Fourier transforms F1, F2 are correlated on
rings of equal spatial frequency q (Nieuwenhuizen et al., Nat. Methods 2013; Banterle et al.,
J. Struct. Biol. 2013): ``FRC(q) = sum F1 F2* / sqrt(sum |F1|² sum |F2|²)``. The resolution is 1/q
where the smoothed curve first falls below 1/7. Large fields are cut into tiles whose sums add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.postprocessing import FrcConfig
from hdsmlm.errors import TableError
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Event, Listener, silent

_TILE_PX = 2048
_MIN_SIDE_PX = 64
_MIN_ROWS = 200
_TAPER = 0.25
_SMOOTH_RINGS = 9
_MIN_CROSSING_RING = 10
"""Rings further in hold so few values that their correlation is chance."""


@dataclass(frozen=True)
class FourierRingCorrelation:
    """The curve and the resolution.

    Parameters
    ----------
    frequency_per_nm : array, shape (k,)
        Spatial frequency of the rings, 1/nm.
    correlation : array, shape (k,)
        Mean over the splits, not smoothed.
    smoothed : array, shape (k,)
        The curve that is compared with the threshold.
    resolution_nm : float
        Mean over the splits; NaN when the curve of any split stays above the threshold.
    spread_nm : float
        Standard deviation over the splits, nm.
    notes : tuple of str
        What limits the number.
    """

    frequency_per_nm: NDArray[np.float64]
    correlation: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    resolution_nm: float
    spread_nm: float
    notes: tuple[str, ...]


def fourier_ring_correlation(
    emitters: Emitters, config: FrcConfig, listener: Listener = silent
) -> FourierRingCorrelation:
    """Compute the FRC curve of random halves, and the resolution.

    Parameters
    ----------
    emitters : Emitters
        Localizations.
    config : FrcConfig
        Pixel, blocks, repeats, seed, threshold.
    listener : Listener
        Hears each split.

    Raises
    ------
    TableError
        With too few localizations or too small a field.
    """
    tiles, side = _tiles(emitters, config.pixel_size_nm)
    rng = np.random.default_rng(config.seed)
    curves = []
    for repeat in range(config.repeats):
        second = _halves(emitters, config.block_frames, rng)
        curves.append(_correlate(tiles, side, second))
        listener(Event("frc", repeat + 1, config.repeats, "halves correlated", "splits"))
    frequency = np.arange(side // 2 + 1) / (side * config.pixel_size_nm)
    smoothed = [_smooth(curve) for curve in curves]
    found = np.array([_crossing(frequency, curve, config.threshold) for curve in smoothed])
    resolution = float(np.mean(found)) if np.isfinite(found).all() else float("nan")
    return FourierRingCorrelation(
        frequency_per_nm=frequency,
        correlation=np.mean(curves, axis=0),
        smoothed=np.mean(smoothed, axis=0),
        resolution_nm=resolution,
        spread_nm=float(np.std(found)),
        notes=_notes(resolution, smoothed, config),
    )


def _notes(
    resolution: float, smoothed: list[NDArray[np.float64]], config: FrcConfig
) -> tuple[str, ...]:
    if np.isfinite(resolution):
        if resolution < 4 * config.pixel_size_nm:
            return (
                f"The resolution is below 4 pixels of {config.pixel_size_nm:g} nm; "
                "repeat with a smaller --pixel-size-nm.",
            )
        return ()
    if any((curve < config.threshold).any() for curve in smoothed):
        return (
            f"The correlation is lost within {_MIN_CROSSING_RING} rings: the halves have no detail "
            "in common. There are too few localizations.",
        )
    return (
        "The correlation never falls below the threshold: the same blinks stand in both halves, or "
        "the pixel is too large. Link the blinks first, or choose a smaller --pixel-size-nm.",
    )


def _tiles(
    emitters: Emitters, pixel_size_nm: float
) -> tuple[list[tuple[NDArray[np.int64], NDArray[np.int64]]], int]:
    """Return (rows, flat pixel) of each tile, and the side of the tiles."""
    from scipy.fft import next_fast_len

    if len(emitters) < _MIN_ROWS:
        raise TableError(
            f"frc: {len(emitters)} localizations are too few; at least {_MIN_ROWS} were wanted"
        )
    x = np.floor((emitters["x_nm"] - emitters["x_nm"].min()) / pixel_size_nm).astype(np.int64)
    y = np.floor((emitters["y_nm"] - emitters["y_nm"].min()) / pixel_size_nm).astype(np.int64)
    extent = int(max(x.max(), y.max())) + 1
    if extent < _MIN_SIDE_PX:
        raise TableError(
            f"frc: all localizations lie within {extent} pixels of {pixel_size_nm:g} nm; at least "
            f"{_MIN_SIDE_PX} were wanted. Choose a smaller --pixel-size-nm"
        )
    side = next_fast_len(min(extent, _TILE_PX), real=True)
    side += side % 2
    keys = (y // side) * (int(x.max()) // side + 1) + x // side
    order = np.argsort(keys, kind="stable")
    bounds = np.flatnonzero(np.diff(keys[order], prepend=-1, append=-1))
    pixel = (y % side) * side + x % side
    return [(rows, pixel[rows]) for rows in np.split(order, bounds[1:-1])], side


def _halves(emitters: Emitters, block_frames: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which rows are of the second half; the rows of one blink stay together.

    They may share a position, which would correlate the halves with itself.
    """
    frames, blink = emitters["frame"], np.arange(len(emitters))
    if "blink_id" in emitters:
        _, first, blink = np.unique(emitters["blink_id"], return_index=True, return_inverse=True)
        frames = frames[first]
    if block_frames == 0:
        return (rng.random(len(frames)) < 0.5)[blink]
    block = (frames - frames.min()) // block_frames
    n_blocks = int(block.max()) + 1
    if n_blocks < 4:
        raise TableError(
            f"frc: the table has {n_blocks} blocks of {block_frames} frames; at least 4 were "
            "wanted. Choose a smaller --block-frames, or 0 to split by localizations"
        )
    second = np.zeros(n_blocks, bool)
    second[rng.permutation(n_blocks)[: n_blocks // 2]] = True
    return second[block][blink]


def _correlate(
    tiles: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    side: int,
    second: NDArray[np.bool_],
) -> NDArray[np.float64]:
    from scipy.fft import rfft2
    from scipy.signal.windows import tukey

    taper = tukey(side, _TAPER).astype(np.float32)
    across, along = np.fft.fftfreq(side, 1 / side), np.arange(side // 2 + 1)
    ring = np.rint(np.hypot(across[:, None], along[None, :])).astype(np.int64).ravel()
    # Half of the plane is stored; its first and last column stand for themselves, the rest twice.
    twice = np.where((along == 0) | (along == side // 2), 1.0, 2.0)
    weight = np.broadcast_to(twice, (side, side // 2 + 1)).ravel()
    sums = np.zeros((3, side // 2 + 1))
    for rows, pixel in tiles:
        transforms = []
        for half in (False, True):
            flat = np.bincount(pixel[second[rows] == half], minlength=side * side)
            image = flat.reshape(side, side).astype(np.float32) * taper[:, None] * taper
            transforms.append(rfft2(image).ravel())
        one, two = transforms
        for place, values in enumerate(
            ((one * two.conj()).real, np.abs(one) ** 2, np.abs(two) ** 2)
        ):
            sums[place] += np.bincount(ring, weight * values, side // 2 + 1)[: side // 2 + 1]
    both = np.sqrt(sums[1] * sums[2])
    return np.divide(sums[0], both, out=np.zeros(len(both)), where=both > 0)


def _smooth(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth by straight lines through neighbouring rings; the first ring, the mean, stays."""
    from scipy.signal import savgol_filter

    width = min(_SMOOTH_RINGS, (len(curve) - 1) // 2 * 2 - 1)
    return np.concatenate([curve[:1], savgol_filter(curve[1:], width, 1)])


def _crossing(
    frequency: NDArray[np.float64], curve: NDArray[np.float64], threshold: float
) -> float:
    """Return 1/q where the curve first falls below the threshold, between rings on a line."""
    below = np.flatnonzero(curve < threshold)
    if len(below) == 0 or below[0] < _MIN_CROSSING_RING:
        return float("nan")
    k = int(below[0])
    share = (curve[k - 1] - threshold) / (curve[k - 1] - curve[k])
    return float(1.0 / (frequency[k - 1] + share * (frequency[k] - frequency[k - 1])))
