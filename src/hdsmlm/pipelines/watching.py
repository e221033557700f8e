"""Who watches a run while it goes on: sees localizations and count maps as windows are finished."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hdsmlm.records.emitters import Emitters


class Watcher(Protocol):
    """Sees the results of a run before its files are written."""

    def rows(self, emitters: Emitters) -> None:
        """See the next rows of the table, in the order of frames; they will not change any more.

        A resumed run shows those of before again, from the first.
        """

    def count_map(self, first_frame: int, probabilities: NDArray[np.float32]) -> None:
        """See the count map of some frames, shape (t, 4, y, x); windows of before are left out."""
