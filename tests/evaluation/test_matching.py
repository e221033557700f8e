import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdsmlm.errors import TableError
from hdsmlm.evaluation import assignment
from hdsmlm.evaluation.assignment import greedy_pairs, optimal_pairs
from hdsmlm.evaluation.matching import match_knn, match_within
from hdsmlm.records.emitters import Emitters


def table(points, frame=0, **columns):
    points = np.asarray(points, float).reshape(-1, 2)
    frames = np.broadcast_to(frame, len(points))
    return Emitters({"frame": frames, "x_nm": points[:, 0], "y_nm": points[:, 1], **columns})


def brute_force(rows, columns, distances):
    """Best (cardinality, -total distance) over all subsets of edges that are one-to-one."""
    best = (0, 0.0)
    for size in range(1, min(len(set(rows)), len(set(columns))) + 1):
        for edges in itertools.combinations(range(len(rows)), size):
            if len({rows[e] for e in edges}) == size == len({columns[e] for e in edges}):
                best = max(best, (size, -sum(distances[e] for e in edges)))
    return best


@st.composite
def small_graphs(draw):
    n_edges = draw(st.integers(0, 9))
    pairs = draw(
        st.lists(
            st.tuples(st.integers(0, 4), st.integers(0, 4)),
            min_size=n_edges,
            max_size=n_edges,
            unique=True,
        )
    )
    distances = draw(
        st.lists(st.floats(0, 150, allow_nan=False), min_size=n_edges, max_size=n_edges)
    )
    pairs = np.array(pairs, np.intp).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1], np.array(distances, float)


@pytest.mark.parametrize("dense_cells", [0, 40_000], ids=["sparse solver", "dense solver"])
@given(graph=small_graphs())
@settings(max_examples=80, deadline=None)
def test_optimal_pairing_equals_brute_force(dense_cells, graph):
    rows, columns, distances = graph
    original = assignment._DENSE_CELLS
    assignment._DENSE_CELLS = dense_cells
    try:
        chosen = optimal_pairs(rows, columns, distances)
    finally:
        assignment._DENSE_CELLS = original
    size, negative_total = brute_force(rows.tolist(), columns.tolist(), distances.tolist())
    assert len(chosen) == size
    assert len(set(rows[chosen])) == len(set(columns[chosen])) == size
    assert distances[chosen].sum() == pytest.approx(-negative_total, abs=1e-9)


@given(graph=small_graphs())
@settings(max_examples=80, deadline=None)
def test_greedy_pairing_equals_the_plain_loop(graph):
    rows, columns, distances = graph
    used_rows, used_columns, expected = set(), set(), []
    for edge in np.lexsort((columns, rows, distances)):
        if rows[edge] not in used_rows and columns[edge] not in used_columns:
            used_rows.add(rows[edge])
            used_columns.add(columns[edge])
            expected.append(edge)
    assert greedy_pairs(rows, columns, distances).tolist() == sorted(expected)


def test_large_component_agrees_between_the_two_solvers(monkeypatch):
    rng = np.random.default_rng(3)
    truth, predicted = (table(rng.uniform(0, 2000, (n, 2))) for n in (230, 260))
    dense = match_within(truth, predicted, 400.0, pairing="optimal")
    monkeypatch.setattr(assignment, "_DENSE_CELLS", 0)
    sparse = match_within(truth, predicted, 400.0, pairing="optimal")
    assert len(dense) == len(sparse)
    assert dense.distances_nm.sum() == pytest.approx(sparse.distances_nm.sum())


def test_most_matches_come_before_least_distance():
    # the greedy pairing takes the 10 nm edge and strands the other prediction
    truth, predicted = table([[0, 0], [140, 0]]), table([[-140, 0], [10, 0]])
    optimal = match_knn(truth, predicted, 100.0)
    greedy = match_knn(truth, predicted, 100.0, pairing="greedy")
    assert len(optimal) == 2
    assert len(greedy) == 1
    assert (optimal.pairing, greedy.pairing) == ("optimal", "greedy")


def test_a_true_emitter_never_serves_twice():
    matching = match_knn(table([[500, 500]]), table([[500, 500], [501, 500], [499, 500]]), 100.0)
    assert len(matching) == 1
    assert matching.predicted_matched.tolist() == [True, False, False]


def test_only_the_k_nearest_true_emitters_can_be_matched():
    # both predictions are nearest to the first of two true emitters
    truth = table([[100, 100], [120, 100]])
    predicted = table([[101, 100], [102, 100]])
    assert len(match_knn(truth, predicted, 100.0, k=2)) == 2
    assert len(match_knn(truth, predicted, 100.0, k=1)) == 1


@pytest.mark.parametrize(("distance_nm", "expected"), [(150.0, 1), (150.001, 0)])
def test_the_tolerance_itself_is_included(distance_nm, expected):
    truth, predicted = table([[0, 0]]), table([[distance_nm, 0]])
    assert len(match_knn(truth, predicted, 100.0)) == expected
    assert len(match_within(truth, predicted, 150.0)) == expected


def test_other_frames_never_match():
    truth, predicted = table([[300, 300]], frame=4), table([[300, 300]], frame=5)
    assert len(match_knn(truth, predicted, 100.0)) == 0
    assert len(match_within(truth, predicted, 250.0)) == 0


def test_all_frames_at_once_equal_frame_by_frame():
    rng = np.random.default_rng(11)
    frames = np.repeat(np.arange(6), 40)
    truth = table(rng.uniform(0, 3000, (240, 2)), frame=frames)
    predicted = table(rng.uniform(0, 3000, (240, 2)), frame=rng.permutation(frames))
    together = match_knn(truth, predicted, 100.0)
    alone = [
        match_knn(truth.select(truth["frame"] == f), predicted.select(predicted["frame"] == f), 100)
        for f in range(6)
    ]
    assert len(together) == sum(map(len, alone))
    assert together.distances_nm.sum() == pytest.approx(sum(m.distances_nm.sum() for m in alone))
    assert (
        truth["frame"][together.truth_rows] == predicted["frame"][together.predicted_rows]
    ).all()


def test_axial_tolerance_holds_where_both_tables_have_z():
    truth = table([[0, 0], [900, 0]], z_nm=[0.0, 0.0])
    predicted = table([[10, 0], [910, 0]], z_nm=[499.0, 501.0])
    assert match_within(truth, predicted, 250.0, 500.0).truth_matched.tolist() == [True, False]
    without_z = table([[10, 0], [910, 0]])
    assert len(match_within(truth, without_z, 250.0, 500.0)) == 2


def test_empty_tables_match_nothing():
    full, empty = table([[1, 1]]), Emitters.empty()
    for truth, predicted in ((full, empty), (empty, full), (empty, empty)):
        assert len(match_knn(truth, predicted, 100.0)) == 0
        assert len(match_within(truth, predicted, 100.0)) == 0


def test_positions_that_are_not_finite_are_refused():
    with pytest.raises(TableError, match="predicted table holds positions that are not finite"):
        match_knn(table([[1, 1]]), table([[1, 1], [np.nan, 1]]), 100.0)
