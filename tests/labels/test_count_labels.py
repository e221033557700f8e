"""Count labels and SNR curation."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hdsmlm.labels.counts import count_labels
from hdsmlm.records.emitters import Emitters

PIXEL_NM = 100.0
PLACES = st.one_of(
    st.floats(-2, 10).map(lambda place: round(place, 6)),
    st.sampled_from([0.0, 1.5, 1.75, 2.0, 7.5, 8.0]),
)
"""Positions in pixels, some of them shared by several emitters, some on borders."""


def _table(x_px, y_px, snr, frame=None):
    return Emitters(
        {
            "frame": np.zeros(len(x_px)) if frame is None else frame,
            "x_nm": np.asarray(x_px, float) * PIXEL_NM,
            "y_nm": np.asarray(y_px, float) * PIXEL_NM,
            "snr": snr,
        }
    )


def test_counts_are_clipped_at_three():
    truth = _table([2.5] * 5 + [4.1], [2.5] * 5 + [1.9], [9.0] * 6)
    labels = count_labels(truth, (1, 6, 6), PIXEL_NM)
    assert labels.classes[0, 2, 2] == 3
    assert labels.classes[0, 1, 4] == 1
    assert labels.classes.sum() == 4


def test_position_on_a_pixel_border_belongs_to_the_pixel_that_starts_there():
    labels = count_labels(_table([3.0], [2.0], [9.0]), (1, 6, 6), PIXEL_NM)
    assert labels.classes[0, 2, 3] == 1


def test_doubtful_emitter_is_neither_positive_nor_negative():
    labels = count_labels(_table([2.5], [2.5], [1.99]), (1, 6, 6), PIXEL_NM)
    assert labels.classes.sum() == 0
    ignored = np.argwhere(labels.weights[0] == 0)
    assert len(ignored) == 9
    assert ignored.min() == 1
    assert ignored.max() == 3


def test_pixel_of_a_reliable_emitter_is_never_ignored():
    labels = count_labels(_table([2.5, 3.5], [2.5, 2.5], [1.0, 2.0]), (1, 6, 6), PIXEL_NM)
    assert labels.weights[0, 2, 3] == 1
    assert labels.classes[0, 2, 3] == 1
    assert labels.weights.sum() == 36 - 8


def test_without_snr_every_emitter_counts():
    truth = Emitters({"frame": [1], "x_nm": [50.0], "y_nm": [50.0]})
    labels = count_labels(truth, (2, 3, 3), PIXEL_NM)
    assert labels.classes[1, 0, 0] == 1
    assert (labels.weights == 1).all()


@given(
    st.lists(
        st.tuples(PLACES, PLACES, st.floats(0, 6), st.integers(-1, 3)),
        max_size=40,
    )
)
def test_labels_hold_every_reliable_emitter_inside_once(rows):
    x, y, snr, frame = (
        (np.array(column, dtype=float) for column in zip(*rows, strict=True)) if rows else ([],) * 4
    )
    truth = _table(x, y, snr, frame)
    labels = count_labels(truth, (3, 8, 8), PIXEL_NM)
    reliable = truth.select(truth["snr"] >= 2)
    edges = (np.arange(4) - 0.5, np.arange(9) * PIXEL_NM, np.arange(9) * PIXEL_NM)
    # a histogram counts its last edge in, a pixel does not: that belongs to the next one
    points = np.column_stack([reliable[name] for name in ("frame", "y_nm", "x_nm")])
    points = points[(points[:, 1:] < 8 * PIXEL_NM).all(axis=1)]
    counts, _ = np.histogramdd(points, edges)
    np.testing.assert_array_equal(labels.classes, np.minimum(counts, 3))
    assert (labels.weights[labels.classes > 0] == 1).all()


def test_everything_around_a_doubtful_spot_is_ignored():
    """A reliable emitter there as well: keeping it alone would teach too many."""
    spot = _table([3.5], [3.5], [9.0])
    truth = _table([4.5, 6.5], [3.5, 3.5], [9.0, 9.0])
    labels = count_labels(truth, (1, 9, 9), PIXEL_NM, spot)
    ignored = labels.weights[0] == 0
    assert ignored.sum() == 25
    assert ignored[1:6, 1:6].all()
    assert labels.weights[0, 3, 6] == 1
    assert labels.classes[0, 3, 6] == 1


def test_doubtful_spot_beyond_the_rim_reaches_in():
    spot = _table([-0.5, 30.0], [4.5, 4.5], [9.0, 9.0])
    labels = count_labels(Emitters.empty(), (1, 9, 9), PIXEL_NM, spot)
    np.testing.assert_array_equal(labels.weights[0, 2:7, :2], 0)
    assert labels.weights.sum() == 81 - 10


@given(st.lists(st.tuples(PLACES, PLACES), max_size=6), st.lists(st.tuples(PLACES, PLACES)))
def test_doubt_takes_weight_and_never_gives_it(truth, spots):
    table = _table([x for x, _ in truth], [y for _, y in truth], [5.0] * len(truth))
    doubtful = _table([x for x, _ in spots], [y for _, y in spots], [5.0] * len(spots))
    sure = count_labels(table, (1, 8, 8), PIXEL_NM)
    labels = count_labels(table, (1, 8, 8), PIXEL_NM, doubtful)
    np.testing.assert_array_equal(labels.classes, sure.classes)
    assert (labels.weights <= sure.weights).all()
