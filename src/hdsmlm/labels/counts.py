"""Count labels and the weights of the loss (SNR curation).

For each frame and pixel the label is the number of reliable emitters (SNR >= 2) whose centre lies
in the pixel, clipped at 3: classes 0, 1, 2, 3+. An emitter with SNR < 2 is excluded from learning:
its 3x3 pixels get weight 0, unless a reliable emitter's centre lies in that pixel. It is neither
taught as an emitter nor as background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.records.count_map import N_CLASSES
from hdsmlm.records.emitters import Emitters

RELIABLE_SNR = 2.0
"""SNR is clipped here; an emitter at or above it is fully reliable."""


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


def count_labels(emitters: Emitters, shape: tuple[int, int, int], pixel_size_nm: float) -> Labels:
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

    Examples
    --------
    >>> truth = Emitters({"frame": [0, 0, 0], "x_nm": [150, 190, 450], "y_nm": [150, 110, 450],
    ...                   "snr": [5.0, 2.0, 1.0]})
    >>> labels = count_labels(truth, (1, 6, 6), 100.0)
    >>> int(labels.classes[0, 1, 1]), float(labels.weights.sum())
    (2, 27.0)
    """
    n_frames, height, width = shape
    frame = emitters["frame"]
    row = np.floor(emitters["y_nm"] / pixel_size_nm).astype(np.int64)
    column = np.floor(emitters["x_nm"] / pixel_size_nm).astype(np.int64)
    inside = (
        (frame >= 0) & (frame < n_frames)
        & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    )  # fmt: skip
    reliable = inside & (
        emitters["snr"] >= RELIABLE_SNR if "snr" in emitters else np.ones(len(emitters), bool)
    )
    doubtful = inside & ~reliable

    counts = np.zeros(shape, dtype=np.int32)
    np.add.at(counts, (frame[reliable], row[reliable], column[reliable]), 1)

    weights = np.ones(shape, dtype=np.float32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            r, c = row[doubtful] + dy, column[doubtful] + dx
            valid = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            weights[frame[doubtful][valid], r[valid], c[valid]] = 0.0
    weights[counts > 0] = 1.0
    return Labels(np.minimum(counts, N_CLASSES - 1).astype(np.uint8), weights)
