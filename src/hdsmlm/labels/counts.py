"""Count labels and the weights of the loss (SNR curation).

For each frame and pixel the label is the number of reliable emitters (SNR >= 2) whose centre lies
in the pixel, clipped at 3: classes 0, 1, 2, 3+. An emitter with SNR < 2 is excluded from learning:
its 3x3 pixels get weight 0, unless a reliable emitter's centre lies in that pixel. It is neither
taught as an emitter nor as background.

In a binned recording the truth itself was measured, and some of it is in doubt: an emitter that the
sparse localizer may have missed, or a spot that may be none or two. The 5x5 pixels of such a spot
(:data:`DOUBT_RADIUS_PX`) get weight 0 whatever else lies in them: the count there is not known, and
keeping the occupied pixels alone would teach that such places hold more than they do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.records.count_map import N_CLASSES
from hdsmlm.records.emitters import Emitters

RELIABLE_SNR = 2.0
"""SNR is clipped here; an emitter at or above it is fully reliable."""

FAINT_RADIUS_PX = 1
"""Pixels to each side of an emitter below :data:`RELIABLE_SNR` that are ignored: 3x3."""

DOUBT_RADIUS_PX = 2
"""Pixels to each side of a doubtful spot that are ignored: 5x5, wider than the 1.5 px within which
a prediction may match, and about a PSF."""


@dataclass(frozen=True)
class Labels:
    """Count classes and loss weights of consecutive frames.

    Parameters
    ----------
    classes : array of uint8, shape (t, y, x)
        Number of reliable emitters in the pixel, 3 means 3 or more.
    weights : array of float32, shape (t, y, x)
        1, or 0 where the pixel is excluded from learning.
    """

    classes: NDArray[np.uint8]
    weights: NDArray[np.float32]


def count_labels(
    emitters: Emitters,
    shape: tuple[int, int, int],
    pixel_size_nm: float,
    doubtful: Emitters | None = None,
) -> Labels:
    """Return the labels of frames 0..t-1.

    Parameters
    ----------
    emitters : Emitters
        Truth; without an ``snr`` column every emitter counts as reliable. Rows outside ``shape``
        are left out.
    shape : tuple
        (t, y, x).
    pixel_size_nm : float
        Side of a pixel.
    doubtful : Emitters, optional
        Spots of which it is not known how many emitters they are; none of them is in ``emitters``.

    Examples
    --------
    >>> truth = Emitters({"frame": [0, 0, 0], "x_nm": [150, 190, 450], "y_nm": [150, 110, 450],
    ...                   "snr": [5.0, 2.0, 1.0]})
    >>> labels = count_labels(truth, (1, 6, 6), 100.0)
    >>> int(labels.classes[0, 1, 1]), float(labels.weights.sum())
    (2, 27.0)
    >>> spot = Emitters({"frame": [0], "x_nm": [150], "y_nm": [150]})
    >>> float(count_labels(Emitters.empty(), (1, 6, 6), 100.0, spot).weights.sum())
    20.0
    """
    places, inside = _pixels(emitters, shape, pixel_size_nm)
    reliable = inside & (
        emitters["snr"] >= RELIABLE_SNR if "snr" in emitters else np.ones(len(emitters), bool)
    )
    counts = np.zeros(shape, dtype=np.int32)
    np.add.at(counts, tuple(places[:, reliable]), 1)
    weights = np.ones(shape, dtype=np.float32)
    _ignore_around(weights, places[:, inside & ~reliable], FAINT_RADIUS_PX)
    weights[counts > 0] = 1.0
    if doubtful is not None:
        weights[doubt_map(doubtful, shape, pixel_size_nm)] = 0.0
    return Labels(np.minimum(counts, N_CLASSES - 1).astype(np.uint8), weights)


def doubt_map(
    doubtful: Emitters, shape: tuple[int, int, int], pixel_size_nm: float
) -> NDArray[np.bool_]:
    """Return which pixels (t, y, x) lie within :data:`DOUBT_RADIUS_PX` of a doubtful spot."""
    spots, near = _pixels(doubtful, shape, pixel_size_nm, DOUBT_RADIUS_PX)
    known = np.ones(shape, dtype=np.float32)
    _ignore_around(known, spots[:, near], DOUBT_RADIUS_PX)
    return known == 0.0


def _pixels(
    emitters: Emitters, shape: tuple[int, int, int], pixel_size_nm: float, margin_px: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (frame, row, column) of each emitter, shape (3, n), and whether it is inside."""
    n_frames, height, width = shape
    row = np.floor(emitters["y_nm"] / pixel_size_nm).astype(np.int64)
    column = np.floor(emitters["x_nm"] / pixel_size_nm).astype(np.int64)
    frame = emitters["frame"].astype(np.int64)
    inside = (
        (frame >= 0) & (frame < n_frames)
        & (row >= -margin_px) & (row < height + margin_px)
        & (column >= -margin_px) & (column < width + margin_px)
    )  # fmt: skip
    return np.stack([frame, row, column]), inside


def _ignore_around(weights: NDArray[np.float32], places: NDArray[np.int64], radius_px: int) -> None:
    """Set the weights of the square around each place to 0, in place; what lies outside is cut."""
    frame, row, column = places
    _, height, width = weights.shape
    offsets = range(-radius_px, radius_px + 1)
    for dy in offsets:
        for dx in offsets:
            r, c = row + dy, column + dx
            valid = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            weights[frame[valid], r[valid], c[valid]] = 0.0
