"""NeNA: the precision from nearest neighbours in consecutive frames (Endesfelder et al., 2014).

A molecule that is seen in two frames in a row appears twice with a distance r of density
``r/(2σ²) exp(-r²/(4σ²))``, where σ is the precision per axis. Other molecules add a term that grows
with r, and structures add a broad hump:
``p(r) = a1 r/(2σ²) exp(-r²/(4σ²)) + a2 exp(-(r - c)²/(2w²)) + a3 r``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.postprocessing import NenaConfig
from hdsmlm.errors import TableError
from hdsmlm.records.emitters import Emitters

_MIN_PAIRS = 200
_RANGE_SIGMAS = 10.0


@dataclass(frozen=True)
class Nena:
    """The precision and the histogram that it is read from.

    Parameters
    ----------
    precision_nm : float
        Standard deviation of a position along one axis, averaged over the localizations of pairs.
    standard_error_nm : float
        From the covariance of the fit.
    n_pairs : int
        Distances within the fitted range.
    distance_nm, density_per_nm, fitted_per_nm : array, shape (bins,)
        Centres of the bins, the histogram and the fit, normalized over the range.
    notes : tuple of str
        What makes the number doubtful.
    """

    precision_nm: float
    standard_error_nm: float
    n_pairs: int
    distance_nm: NDArray[np.float64]
    density_per_nm: NDArray[np.float64]
    fitted_per_nm: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def nearest_neighbour_precision(emitters: Emitters, config: NenaConfig) -> Nena:
    """Fit the distances of nearest neighbours in consecutive frames.

    Parameters
    ----------
    emitters : Emitters
        Localizations that were fitted frame by frame.
    config : NenaConfig
        Range and bins.

    Raises
    ------
    TableError
        With too few pairs, or positions that consecutive frames share (a joint fit).
    """
    from scipy.optimize import curve_fit

    distances = _distances(emitters)
    if len(distances) == 0:
        raise TableError(
            "nena: no localization has a neighbour in the next frame. Use a table that is not "
            "linked or filtered to single frames"
        )
    range_nm = config.max_distance_nm or _range_of(distances)
    near = distances[distances <= range_nm]
    if len(near) < _MIN_PAIRS:
        raise TableError(
            f"nena: {len(near)} localizations have a neighbour in the next frame within "
            f"{range_nm:.4g} nm; at least {_MIN_PAIRS} were wanted. Use a table that is not linked "
            "or filtered to single frames, or a larger --max-distance-nm"
        )
    counts, edges = np.histogram(near, config.bins, (0.0, range_nm))
    centres = 0.5 * (edges[1:] + edges[:-1])
    density = counts / (len(near) * (edges[1] - edges[0]))
    error = np.sqrt(np.maximum(counts, 1.0)) / (len(near) * (edges[1] - edges[0]))
    mode = _mode_of(near)
    start = (0.7, mode / np.sqrt(2), 0.1 / range_nm, 0.7 * range_nm, 0.3 * range_nm, 0.1)
    upper = (2.0, range_nm, 2.0 / range_nm, 2 * range_nm, range_nm, 2.0)
    lower = (0.0, 1e-3 * range_nm, 0.0, 0.2 * range_nm, 0.1 * range_nm, 0.0)

    def model(r: NDArray[np.float64], *parameters: float) -> NDArray[np.float64]:
        return _density(r, range_nm, np.array(parameters))

    start = tuple(np.clip(start, np.array(lower) + 1e-12, np.array(upper) * (1 - 1e-9)))
    try:
        fit, covariance = curve_fit(
            model, centres, density, start, error, bounds=(lower, upper), max_nfev=20_000
        )
    except RuntimeError:
        raise TableError(
            "nena: the distances of neighbours do not follow the model; choose another "
            "--max-distance-nm, a few times the expected precision"
        ) from None
    return Nena(
        precision_nm=float(fit[1]),
        standard_error_nm=float(np.sqrt(covariance[1, 1])),
        n_pairs=len(near),
        distance_nm=centres,
        density_per_nm=density,
        fitted_per_nm=model(centres, *fit),
        notes=_notes(emitters, float(fit[1])),
    )


def _notes(emitters: Emitters, precision_nm: float) -> tuple[str, ...]:
    """Compare the peak of the fit, sqrt(2) σ, with that of unrelated neighbours, 1/sqrt(2π n)."""
    frames = emitters["frame"]
    per_frame = len(frames) / len(np.unique(frames))
    area_nm2 = np.ptp(emitters["x_nm"]) * np.ptp(emitters["y_nm"])
    chance_nm = float(np.sqrt(area_nm2 / (2 * np.pi * per_frame)))
    if np.sqrt(2) * precision_nm < 0.5 * chance_nm:
        return ()
    return (
        f"Unrelated neighbours are {chance_nm:.0f} nm apart at this density, which is about what "
        "was found: hardly any molecule is seen in two frames in a row, or the table is linked. "
        "This is not the precision.",
    )


def _density(
    r: NDArray[np.float64], range_nm: float, parameters: NDArray[np.float64]
) -> NDArray[np.float64]:
    same, sigma, hump, centre, width, other = parameters
    return (
        same * r / (2 * sigma**2) * np.exp(-(r**2) / (4 * sigma**2))
        + hump * np.exp(-((r - centre) ** 2) / (2 * width**2))
        + other * 2 * r / range_nm**2
    )


def _distances(emitters: Emitters) -> NDArray[np.float64]:
    """Return the distance to the nearest localization of the next frame, where there is one."""
    from scipy.spatial import cKDTree

    order = np.argsort(emitters["frame"], kind="stable")
    frame = emitters["frame"][order].astype(np.int64)
    points = np.column_stack([emitters["x_nm"], emitters["y_nm"]])[order]
    present, starts = np.unique(frame, return_index=True)
    ends = np.append(starts[1:], len(frame))
    follows = np.flatnonzero(np.diff(present) == 1)
    found = []
    for k in follows.tolist():
        tree = cKDTree(points[starts[k + 1] : ends[k + 1]])
        found.append(tree.query(points[starts[k] : ends[k]])[0])
    distances = np.concatenate(found) if found else np.empty(0)
    if len(distances) >= _MIN_PAIRS and (distances == 0).mean() > 0.2:
        raise TableError(
            f"nena: {100 * (distances == 0).mean():.0f} % of the localizations have exactly the "
            "same position in the next frame: the frames of a blink were fitted jointly, and their "
            "scatter is gone. Use a table that was fitted frame by frame"
        )
    return distances


def _mode_of(distances: NDArray[np.float64]) -> float:
    """Return the most frequent short distance: the peak of the smoothed histogram."""
    from scipy.ndimage import gaussian_filter1d

    counts, edges = np.histogram(distances, 200)
    peak = int(np.argmax(gaussian_filter1d(counts.astype(float), 3.0, mode="constant")))
    return float(0.5 * (edges[peak] + edges[peak + 1]))


def _range_of(distances: NDArray[np.float64]) -> float:
    """Return a range that holds the first peak and some of what lies beyond it."""
    range_nm = float(np.median(distances)) * 4 + 1e-9
    for _ in range(3):  # each zooms in on the first peak
        range_nm = min(range_nm, _RANGE_SIGMAS * _mode_of(distances[distances <= range_nm]))
    return range_nm
