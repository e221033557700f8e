"""How well emitters are counted: confusion of the count classes, bias and error of the count.

Everything is summed up chunk by chunk, so that a long count map needs little memory. Pixels that
an unreliable emitter (SNR < 2) touches are left out, and so is each window that holds such a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.evaluation.matching import Field
from hdsmlm.labels.counts import Labels, count_labels
from hdsmlm.records.count_map import N_CLASSES
from hdsmlm.records.emitters import Emitters

_MAX_WINDOW_COUNT = 24


@dataclass(frozen=True)
class Error:
    """Error of a count over many places.

    Parameters
    ----------
    n : int
        Number of places.
    mean_truth : float
        Mean true count.
    bias, mae : float
        Mean of (counted - true) and of its absolute value; NaN where n is 0.
    """

    n: int
    mean_truth: float
    bias: float
    mae: float


@dataclass(frozen=True)
class CountScores:
    """Scores of the count.

    Parameters
    ----------
    pixel_confusion, window_confusion : array of int, shape (4, 4)
        Rows are the true class 0, 1, 2, 3+, columns the predicted one.
    window : Error
        Expected count per window against the true count.
    frame : Error
        Count per frame over its reliable pixels.
    frame_all : Error
        Count per frame over all pixels against all true emitters, unreliable ones included.
    window_px : int
        Side of the windows.
    mean_by_truth, n_by_truth : array, shape (25,)
        Mean predicted count of the windows that truly hold 0, 1, ..., 24 or more emitters, and
        how many there are.
    """

    pixel_confusion: NDArray[np.int64]
    window_confusion: NDArray[np.int64]
    window: Error
    frame: Error
    frame_all: Error
    window_px: int
    mean_by_truth: NDArray[np.float64]
    n_by_truth: NDArray[np.int64]


def class_precision(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return for each class the share of its predictions that are right; shape (4,)."""
    return _share(np.diag(confusion), confusion.sum(axis=0))


