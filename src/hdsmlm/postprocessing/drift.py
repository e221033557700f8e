"""Drift of the sample from the localizations themselves.

Redundant cross-correlation (RCC; Wang et al., Opt. Express 2014): the movie is cut into time
segments, the displacement of every pair of segments is the peak of their images' cross-correlation,
and the drift of the segments is the least-squares solution of all pairs; pairs that contradict the
solution are dropped. Between the segments' mean times the drift is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.postprocessing import DriftConfig
from hdsmlm.errors import TableError
from hdsmlm.postprocessing.correlation import Points, cross_correlations, peak_lag
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Event, Listener, silent

MIN_PER_SEGMENT = 100
"""Localizations below which a segment's image tells nothing."""
_AUTO_PER_SEGMENT = 1000
_MAX_AUTO_SEGMENTS = 12
_Z_LATERAL_NM = 40.0
_Z_POINTS = 20_000
_SMOOTH_NM = 25.0


@dataclass(frozen=True)
class Drift:
    """Displacement of the sample in every frame, against the first one.

    Parameters
    ----------
    x_nm, y_nm : array, shape (n_frames,)
        Drift in frame 0, 1, ...; subtract it from the positions.
    z_nm : array, shape (n_frames,), or None
        Axial drift, where the table has ``z_nm``.
    residual_nm : float
        Root mean square contradiction between the measured displacements, nm per axis (RCC); NaN
        where the method gives none.
    n_dropped, n_pairs : int
        Measured displacements that were dropped, and all of them.
    """

    x_nm: NDArray[np.float64]
    y_nm: NDArray[np.float64]
    z_nm: NDArray[np.float64] | None
    residual_nm: float = float("nan")
    n_dropped: int = 0
    n_pairs: int = 0

    def apply(self, emitters: Emitters) -> Emitters:
        """Return the table with the drift subtracted; frames past the end take the last value.

        Rows of one blink that share their place, as a joint fit gives them, keep sharing it: they
        take the mean drift of their frames.
        """
        frame = np.clip(emitters["frame"], 0, len(self.x_nm) - 1)
        columns = {}
        for name, drift in (("x_nm", self.x_nm), ("y_nm", self.y_nm), ("z_nm", self.z_nm)):
            if drift is not None and name in emitters:
                columns[name] = emitters[name] - _shared(emitters, name, drift[frame])
        return emitters.with_columns(**columns)


