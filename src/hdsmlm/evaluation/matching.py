"""Which prediction is which true emitter: the kNN metric and the SMLM 2016 metric.

All frames are searched in one k-d tree: the frame number becomes a third coordinate whose step is
wider than the tolerance, so that no neighbour is ever found in another frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hdsmlm.errors import TableError
from hdsmlm.evaluation.assignment import greedy_pairs, optimal_pairs
from hdsmlm.records.emitters import Emitters
from hdsmlm.units import NM_PER_UM

Pairing = Literal["optimal", "greedy"]


@dataclass(frozen=True)
class Field:
    """The frames that truth and prediction share.

    Parameters
    ----------
    n_frames, height, width : int
        Shape (t, y, x).
    pixel_size_nm : float
        Side of a pixel in the sample.
    """

    n_frames: int
    height: int
    width: int
    pixel_size_nm: float

    @property
    def height_nm(self) -> float:
        """Extent along y."""
        return self.height * self.pixel_size_nm

    @property
    def width_nm(self) -> float:
        """Extent along x."""
        return self.width * self.pixel_size_nm

    @property
    def area_um2(self) -> float:
        """Area of one frame in µm²."""
        return self.height_nm * self.width_nm / NM_PER_UM**2


@dataclass(frozen=True)
class Matching:
    """A one-to-one pairing of predicted and true emitters.

    Parameters
    ----------
    truth_rows, predicted_rows : array of int, shape (n_matches,)
        Row numbers in the two tables; ``truth_rows[i]`` belongs to ``predicted_rows[i]``.
    distances_nm : array, shape (n_matches,)
        Lateral distance of each pair.
    n_truth, n_predicted : int
        Lengths of the tables.
    metric : str
        How the edges were chosen, in words.
    pairing : {"optimal", "greedy"}
        How one-to-one was reached.
    """

    truth_rows: NDArray[np.intp]
    predicted_rows: NDArray[np.intp]
    distances_nm: NDArray[np.float64]
    n_truth: int
    n_predicted: int
    metric: str
    pairing: Pairing

    def __len__(self) -> int:
        return len(self.truth_rows)

    @property
    def truth_matched(self) -> NDArray[np.bool_]:
        """For each true emitter: was it found? Shape (n_truth,)."""
        found = np.zeros(self.n_truth, bool)
        found[self.truth_rows] = True
        return found

    @property
    def predicted_matched(self) -> NDArray[np.bool_]:
        """For each prediction: does it belong to a true emitter? Shape (n_predicted,)."""
        found = np.zeros(self.n_predicted, bool)
        found[self.predicted_rows] = True
        return found


def match_knn(
    truth: Emitters,
    predicted: Emitters,
    pixel_size_nm: float,
    k: int = 8,
    tolerance_px: float = 1.5,
    pairing: Pairing = "optimal",
) -> Matching:
    """Match by the kNN metric, the headline of this project.

    Per frame, an edge joins a prediction to a true emitter if the true one is among its ``k``
    nearest true emitters AND within ``tolerance_px``. Over these edges the one-to-one assignment
    with the most matches is taken, and among those the one with the least total distance. A true
    emitter never serves twice.

    Parameters
    ----------
    truth, predicted : Emitters
        Both in nm from the corner of the first pixel; only ``frame``, ``x_nm``, ``y_nm`` are used.
    pixel_size_nm : float
        Pixel size in the sample.
    k : int
        Number of nearest true emitters that a prediction may choose from.
    tolerance_px : float
        Largest lateral distance, included.
    pairing : {"optimal", "greedy"}
        The definition asks for "optimal".

    Returns
    -------
    Matching

    Examples
    --------
    >>> truth = Emitters({"frame": [0, 0], "x_nm": [100.0, 180.0], "y_nm": [50.0, 50.0]})
    >>> predicted = Emitters({"frame": [0, 0], "x_nm": [90.0, 120.0], "y_nm": [50.0, 50.0]})
    >>> match_knn(truth, predicted, pixel_size_nm=100.0).distances_nm.tolist()
    [10.0, 60.0]
    """
    tolerance_nm = tolerance_px * pixel_size_nm
    metric = f"kNN, k = {k}, {tolerance_px:g} px = {tolerance_nm:g} nm"
    if not len(truth) or not len(predicted):
        return _no_match(truth, predicted, metric, pairing)
    tree = cKDTree(_points(truth, tolerance_nm, "truth"))
    distances, neighbours = tree.query(
        _points(predicted, tolerance_nm, "predicted"),
        k=list(range(1, min(k, len(truth)) + 1)),
        distance_upper_bound=np.nextafter(tolerance_nm, np.inf),
    )
    near = np.isfinite(distances)  # a missing neighbour is infinitely far
    edges = (np.asarray(neighbours)[near], np.nonzero(near)[0], np.asarray(distances)[near])
    return _pair(truth, predicted, edges, metric, pairing)


def match_within(
    truth: Emitters,
    predicted: Emitters,
    tolerance_nm: float,
    axial_tolerance_nm: float | None = None,
    pairing: Pairing = "greedy",
) -> Matching:
    """Match everything within a lateral tolerance, and an axial one where both tables have z.

    Parameters
    ----------
    truth, predicted : Emitters
        Tables in nm.
    tolerance_nm : float
        Largest lateral distance, included.
    axial_tolerance_nm : float, optional
        Largest axial distance, included; None, or a table without ``z_nm``, ignores z. Pairs are
        ranked by their lateral distance in 2D and by their distance in space in 3D.
    pairing : {"greedy", "optimal"}
        Nearest first, or most matches then least total distance.
    """
    in_3d = axial_tolerance_nm is not None and "z_nm" in truth and "z_nm" in predicted
    metric = f"within {tolerance_nm:g} nm" + (
        f" lateral and {axial_tolerance_nm:g} nm axial" if in_3d else " lateral"
    )
    if not len(truth) or not len(predicted):
        return _no_match(truth, predicted, metric, pairing)
    found = cKDTree(_points(truth, tolerance_nm, "truth")).sparse_distance_matrix(
        cKDTree(_points(predicted, tolerance_nm, "predicted")),
        np.nextafter(tolerance_nm, np.inf),
        output_type="ndarray",
    )
    truth_rows = found["i"].astype(np.intp)
    predicted_rows = found["j"].astype(np.intp)
    lateral_nm = found["v"].astype(np.float64)
    if not in_3d or axial_tolerance_nm is None:
        return _pair(truth, predicted, (truth_rows, predicted_rows, lateral_nm), metric, pairing)
    axial_nm = np.abs(truth["z_nm"][truth_rows] - predicted["z_nm"][predicted_rows])
    near = axial_nm <= axial_tolerance_nm
    edges = (truth_rows[near], predicted_rows[near], np.hypot(lateral_nm, axial_nm)[near])
    return _pair(truth, predicted, edges, metric, pairing)


def inside_border(table: Emitters, field: Field, border_nm: float) -> NDArray[np.bool_]:
    """Return which rows lie at least ``border_nm`` inside the field; shape (n,)."""
    x_nm, y_nm = table["x_nm"], table["y_nm"]
    return np.asarray(
        (x_nm >= border_nm)
        & (x_nm <= field.width_nm - border_nm)
        & (y_nm >= border_nm)
        & (y_nm <= field.height_nm - border_nm)
    )


def _points(table: Emitters, tolerance_nm: float, name: str) -> NDArray[np.float64]:
    """Return (n, 3) points: x, y and the frame, whose step is four tolerances."""
    points = np.column_stack([table["x_nm"], table["y_nm"], 4.0 * tolerance_nm * table["frame"]])
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise TableError(
            f"the {name} table holds positions that are not finite (first in row {row}); "
            "remove these rows before scoring"
        )
    return points


def _pair(
    truth: Emitters,
    predicted: Emitters,
    edges: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]],
    metric: str,
    pairing: Pairing,
) -> Matching:
    truth_rows, predicted_rows, lengths = edges
    solve = optimal_pairs if pairing == "optimal" else greedy_pairs
    chosen = solve(truth_rows, predicted_rows, lengths)
    truth_rows, predicted_rows = truth_rows[chosen], predicted_rows[chosen]
    order = np.argsort(truth_rows)
    truth_rows, predicted_rows = truth_rows[order], predicted_rows[order]
    lateral_nm = np.hypot(
        truth["x_nm"][truth_rows] - predicted["x_nm"][predicted_rows],
        truth["y_nm"][truth_rows] - predicted["y_nm"][predicted_rows],
    )
    return Matching(
        truth_rows, predicted_rows, lateral_nm, len(truth), len(predicted), metric, pairing
    )


def _no_match(truth: Emitters, predicted: Emitters, metric: str, pairing: Pairing) -> Matching:
    nothing = np.empty(0, np.intp)
    return Matching(nothing, nothing, np.empty(0), len(truth), len(predicted), metric, pairing)
