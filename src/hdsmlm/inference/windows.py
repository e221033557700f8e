"""Cut a movie into time windows and a frame into tiles that overlap by the receptive field.

Each frame belongs to exactly one window and each pixel to exactly one tile. A window or tile is
read with a margin of the receptive field, or up to the end of the movie or the padded frame, where
the network then meets the same border as on the whole movie: so tiled equals untiled and chunked
equals unchunked, to rounding. Tiles begin at multiples of the network's total stride, because
pooling joins other pixels otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Span:
    """An interval that is answered for, inside the one that is read.

    Parameters
    ----------
    keep_start, keep_stop : int
        Answered for.
    read_start, read_stop : int
        Given to the network.
    """

    keep_start: int
    keep_stop: int
    read_start: int
    read_stop: int

    @property
    def inner(self) -> slice:
        """The kept part, counted from the start of what is read."""
        return slice(self.keep_start - self.read_start, self.keep_stop - self.read_start)

    @property
    def outer(self) -> slice:
        """The kept part in the whole."""
        return slice(self.keep_start, self.keep_stop)


def plan_spans(
    start: int, stop: int, length: int, *, size: int, margin: int, multiple: int = 1
) -> list[Span]:
    """Cut ``start..stop`` out of ``0..length`` into spans of about equal size.

    Parameters
    ----------
    start, stop : int
        What must be answered for; multiples of ``multiple``.
    length : int
        What can be read; a multiple of ``multiple``.
    size : int
        Largest kept size (at least ``multiple`` is kept).
    margin : int
        Read before and after, rounded up to ``multiple`` and clipped to what there is.
    multiple : int
        All bounds are multiples of this.

    Returns
    -------
    list of Span
        In order; their kept parts tile ``start..stop``.

    Examples
    --------
    >>> [span.outer for span in plan_spans(0, 10, 10, size=4, margin=1)]
    [slice(0, 4, None), slice(4, 7, None), slice(7, 10, None)]
    """
    units = (stop - start) // multiple
    pieces = max(1, -(-units // max(1, size // multiple)))
    bounds = [start + multiple * -(-units * i // pieces) for i in range(pieces + 1)]
    reach = -(-margin // multiple) * multiple
    return [
        Span(low, high, max(0, low - reach), min(length, high + reach))
        for low, high in pairwise(bounds)
    ]


def plan_windows(start: int, stop: int, n_frames: int, *, size: int, margin: int) -> list[Span]:
    """Cut the frames ``start..stop`` of a movie into windows of ``size`` frames.

    Unlike in :func:`plan_spans` the sizes are not balanced: the size is what was asked for, apart
    from the last window.
    """
    keeps = [(low, min(low + size, stop)) for low in range(start, stop, size)]
    return [
        Span(low, high, max(0, low - margin), min(n_frames, high + margin)) for low, high in keeps
    ]


def padded_size(size: int, *, multiple: int, smallest: int) -> int:
    """Return the least multiple of ``multiple`` that is at least ``size`` and ``smallest``."""
    return -(-max(size, smallest) // multiple) * multiple


def pad_frames(frames: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Pad (t, y, x) at the bottom and the right to ``height`` × ``width`` by mirroring.

    The rim pixel is repeated (NumPy's "symmetric"), so that frames of any size can be padded to any
    size and the padding looks like background and emitters that the network knows.
    """
    add_y, add_x = height - frames.shape[1], width - frames.shape[2]
    if add_y == 0 and add_x == 0:
        return frames
    return np.pad(frames, ((0, 0), (0, add_y), (0, add_x)), mode="symmetric")
