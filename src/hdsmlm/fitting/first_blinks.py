"""First guess of the blinks: detections of consecutive frames that lie close together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


def link_detections(
    frame: NDArray[np.int64], x_px: NDArray[np.float64], y_px: NDArray[np.float64], radius_px: float
) -> NDArray[np.int64]:
    """Join detections of consecutive frames, nearest pairs first.

    Parameters
    ----------
    frame, x_px, y_px : array, shape (n,)
        Detections, ordered by frame.
    radius_px : float
        Farthest apart that two detections are joined.

    Returns
    -------
    array of int, shape (n,)
        Number of the blink of each detection, from 0, in the order of their first detections.

    Examples
    --------
    >>> link_detections(np.array([0, 0, 1, 3]), np.array([5.0, 9, 5.5, 5]), np.zeros(4), 1.2)
    array([0, 1, 0, 2])
    """
    n = len(frame)
    before = np.full(n, -1)
    taken = np.zeros(n, dtype=bool)
    edges = np.searchsorted(frame, np.arange(int(frame.max(initial=0)) + 2))
    for t in range(1, len(edges) - 1):
        old, new = np.arange(edges[t - 1], edges[t]), np.arange(edges[t], edges[t + 1])
        if len(old) == 0 or len(new) == 0:
            continue
        tree = cKDTree(np.column_stack((x_px[old], y_px[old])))
        places = np.column_stack((x_px[new], y_px[new]))
        pairs = cKDTree(places).sparse_distance_matrix(tree, radius_px, output_type="ndarray")
        for pair in pairs[np.lexsort((pairs["j"], pairs["i"], pairs["v"]))]:
            one, two = old[pair["j"]], new[pair["i"]]
            if not taken[one] and before[two] < 0:
                taken[one], before[two] = True, one
    blink = np.empty(n, dtype=np.int64)
    count = 0
    for k in range(n):
        if before[k] < 0:
            blink[k] = count
            count += 1
        else:
            blink[k] = blink[before[k]]
    return blink
