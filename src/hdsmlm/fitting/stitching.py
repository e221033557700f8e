"""Windows of frames put together: every blink once, the same wherever a piece of work was done.

Windows lie on a grid that starts at frame 0, and each sees a margin of frames beyond its core.
Every frame is answered by the window whose core holds it and by no other, so that nothing is lost
or doubled at a seam. Blinks of neighbouring windows that share a frame and a place are recognized
as one, nearest pairs first; such a blink keeps the number and the place that the earlier window
gave it, however many windows it lasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hdsmlm.records.emitters import Emitters

_PLACE = tuple(
    prefix + name for prefix in ("", "uncertainty_") for name in ("x_nm", "y_nm", "z_nm")
)

SAME_PX = 0.6
"""Blinks of two windows that share a frame are one when their places are this near."""


@dataclass(frozen=True)
class FrameSpan:
    """Frames of a window: ``start <= core_start < core_stop <= stop``.

    Parameters
    ----------
    core_start, core_stop : int
        Frames that the window answers for.
    start, stop : int
        Frames that it sees.
    """

    core_start: int
    core_stop: int
    start: int
    stop: int


def plan_spans(first: int, last: int, core: int, margin: int) -> list[FrameSpan]:
    """Cut the frames first..last-1 into windows whose cores begin at multiples of ``core``.

    Examples
    --------
    >>> [(s.core_start, s.core_stop, s.start, s.stop) for s in plan_spans(3, 10, 5, 2)]
    [(3, 5, 3, 7), (5, 10, 3, 10)]
    """
    edges = [first, *range((first // core + 1) * core, last, core), last]
    return [
        FrameSpan(low, high, max(first, low - margin), min(last, high + margin))
        for low, high in pairwise(edges)
    ]


class Stitcher:
    """Takes the windows of a movie in order and gives back what is final.

    Parameters
    ----------
    pixel_size_nm : float
        Side of a pixel.
    """

    def __init__(self, pixel_size_nm: float) -> None:
        self._radius_nm = SAME_PX * pixel_size_nm
        self._count = 0
        self._rows: Emitters | None = None
        self._open: Emitters | None = None
        self._before: Emitters | None = None

    def add(self, rows: Emitters, span: FrameSpan) -> None:
        """Take the rows of the next window; ``blink_id`` numbers its own blinks."""
        core = (rows["frame"] >= span.core_start) & (rows["frame"] < span.core_stop)
        ids, index = np.unique(rows["blink_id"], return_inverse=True)
        identity = self._known(rows)
        new = (np.bincount(index, core, len(ids)) > 0) & (identity < 0)
        identity[new] = self._count + np.arange(int(new.sum()))
        self._count += int(new.sum())
        numbered = rows.with_columns(blink_id=identity[index])
        self._before = numbered
        self._rows = self._at_first_place(numbered.select(core))
        kept = [self._rows] if self._open is None else [self._open, self._rows]
        self._open = Emitters.concatenate(kept)

    def take(self, next_start: int | None) -> tuple[Emitters, Emitters]:
        """Return the rows of the last window's core, and those of the blinks that have ended.

        Parameters
        ----------
        next_start : int or None
            First frame that the next window sees; None after the last window.

        Returns
        -------
        rows : Emitters
            Sorted by frame, y, x.
        blinks : Emitters
            All rows of the blinks that have ended; each blink is returned once.
        """
        if self._rows is None or self._open is None or self._before is None:
            return Emitters.empty(("blink_id",)), Emitters.empty(("blink_id",))
        final, self._rows = self._rows.sorted(), None
        go_on = np.empty(0, np.int64)
        if next_start is not None:
            go_on = self._before["blink_id"][self._before["frame"] >= next_start]
        ended = ~np.isin(self._open["blink_id"], go_on)
        closed, self._open = self._open.select(ended), self._open.select(~ended)
        return final, closed

    def _known(self, rows: Emitters) -> NDArray[np.int64]:
        """Return for each blink of the window, by its id, the known blink that it is, or -1."""
        ours = _Blinks.of(rows)
        identity = np.full(len(ours.ids), -1, np.int64)
        if self._before is None or len(self._before) == 0 or len(rows) == 0:
            return identity
        known = self._before.select(self._before["blink_id"] >= 0)
        theirs = _Blinks.of(known)
        if len(theirs.ids) == 0:
            return identity
        pairs = cKDTree(ours.places).sparse_distance_matrix(
            cKDTree(theirs.places), self._radius_nm, output_type="ndarray"
        )
        i, j = pairs["i"], pairs["j"]
        together = np.maximum(ours.first[i], theirs.first[j]) <= np.minimum(
            ours.last[i], theirs.last[j]
        )
        pairs = pairs[together]
        taken: set[int] = set()
        for pair in pairs[np.lexsort((pairs["j"], pairs["i"], pairs["v"]))]:
            if identity[pair["i"]] < 0 and int(pair["j"]) not in taken:
                identity[pair["i"]] = theirs.ids[pair["j"]]
                taken.add(int(pair["j"]))
        return identity

    def _at_first_place(self, rows: Emitters) -> Emitters:
        """Give the rows of blinks that go on the place that they have so far."""
        if self._open is None or len(self._open) == 0 or len(rows) == 0:
            return rows
        ids, first_row = np.unique(self._open["blink_id"], return_index=True)
        at = np.minimum(np.searchsorted(ids, rows["blink_id"]), len(ids) - 1)
        known = ids[at] == rows["blink_id"]
        columns = {
            name: np.where(known, self._open[name][first_row[at]], rows[name])
            for name in _PLACE
            if name in rows
        }
        return rows.with_columns(**columns)


@dataclass(frozen=True)
class _Blinks:
    """Blinks of a table: first and last frames, places (n, 2) in nm."""

    ids: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    places: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Emitters) -> _Blinks:
        ids, row, index = np.unique(rows["blink_id"], return_index=True, return_inverse=True)
        first = np.full(len(ids), np.iinfo(np.int64).max)
        last = np.full(len(ids), -1, np.int64)
        np.minimum.at(first, index, rows["frame"])
        np.maximum.at(last, index, rows["frame"])
        places = np.column_stack((rows["x_nm"][row], rows["y_nm"][row]))
        return cls(ids.astype(np.int64), first, last, places)
