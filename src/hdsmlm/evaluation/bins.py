"""Scores by local density and recall by signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hdsmlm.evaluation.matching import Field, Matching
from hdsmlm.evaluation.scores import DetectionScore
from hdsmlm.records.emitters import Emitters
from hdsmlm.units import NM_PER_UM

_DISC_POINTS = 128


@dataclass(frozen=True)
class BinScore:
    """A score of the emitters whose density or SNR lies in ``[low, high)``.

    Parameters
    ----------
    low, high : float
        Edges; ``high`` is infinite in the last bin.
    score : DetectionScore
        Counts in this bin.
    chance_f1 : float
        F1 of a random placement in the same bin; NaN where it has no meaning.
    """

    low: float
    high: float
    score: DetectionScore
    chance_f1: float = float("nan")

    @property
    def label(self) -> str:
        """The interval in words."""
        return f"≥ {self.low:g}" if np.isinf(self.high) else f"{self.low:g}–{self.high:g}"


def local_density_per_um2(
    positions: Emitters, truth: Emitters, field: Field, radius_nm: float, are_truth: bool
) -> NDArray[np.float64]:
    """Return the density of true emitters around each position, in its frame.

    Counted in a disc of ``radius_nm``, divided by the area of the disc inside the field. The
    emitter itself is left out where ``positions`` are the true emitters, so that the expectation
    is the density of the process in either case (Palm distribution of a Poisson process).

    Parameters
    ----------
    positions : Emitters
        Where to ask.
    truth : Emitters
        All true emitters.
    field : Field
        Extent of a frame.
    radius_nm : float
        Radius of the disc.
    are_truth : bool
        Whether ``positions`` are rows of ``truth``.

    Returns
    -------
    array, shape (n,)
        Emitters per µm² and frame.
    """
    if not len(positions) or not len(truth):
        return np.zeros(len(positions))
    step = 4.0 * radius_nm
    tree = cKDTree(np.column_stack([truth["x_nm"], truth["y_nm"], step * truth["frame"]]))
    points = np.column_stack([positions["x_nm"], positions["y_nm"], step * positions["frame"]])
    counts = np.asarray(tree.query_ball_point(points, radius_nm, return_length=True), float)
    inside = _disc_fraction_inside(points[:, 0], points[:, 1], field, radius_nm)
    area_um2 = np.pi * (radius_nm / NM_PER_UM) ** 2 * inside
    return (counts - float(are_truth)) / area_um2


def score_by_density(
    matching: Matching,
    truth_density: NDArray[np.float64],
    predicted_density: NDArray[np.float64],
    edges: Sequence[float],
    wanted: NDArray[np.bool_],
) -> tuple[BinScore, ...]:
    """Return a score for each bin of local density.

    A true emitter, found or missed, belongs to the bin of its own density; a false prediction to
    the bin of the density where it lies.

    Parameters
    ----------
    matching : Matching
        Made with all true emitters.
    truth_density, predicted_density : array, shapes (n_truth,) and (n_predicted,)
        From :func:`local_density_per_um2`.
    edges : sequence of float
        Ascending; the last bin is open.
    wanted : array of bool, shape (n_truth,)
        The tier that is scored.
    """
    truth_bin = _bins(truth_density, edges)
    false_bin = _bins(predicted_density[~matching.predicted_matched], edges)
    return _binned(matching, truth_bin, false_bin, edges, wanted)


def recall_by_snr(
    matching: Matching, truth: Emitters, edges: Sequence[float]
) -> tuple[BinScore, ...]:
    """Return the recall for each bin of the true emitters' SNR; a false prediction has no SNR."""
    if "snr" not in truth:
        return ()
    everything = np.ones(matching.n_truth, bool)
    nothing = np.empty(0, np.intp)
    return _binned(matching, _bins(truth["snr"], edges), nothing, edges, everything)


def _binned(
    matching: Matching,
    truth_bin: NDArray[np.intp],
    false_bin: NDArray[np.intp],
    edges: Sequence[float],
    wanted: NDArray[np.bool_],
) -> tuple[BinScore, ...]:
    found = matching.truth_matched
    distance_nm = np.zeros(matching.n_truth)
    distance_nm[matching.truth_rows] = matching.distances_nm
    scores = []
    for index, low in enumerate(edges):
        here = (truth_bin == index) & wanted
        matched = here & found
        tp = int(matched.sum())
        score = DetectionScore(
            tp=tp,
            fp=int((false_bin == index).sum()),
            fn=int(here.sum()) - tp,
            rmse_nm=float(np.sqrt(np.mean(distance_nm[matched] ** 2))) if tp else float("nan"),
        )
        high = edges[index + 1] if index + 1 < len(edges) else float("inf")
        scores.append(BinScore(low, high, score))
    return tuple(scores)


def _bins(values: NDArray[np.float64], edges: Sequence[float]) -> NDArray[np.intp]:
    return np.searchsorted(np.asarray(edges), values, side="right") - 1


def _disc_fraction_inside(
    x_nm: NDArray[np.float64], y_nm: NDArray[np.float64], field: Field, radius_nm: float
) -> NDArray[np.float64]:
    """Return the share of a disc that lies in the field, from an even (sunflower) set of points."""
    index = np.arange(_DISC_POINTS) + 0.5
    radii = radius_nm * np.sqrt(index / _DISC_POINTS)
    angles = index * np.pi * (3.0 - np.sqrt(5.0))
    inside = np.zeros(len(x_nm))
    for dx, dy in zip(radii * np.cos(angles), radii * np.sin(angles), strict=True):
        inside += (
            (x_nm + dx >= 0)
            & (x_nm + dx <= field.width_nm)
            & (y_nm + dy >= 0)
            & (y_nm + dy <= field.height_nm)
        )
    return np.maximum(inside, 1.0) / _DISC_POINTS
