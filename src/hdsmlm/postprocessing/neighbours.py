"""How many localizations lie around each one: the density filter."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import TableError
from hdsmlm.records.emitters import Emitters

_CHUNK_ROWS = 500_000


def count_neighbours(emitters: Emitters, radius_nm: float) -> NDArray[np.int64]:
    """Count the other localizations, of all frames, within a lateral distance.

    Parameters
    ----------
    emitters : Emitters
        Reads ``x_nm`` and ``y_nm``.
    radius_nm : float
        Largest distance, included, nm.

    Returns
    -------
    array, shape (n,)
        Neighbours of each row, itself not counted.

    Raises
    ------
    TableError
        For a radius that is not positive.

    Examples
    --------
    >>> table = Emitters({"frame": [0, 3, 9], "x_nm": [0, 30, 500], "y_nm": [0, 0, 0]})
    >>> count_neighbours(table, 50.0).tolist()
    [1, 1, 0]
    """
    from scipy.spatial import cKDTree

    if not (math.isfinite(radius_nm) and radius_nm > 0):
        raise TableError(f"the radius of the neighbours must be positive, in nm; got {radius_nm}")
    points = np.column_stack([emitters["x_nm"], emitters["y_nm"]])
    if len(points) == 0:
        return np.zeros(0, np.int64)
    tree = cKDTree(points)
    counts = [
        tree.query_ball_point(points[start : start + _CHUNK_ROWS], radius_nm, return_length=True)
        for start in range(0, len(points), _CHUNK_ROWS)
    ]
    return np.concatenate(counts).astype(np.int64) - 1