def class_recall(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return for each class the share of its true places that are found; shape (4,)."""
    return _share(np.diag(confusion), confusion.sum(axis=1))


class CountTally:
    """Sums that :class:`CountScores` is made of.

    Parameters
    ----------
    window_px : int
        Side of the square windows; they tile the frame, an incomplete rim is left out.
    """

    def __init__(self, window_px: int = 5) -> None:
        self._window_px = window_px
        self._pixels = np.zeros((N_CLASSES, N_CLASSES), np.int64)
        self._windows = np.zeros((N_CLASSES, N_CLASSES), np.int64)
        self._errors = {name: np.zeros(4) for name in ("window", "frame", "frame_all")}
        self._n_by_truth = np.zeros(_MAX_WINDOW_COUNT + 1, np.int64)
        self._sum_by_truth = np.zeros(_MAX_WINDOW_COUNT + 1)

    def update(
        self,
        expected: NDArray[np.floating] | NDArray[np.integer],
        classes: NDArray[np.integer],
        labels: Labels,
        n_true: NDArray[np.integer],
    ) -> None:
        """Add consecutive frames.

        Parameters
        ----------
        expected : array, shape (t, y, x)
            Predicted (expected) number of emitters in each pixel.
        classes : array of int, shape (t, y, x)
            Predicted class 0..3 of each pixel.
        labels : Labels
            True classes and weights of the same frames.
        n_true : array of int, shape (t,)
            True emitters in the frame, of every tier.
        """
        reliable = labels.weights > 0
        self._pixels += _confusion(labels.classes[reliable], classes[reliable])
        true_frames = labels.classes.sum(axis=(1, 2), dtype=np.int64)
        self._add_error("frame", np.where(reliable, expected, 0).sum(axis=(1, 2)), true_frames)
        self._add_error("frame_all", expected.sum(axis=(1, 2), dtype=np.float64), n_true)

        whole = window_sums(reliable, self._window_px) == self._window_px**2
        true_windows = window_sums(labels.classes, self._window_px)[whole].astype(np.int64)
        windows = window_sums(expected, self._window_px)[whole]
        self._add_error("window", windows, true_windows)
        last = N_CLASSES - 1
        self._windows += _confusion(
            np.minimum(true_windows, last),
            np.minimum(np.floor(windows + 0.5).astype(np.int64), last),
        )
        held = np.minimum(true_windows, _MAX_WINDOW_COUNT)
        self._n_by_truth += np.bincount(held, minlength=_MAX_WINDOW_COUNT + 1)
        self._sum_by_truth += np.bincount(held, windows, minlength=_MAX_WINDOW_COUNT + 1)

    def result(self) -> CountScores:
        """Return the scores of all frames so far."""
        return CountScores(
            pixel_confusion=self._pixels.copy(),
            window_confusion=self._windows.copy(),
            window=self._error("window"),
            frame=self._error("frame"),
            frame_all=self._error("frame_all"),
            window_px=self._window_px,
            mean_by_truth=_share(self._sum_by_truth, self._n_by_truth),
            n_by_truth=self._n_by_truth.copy(),
        )

    def _add_error(
        self, name: str, counted: NDArray[np.floating], true: NDArray[np.integer]
    ) -> None:
        error = counted.astype(np.float64) - true
        self._errors[name] += (error.size, true.sum(), error.sum(), np.abs(error).sum())

    def _error(self, name: str) -> Error:
        n, *sums = self._errors[name]
        means = [float(total / n) if n else float("nan") for total in sums]
        return Error(int(n), *means)


def window_sums(values: NDArray[np.generic], window_px: int) -> NDArray[np.float64]:
    """Sum (t, y, x) over non-overlapping square windows.

    Returns
    -------
    array of float64, shape (t, y // window_px, x // window_px)
    """
    n_frames, height, width = values.shape
    rows, columns = height // window_px, width // window_px
    cut = values[:, : rows * window_px, : columns * window_px]
    blocks = cut.reshape(n_frames, rows, window_px, columns, window_px)
    return blocks.sum(axis=(2, 4), dtype=np.float64)


def frame_labels(truth: Emitters, start: int, stop: int, field: Field) -> Labels:
    """Return the labels of frames ``start`` to ``stop - 1``."""
    rows = (truth["frame"] >= start) & (truth["frame"] < stop)
    part = truth.select(rows)
    part = part.with_columns(frame=part["frame"] - start)
    return count_labels(part, (stop - start, field.height, field.width), field.pixel_size_nm)


def table_counts(predicted: Emitters, start: int, stop: int, field: Field) -> NDArray[np.int32]:
    """Return how many rows of a table lie in each pixel; shape (stop - start, y, x)."""
    shape = (stop - start, field.height, field.width)
    counts = np.zeros(shape, np.int32)
    frame = predicted["frame"] - start
    row = np.floor(predicted["y_nm"] / field.pixel_size_nm).astype(np.int64)
    column = np.floor(predicted["x_nm"] / field.pixel_size_nm).astype(np.int64)
    inside = (frame >= 0) & (frame < shape[0]) & (row >= 0) & (row < field.height)
    inside &= (column >= 0) & (column < field.width)
    np.add.at(counts, (frame[inside], row[inside], column[inside]), 1)
    return counts


def _confusion(true: NDArray[np.integer], predicted: NDArray[np.integer]) -> NDArray[np.int64]:
    pairs = true.astype(np.int64) * N_CLASSES + predicted
    return np.bincount(pairs.ravel(), minlength=N_CLASSES**2).reshape(N_CLASSES, N_CLASSES)


def _share(part: NDArray[np.generic], whole: NDArray[np.generic]) -> NDArray[np.float64]:
    nothing = np.full(part.shape, np.nan)
    return np.divide(part, whole, out=nothing, where=np.asarray(whole) > 0)