def _shared(emitters: Emitters, name: str, drift_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the drift of each row, averaged over the blinks whose rows share their place."""
    if "blink_id" not in emitters or len(emitters) == 0:
        return drift_nm
    _, first, index, counts = np.unique(
        emitters["blink_id"], return_index=True, return_inverse=True, return_counts=True
    )
    moved = emitters[name] != emitters[name][first][index]
    joint = np.bincount(index, moved, len(counts)) == 0
    mean = np.bincount(index, drift_nm, len(counts)) / counts
    return np.where(joint[index], mean[index], drift_nm)


@dataclass(frozen=True)
class _Solution:
    """Drift of the segments along some axes, and how well the pairs agree."""

    shift_nm: NDArray[np.float64]
    residual_nm: float
    n_dropped: int
    n_pairs: int


def estimate_drift(emitters: Emitters, config: DriftConfig, listener: Listener = silent) -> Drift:
    """Estimate the drift by redundant cross-correlation.

    Parameters
    ----------
    emitters : Emitters
        Localizations of a structure that does not move by itself.
    config : DriftConfig
        Segments, pixel, largest drift.
    listener : Listener
        Hears each pass.

    Returns
    -------
    Drift
        Zero up to the first frame that has localizations.

    Raises
    ------
    TableError
        With too few localizations or frames, or where the segments share no structure.
    """
    n_segments = segment_count(emitters, config)
    segment, times = _segments(emitters, n_segments)
    axes = ["x_nm", "y_nm", *(["z_nm"] if "z_nm" in emitters else [])]
    total = np.zeros((int(emitters["frame"].max()) + 1, len(axes)))
    moved = emitters
    for step in range(config.passes):
        lateral = _lateral(moved, segment, n_segments, config)
        drift = _between(times, lateral.shift_nm, len(total))
        total[:, :2] += drift
        moved = moved.with_columns(
            x_nm=moved["x_nm"] - drift[moved["frame"], 0],
            y_nm=moved["y_nm"] - drift[moved["frame"], 1],
        )
        if len(axes) == 3:
            axial = _axial(moved, segment, n_segments, config)
            drift = _between(times, axial.shift_nm, len(total))
            total[:, 2:] += drift
            moved = moved.with_columns(z_nm=moved["z_nm"] - drift[moved["frame"], 0])
        what = f"pairs agree within {lateral.residual_nm:.2g} nm"
        listener(Event("drift", step + 1, config.passes, what, "passes"))
    total = from_first_frame(total, int(emitters["frame"].min()))
    return Drift(
        x_nm=total[:, 0],
        y_nm=total[:, 1],
        z_nm=total[:, 2] if len(axes) == 3 else None,
        residual_nm=lateral.residual_nm,
        n_dropped=lateral.n_dropped,
        n_pairs=lateral.n_pairs,
    )


def from_first_frame(drift_nm: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    """Return the drift against frame ``first``, shape (frames, axes); 0 before it."""
    drift_nm = drift_nm - drift_nm[first]
    drift_nm[:first] = 0.0
    return drift_nm


def segment_count(emitters: Emitters, config: DriftConfig) -> int:
    """Return the number of time segments, or raise when the table is too small for them."""
    n_rows, n_frames = len(emitters), len(np.unique(emitters["frame"]))
    n_segments = config.segments
    if n_segments is None:
        n_segments = min(n_rows // _AUTO_PER_SEGMENT, _MAX_AUTO_SEGMENTS, n_frames)
        n_segments = max(n_segments, 3)
    if n_rows < n_segments * MIN_PER_SEGMENT or n_frames < n_segments:
        raise TableError(
            f"drift: {n_rows} localizations in {n_frames} frames are too few for {n_segments} "
            f"time segments; at least {MIN_PER_SEGMENT} localizations and one frame in each of at "
            "least 3 segments were wanted. Use fewer segments, a longer movie or a milder filter"
        )
    return n_segments


def _segments(emitters: Emitters, n_segments: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the segment of each row and the mean frame of each segment.

    Segments hold equally many localizations, cut between frames.
    """
    frames = np.sort(emitters["frame"])
    cuts = frames[np.arange(1, n_segments) * len(frames) // n_segments]
    segment = np.searchsorted(cuts, emitters["frame"], side="right")
    counts = np.bincount(segment, minlength=n_segments)
    if counts.min() < MIN_PER_SEGMENT:
        raise TableError(
            f"drift: with {n_segments} time segments one of them holds only {counts.min()} "
            f"localizations; {MIN_PER_SEGMENT} were wanted. Use fewer segments"
        )
    return segment, np.bincount(segment, weights=emitters["frame"]) / counts


def _lateral(
    emitters: Emitters, segment: NDArray[np.int64], n_segments: int, config: DriftConfig
) -> _Solution:
    pixel = config.pixel_size_nm
    points = Points(emitters["x_nm"] / pixel, emitters["y_nm"] / pixel, segment, n_segments)
    maps = cross_correlations(points, int(np.ceil(config.max_drift_nm / pixel)) + 2)
    smooth = max(1.0, _SMOOTH_NM / pixel)
    peaks = [peak_lag(image, smooth) for image in maps]
    shifts = np.array([(p[1], p[0]) if p else (np.nan, np.nan) for p in peaks]) * pixel
    return solve_pairs(shifts, n_segments, config.max_residual_nm)


def _axial(
    emitters: Emitters, segment: NDArray[np.int64], n_segments: int, config: DriftConfig
) -> _Solution:
    """Find the peaks of the axial differences of points that are laterally near."""
    from scipy.spatial import cKDTree

    lag = int(np.ceil(config.max_drift_nm / config.pixel_size_nm)) + 2
    edges = (np.arange(2 * lag + 2) - lag - 0.5) * config.pixel_size_nm
    trees, heights = [], []
    for index in range(n_segments):
        rows = np.flatnonzero(segment == index)
        rows = rows[:: max(1, len(rows) // _Z_POINTS)]
        trees.append(cKDTree(np.column_stack([emitters["x_nm"][rows], emitters["y_nm"][rows]])))
        heights.append(emitters["z_nm"][rows])
    # A map that falls off along a second axis lets the same peak search serve one axis.
    falloff = np.exp(-0.5 * (np.arange(-lag, lag + 1) / 2.0) ** 2)
    shifts = []
    for first, second in combinations(range(n_segments), 2):
        near = trees[first].sparse_distance_matrix(
            trees[second], _Z_LATERAL_NM, output_type="coo_matrix"
        )
        steps = heights[second][near.col] - heights[first][near.row]
        profile = np.histogram(steps, edges)[0].astype(float)
        peak = peak_lag(np.outer(profile, falloff), max(1.0, _SMOOTH_NM / config.pixel_size_nm))
        shifts.append([peak[0] * config.pixel_size_nm if peak else np.nan])
    return solve_pairs(np.array(shifts), n_segments, 2 * config.max_residual_nm)


def solve_pairs(
    shifts_nm: NDArray[np.float64], n_segments: int, max_residual_nm: float
) -> _Solution:
    """Return the drift of the segments that fits the displacements of all pairs best.

    Least squares of ``r_ij = d_j - d_i`` with ``d_0 = 0``; while a pair's residual exceeds the
    limit, the worst one is dropped, as long as the rest still determines every segment.

    Parameters
    ----------
    shifts_nm : array, shape (n_pairs, d)
        Displacements of the pairs (0, 1), (0, 2), ...; NaN where none was found.
    n_segments : int
        Number of segments.
    max_residual_nm : float
        Limit.

    Raises
    ------
    TableError
        When too few pairs are left, or fewer than half of them agree.
    """
    pairs = np.array(list(combinations(range(n_segments), 2)))
    design = np.zeros((len(pairs), n_segments))
    design[np.arange(len(pairs)), pairs[:, 1]] = 1.0
    design[np.arange(len(pairs)), pairs[:, 0]] = -1.0
    design = design[:, 1:]
    use = np.logical_and.reduce(np.isfinite(shifts_nm), axis=1)
    while True:
        if np.linalg.matrix_rank(design[use]) < n_segments - 1:
            raise TableError(
                f"drift: only {use.sum()} of {len(pairs)} pairs of time segments show the same "
                "displaced structure, which does not connect all segments. Use fewer segments, a "
                "larger --max-drift-nm, or a table with more localizations"
            )
        solution = np.linalg.lstsq(design[use], shifts_nm[use], rcond=None)[0]
        residuals = np.where(use[:, None], shifts_nm - design @ solution, 0.0)
        size = np.sqrt((residuals**2).sum(1))
        if size.max() <= max_residual_nm:
            break
        without = use.copy()
        without[int(np.argmax(size))] = False
        use = without
    agree = int(use.sum())
    if agree < min(n_segments, len(pairs)) or 2 * agree < len(pairs):
        raise TableError(
            f"drift: {len(pairs) - agree} of {len(pairs)} pairs of time segments contradict the "
            "others, so that the rest proves nothing: the segments do not show the same structure. "
            "Use fewer segments, more localizations, or leave the drift uncorrected"
        )
    rms = float(np.sqrt((residuals[use] ** 2).mean()))
    drift = np.vstack([np.zeros(shifts_nm.shape[1]), solution])
    return _Solution(drift, rms, int((~use).sum()), len(pairs))


def _between(
    times: NDArray[np.float64], shift_nm: NDArray[np.float64], n_frames: int
) -> NDArray[np.float64]:
    """Interpolate (Akima, which does not overshoot) and go on straight beyond the outer times."""
    from scipy.interpolate import Akima1DInterpolator

    frames = np.arange(n_frames, dtype=float)
    curve = Akima1DInterpolator(times, shift_nm)(np.clip(frames, times[0], times[-1]))
    for end, inner in ((0, 1), (-1, -2)):
        slope = (shift_nm[end] - shift_nm[inner]) / (times[end] - times[inner])
        beyond = frames < times[0] if end == 0 else frames > times[-1]
        curve[beyond] += (frames[beyond] - times[end])[:, None] * slope
    return curve
