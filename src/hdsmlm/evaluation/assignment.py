"""One-to-one pairing over the edges of a bipartite graph: optimal and greedy.

Edges join row ``i`` to column ``j`` at distance ``d``. Both functions return the positions of the
chosen edges, in ascending order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

_DENSE_CELLS = 40_000  # beyond a matrix of about 200 x 200 the sparse solver is the faster one


def greedy_pairs(
    rows: NDArray[np.intp], columns: NDArray[np.intp], distances: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Pair nearest first: the shortest edge wins, its ends leave, and so on.

    An edge that is the shortest at both its ends is in the greedy solution whatever happens
    elsewhere, so each round takes all such edges at once. Ties fall to the earlier edge.

    Parameters
    ----------
    rows, columns : array of int, shape (n_edges,)
        Ends of the edges.
    distances : array, shape (n_edges,)
        Their lengths.

    Returns
    -------
    array of int
        Positions of the chosen edges.
    """
    order = np.lexsort((columns, rows, distances))
    row, column = rows[order], columns[order]
    left = np.arange(len(order))
    chosen: list[NDArray[np.intp]] = []
    while len(left):
        # left is in order of distance, so the first occurrence of an end is its shortest edge
        first_row = np.zeros(len(left), bool)
        first_row[np.unique(row[left], return_index=True)[1]] = True
        first_column = np.zeros(len(left), bool)
        first_column[np.unique(column[left], return_index=True)[1]] = True
        taken = left[first_row & first_column]
        chosen.append(taken)
        keep = ~np.isin(row[left], row[taken]) & ~np.isin(column[left], column[taken])
        left = left[keep]
    return np.sort(order[np.concatenate(chosen)]) if chosen else np.empty(0, np.intp)


def optimal_pairs(
    rows: NDArray[np.intp], columns: NDArray[np.intp], distances: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Pair as many as possible, and among those solutions take the least total distance.

    The graph falls into connected components that are solved alone. In a component with ``n`` rows
    and ``m`` columns an unmatched pair costs ``M = (min(n, m) + 1)·max(d)``, more than all its
    matches together can, so that the cardinality comes first; the assignment problem is then
    solved exactly (Crouse, IEEE TAES 2016; Jonker & Volgenant, Computing 1987).

    Parameters
    ----------
    rows, columns : array of int, shape (n_edges,)
        Ends of the edges; no edge twice.
    distances : array, shape (n_edges,)
        Their lengths, not negative.

    Returns
    -------
    array of int
        Positions of the chosen edges.
    """
    if not len(rows):
        return np.empty(0, np.intp)
    row_names, row = np.unique(rows, return_inverse=True)
    column_names, column = np.unique(columns, return_inverse=True)
    n_nodes = len(row_names) + len(column_names)
    graph = coo_array(
        (np.ones(len(row), np.int8), (row, column + len(row_names))), shape=(n_nodes, n_nodes)
    )
    n_components, label = connected_components(graph, directed=False)
    component = label[row]
    row_labels, column_labels = label[: len(row_names)], label[len(row_names) :]
    n_rows = np.bincount(row_labels, minlength=n_components)
    n_columns = np.bincount(column_labels, minlength=n_components)
    # numbers 0, 1, ... of rows and columns within their component
    row, column = _rank_within(row_labels)[row], _rank_within(column_labels)[column]

    order = np.lexsort((distances, component))
    starts = np.searchsorted(component[order], np.arange(n_components))
    is_star = (n_rows == 1) | (n_columns == 1)
    chosen = [order[starts[is_star]]]  # one end is shared by all edges: the shortest edge it is
    stops = np.append(starts[1:], len(order))
    for index in np.flatnonzero(~is_star).tolist():
        edges = order[starts[index] : stops[index]]
        shape = (int(n_rows[index]), int(n_columns[index]))
        picked = _solve_component(row[edges], column[edges], distances[edges], shape)
        chosen.append(edges[picked])
    return np.sort(np.concatenate(chosen))


def _rank_within(groups: NDArray[np.integer]) -> NDArray[np.intp]:
    """Number the members of each group 0, 1, ... in their order."""
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], groups[order])
    rank = np.empty(len(groups), np.intp)
    rank[order] = np.arange(len(groups)) - starts
    return rank


def _solve_component(
    row: NDArray[np.intp],
    column: NDArray[np.intp],
    distances: NDArray[np.float64],
    shape: tuple[int, int],
) -> NDArray[np.intp]:
    """Solve one component whose edges come in ascending distance."""
    unmatched = (min(shape) + 1.0) * max(float(distances[-1]), 1e-12)
    if shape[0] * shape[1] > _DENSE_CELLS:
        return _solve_sparse(row, column, distances, unmatched)
    cost = np.full(shape, unmatched)
    edge = np.full(shape, -1, np.intp)
    cost[row, column] = distances
    edge[row, column] = np.arange(len(row))
    picked = edge[linear_sum_assignment(cost)]
    return picked[picked >= 0]


def _solve_sparse(
    row: NDArray[np.intp],
    column: NDArray[np.intp],
    distances: NDArray[np.float64],
    unmatched: float,
) -> NDArray[np.intp]:
    """Give each row a column of its own that means "unmatched", so that a full matching exists."""
    n_rows, n_columns = int(row.max()) + 1, int(column.max()) + 1
    shift = unmatched  # the solver takes a stored zero for a missing edge
    spare = np.arange(n_rows)
    weights = np.concatenate([distances + shift, np.full(n_rows, 2.0 * unmatched)])
    graph = coo_array(
        (
            weights,
            (np.concatenate([row, spare]), np.concatenate([column, n_columns + spare])),
        ),
        shape=(n_rows, n_columns + n_rows),
    ).tocsr()
    matched_rows, matched_columns = min_weight_full_bipartite_matching(graph)
    real = matched_columns < n_columns
    wanted = matched_rows[real].astype(np.int64) * n_columns + matched_columns[real]
    return np.flatnonzero(np.isin(row.astype(np.int64) * n_columns + column, wanted))
