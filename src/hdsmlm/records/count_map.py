"""The count map: for every pixel of every frame the probabilities of 0, 1, 2 and 3+ emitters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_CLASSES = 4
"""Count classes 0, 1, 2 and 3+ (science: labels are clipped at 3)."""


def expected_count(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return E = P1 + 2·P2 + 3·P3+.

    Parameters
    ----------
    probabilities : array, shape (t, 4, y, x)
        Class probabilities that sum to 1 over axis 1.

    Returns
    -------
    array of float32, shape (t, y, x)
        Expected number of emitters whose centre lies in the pixel; 3+ counts as 3.
    """
    return (probabilities[:, 1] + 2 * probabilities[:, 2] + 3 * probabilities[:, 3]).astype(
        np.float32
    )
