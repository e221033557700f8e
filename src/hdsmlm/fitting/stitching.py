"""Windows of frames put together: every blink once, the same wherever a piece of work was done.

Windows lie on a grid that starts at frame 0, and each sees a margin of frames beyond its core. A
blink belongs to the window in whose core it starts. Two windows may see the start of a blink in
different frames, and a blink may outlast the margin, so blinks of neighbouring windows that share a
frame and a place are recognized as one: it is taken from the earlier window and prolonged with the
frames that only the later one saw.
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

SAME_PX = 1.0
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
        self._last_stop = 0

    def add(self, rows: Emitters, span: FrameSpan) -> None:
        """Take the rows of the next window; ``blink_id`` numbers its own blinks."""
        blinks = _Blinks.of(rows)
        owned = (blinks.first >= span.core_start) & (blinks.first < span.core_stop)
        late = (blinks.first < span.core_start) & (blinks.frames_from(rows, span.core_start))
        partner = self._partners(rows, blinks, span)
        identity = np.full(len(blinks.ids), -1, np.int64)
        new = (owned | late) & (partner < 0)
        identity[new] = self._count + np.arange(int(new.sum()))
        self._count += int(new.sum())
        kept = [self._with_ids(rows, blinks, identity)]
        if self._open is not None:
            kept.append(self._prolonged(rows, blinks, partner))
        self._rows = _joined([self._rows, *kept])
        self._open = _joined([self._open, *kept])
        self._last_stop = span.stop

    def take(self, next_start: int | None) -> tuple[Emitters, Emitters]:
        """Return rows that no later window can add to, and the rows of finished blinks.

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
        if self._rows is None or self._open is None:
            return Emitters.empty(), Emitters.empty(("blink_id",))
        limit = np.iinfo(np.int32).max if next_start is None else next_start
        done = self._rows["frame"] < limit
        final, self._rows = self._rows.select(done).sorted(), self._rows.select(~done)
        blinks = _Blinks.of(self._open)
        ended = (blinks.last < limit)[blinks.index]
        closed, self._open = self._open.select(ended), self._open.select(~ended)
        return final, closed

    def _with_ids(self, rows: Emitters, blinks: _Blinks, identity: NDArray[np.int64]) -> Emitters:
        identities = identity[blinks.index]
        return rows.with_columns(blink_id=identities).select(identities >= 0)

    def _partners(self, rows: Emitters, blinks: _Blinks, span: FrameSpan) -> NDArray[np.int64]:
        """Return for each blink of the window the known blink that it is, or -1."""
        partner = np.full(len(blinks.ids), -1, np.int64)
        if self._open is None or len(self._open) == 0 or len(rows) == 0:
            return partner
        known = self._open.select(self._open["frame"] >= span.start)
        seen = rows.select(rows["frame"] < self._last_stop)
        if len(known) == 0 or len(seen) == 0:
            return partner
        far = 10 * self._radius_nm
        tree = cKDTree(np.column_stack((known["x_nm"], known["y_nm"], known["frame"] * far)))
        places = np.column_stack((seen["x_nm"], seen["y_nm"], seen["frame"] * far))
        distance, hit = map(np.asarray, tree.query(places, distance_upper_bound=self._radius_nm))
        found = np.isfinite(distance)
        own = np.searchsorted(blinks.ids, seen["blink_id"][found])
        ids = known["blink_id"][hit[found]]
        for k in np.lexsort((ids, own, -distance[found])):  # the nearest comes last and stays
            partner[own[k]] = ids[k]
        return partner

    def _prolonged(self, rows: Emitters, blinks: _Blinks, partner: NDArray[np.int64]) -> Emitters:
        """Return the frames of known blinks that only this window saw, at their known place."""
        assert self._open is not None
        known = _Blinks.of(self._open)
        identities = partner[blinks.index]
        at = np.searchsorted(known.ids, identities)
        at = np.minimum(at, max(len(known.ids) - 1, 0))
        reaches_end = known.last[at] >= self._last_stop - 1
        more = (identities >= 0) & reaches_end & (rows["frame"] > known.last[at])
        added = rows.with_columns(blink_id=identities).select(more)
        source = known.first_row[at[more]]
        columns = {name: self._open[name][source] for name in _PLACE if name in rows}
        added = added.with_columns(**columns)
        _, first = np.unique(
            np.column_stack((added["blink_id"], added["frame"])), axis=0, return_index=True
        )
        return added.select(np.sort(first))


@dataclass(frozen=True)
class _Blinks:
    """First and last frames of the blinks of a table; ``index`` maps rows to them."""

    ids: NDArray[np.int64]
    index: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    first_row: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Emitters) -> _Blinks:
        ids, first_row, index = np.unique(rows["blink_id"], return_index=True, return_inverse=True)
        first = np.full(len(ids), np.iinfo(np.int64).max)
        last = np.full(len(ids), -1, np.int64)
        np.minimum.at(first, index, rows["frame"])
        np.maximum.at(last, index, rows["frame"])
        return cls(ids, index, first, last, first_row)

    def frames_from(self, rows: Emitters, frame: int) -> NDArray[np.bool_]:
        """Return which blinks have more than half of their rows at or after ``frame``."""
        late = np.bincount(self.index, rows["frame"] >= frame, minlength=len(self.ids))
        return late > 0.5 * np.bincount(self.index, minlength=len(self.ids))


def _joined(tables: list[Emitters | None]) -> Emitters:
    return Emitters.concatenate([table for table in tables if table is not None])
