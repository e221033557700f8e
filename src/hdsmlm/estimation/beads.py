"""Find beads in stacks of planes and cut them out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

from hdsmlm.config.bead_calibration import BeadCalibrationConfig
from hdsmlm.errors import MovieError

FEWEST_PLANES = 9
"""Fewer planes say too little of how the PSF changes with depth."""
_CORE_PX, _SURROUNDINGS_PX = 1.5, 5.0
_NOISE_FACTOR = 8.0
_FAINT_NEIGHBOUR = 0.1


@dataclass(frozen=True)
class BeadPlace:
    """A candidate in a stack.

    Parameters
    ----------
    stack, row, column : int
        Number of the stack, and its brightest pixel.
    contrast : float
        Largest difference between core and surroundings over all planes, ADU.
    rejected : str
        Why it is not used; empty for a bead that is.
    """

    stack: int
    row: int
    column: int
    contrast: float
    rejected: str = ""


@dataclass(frozen=True)
class BeadVolumes:
    """Regions around the beads.

    Parameters
    ----------
    places : tuple of BeadPlace
        One per bead.
    adu : array, shape (bead, z, y, x)
        Grey values; y and x are 2·radius + 1 wide with the brightest pixel in the middle.
    """

    places: tuple[BeadPlace, ...]
    adu: NDArray[np.float64]


def contrast_projection(stack: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the largest contrast of each pixel over the planes: core minus surroundings."""
    best = np.full(stack.shape[1:], -np.inf)
    for plane in stack:
        smooth = plane.astype(np.float64)
        core = gaussian_filter(smooth, _CORE_PX)
        np.maximum(best, core - gaussian_filter(smooth, _SURROUNDINGS_PX), out=best)
    return best


def find_beads(
    stack: NDArray[np.generic], config: BeadCalibrationConfig, number: int = 0
) -> list[BeadPlace]:
    """Find beads in one stack; those that cannot be used say why.

    Parameters
    ----------
    stack : array, shape (z, y, x)
        Grey values.
    config : BeadCalibrationConfig
        Size of the region, threshold.
    number : int
        Number of the stack, kept with its beads.

    Raises
    ------
    MovieError
        When the stack has NaN, or too few planes.
    """
    _check(stack)
    contrast = contrast_projection(stack)
    middle = np.median(contrast)
    noise = 1.4826 * np.median(np.abs(contrast - middle))
    peaks = (contrast == maximum_filter(contrast, 5)) & (
        contrast > middle + _NOISE_FACTOR * max(noise, 1e-9)
    )
    rows, columns = np.nonzero(peaks)
    values = contrast[rows, columns]
    if not len(values):
        return []
    bright = values > config.threshold * np.quantile(values, 0.9)
    order = np.argsort(-values[bright])
    found = list(
        zip(rows[bright][order], columns[bright][order], values[bright][order], strict=True)
    )
    kept: list[tuple[int, int, float]] = []
    for row, column, value in found:
        halo = any(
            np.hypot(row - r, column - c) < config.radius_px and value < _FAINT_NEIGHBOUR * v
            for r, c, v in kept
        )
        if not halo:
            kept.append((int(row), int(column), float(value)))
    whole = stack.dtype.kind in "ui"
    saturated = float(np.iinfo(stack.dtype.name).max) if whole else np.inf
    return [
        BeadPlace(number, r, c, v, _fault(stack, (r, c), kept, config.radius_px, saturated))
        for r, c, v in kept
    ]


def _check(stack: NDArray[np.generic]) -> None:
    if stack.ndim != 3 or len(stack) < FEWEST_PLANES:
        raise MovieError(
            f"a bead stack needs {FEWEST_PLANES} planes or more at different depths, got "
            f"shape {stack.shape}; record the beads while the stage moves through focus"
        )
    if stack.dtype.kind == "f" and not np.isfinite(stack).all():
        raise MovieError(
            f"the bead stack holds {int((~np.isfinite(stack)).sum())} values that are NaN or "
            "infinite; export it again as whole grey values"
        )


def _fault(
    stack: NDArray[np.generic],
    place: tuple[int, int],
    others: list[tuple[int, int, float]],
    radius: int,
    saturated: float,
) -> str:
    row, column = place
    height, width = stack.shape[1:]
    if min(row, column, height - 1 - row, width - 1 - column) < radius:
        return "too close to the border"
    for r, c, _ in others:
        if (r, c) != place and np.hypot(row - r, column - c) < 1.5 * radius:
            return "another bead is too close"
    region = stack[:, row - radius : row + radius + 1, column - radius : column + radius + 1]
    return "saturated" if np.max(region) >= saturated else ""


def cut_beads(
    stacks: list[NDArray[np.generic]], places: list[BeadPlace], radius: int
) -> BeadVolumes:
    """Cut the regions of the beads that are not rejected.

    Raises
    ------
    MovieError
        When no bead is left, or the stacks differ in their number of planes.
    """
    planes = {len(stack) for stack in stacks}
    if len(planes) > 1:
        raise MovieError(
            f"the bead stacks have {', '.join(map(str, sorted(planes)))} planes; stacks with the "
            "same number of planes and the same z step are wanted"
        )
    usable = tuple(place for place in places if not place.rejected)
    if not usable:
        reasons = sorted({place.rejected for place in places})
        found = f"{len(places)} were found, but: {'; '.join(reasons)}" if places else "none found"
        raise MovieError(
            f"no usable beads in the stack ({found}). Single bright beads that stand "
            f"{3 * radius // 2} px apart are wanted; try a smaller --radius, a lower --threshold, "
            "or look at the stack"
        )
    regions = [
        stacks[p.stack][
            :, p.row - radius : p.row + radius + 1, p.column - radius : p.column + radius + 1
        ].astype(np.float64)
        for p in usable
    ]
    return BeadVolumes(usable, np.stack(regions))
