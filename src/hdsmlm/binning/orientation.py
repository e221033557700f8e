"""The eight orientations of a square, for pictures and for the emitters in them.

Bit 0 mirrors x, bit 1 mirrors y, bit 2 exchanges x and y afterwards; the first four keep the axes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hdsmlm.records.emitters import Emitters

N_ORIENTATIONS = 8
"""Orientations of a square."""


def turned(frames: NDArray, orientation: int) -> NDArray:
    """Return frames (..., y, x) in one of the eight orientations of a square; 0 is as it is.

    Examples
    --------
    >>> square = np.arange(4).reshape(1, 2, 2)
    >>> len({turned(square, k).tobytes() for k in range(8)})
    8
    """
    if orientation & 1:
        frames = frames[..., :, ::-1]
    if orientation & 2:
        frames = frames[..., ::-1, :]
    if orientation & 4:
        frames = frames.swapaxes(-1, -2)
    return np.ascontiguousarray(frames)


def turned_emitters(emitters: Emitters, orientation: int, side_nm: tuple[float, float]) -> Emitters:
    """Return emitters in the coordinates of :func:`turned` frames.

    Parameters
    ----------
    emitters : Emitters
        Positions in the frame as it is.
    orientation : int
        0 to 7.
    side_nm : tuple of float
        (height, width) of the frame as it is.
    """
    x_nm, y_nm = emitters["x_nm"], emitters["y_nm"]
    if orientation & 1:
        x_nm = side_nm[1] - x_nm
    if orientation & 2:
        y_nm = side_nm[0] - y_nm
    if orientation & 4:
        x_nm, y_nm = y_nm, x_nm
    return emitters.with_columns(x_nm=x_nm, y_nm=y_nm)
