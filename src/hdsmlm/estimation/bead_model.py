"""One PSF out of many beads: regularised least squares for the weights of cubic B-splines.

Bead b at (x_b, y_b, z_b) with amplitude A_b and background B_b has in plane k and pixel (j, i)

``d = A_b·sum_nml c_nml·B((z_k - z_b)/h - n)·B(j - y_b - m)·B(i - x_b - l) + B_b``.

The weights c minimize the sum of squares over all beads plus a small penalty on second differences,
so that no bead is interpolated before it is averaged, and beads at different places within their
pixels refine each other. The normal equations are sums of Kronecker products and are solved by
conjugate gradients. Positions and brightness follow by Gauss-Newton; the two steps alternate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from hdsmlm.config.bead_calibration import BeadCalibrationConfig
from hdsmlm.errors import MovieError
from hdsmlm.estimation.bead_alignment import Registration, border_mean

_LATERAL_SMOOTHING = 3e-4
_RIDGE = 1e-6
_TOLERANCE = 1e-4
_ITERATIONS = 200
_FEWEST_CELLS = 4


@dataclass(frozen=True)
class ZGrid:
    """Planes of the table.

    Parameters
    ----------
    first_planes : float
        First plane of the table relative to the focus, in planes of the stack.
    cell_planes : float
        Height of a cell, in planes of the stack.
    cells : int
        Number of cells.
    """

    first_planes: float
    cell_planes: float
    cells: int


@dataclass(frozen=True)
class BeadModel:
    """The PSF as B-splines, and how its beads lie.

    Parameters
    ----------
    weights : array, shape (z cells + 3, n, n)
        For :func:`hdsmlm.imaging.spline.cells_from_bsplines`.
    grid : ZGrid
        Depths of the table.
    beads : Registration
        Position and brightness of each bead.
    misfit : array, shape (bead,)
        Root mean square of what noise does not explain, relative to the bead's signal.
    """

    weights: NDArray[np.float64]
    grid: ZGrid
    beads: Registration
    misfit: NDArray[np.float64]


def bspline(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the centred cubic B-spline."""
    a = np.abs(t)
    inner = 2 / 3 - a * a + a**3 / 2
    return np.where(a < 1, inner, np.clip(2 - a, 0, None) ** 3 / 6)


def bspline_slope(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return its derivative."""
    a = np.abs(t)
    return np.sign(t) * np.where(a < 1, -2 * a + 1.5 * a * a, -(np.clip(2 - a, 0, None) ** 2) / 2)


def choose_grid(beads: Registration, planes: int, config: BeadCalibrationConfig) -> ZGrid:
    """Return the depths that every bead covers, in cells of about ``z_knot_nm``.

    Raises
    ------
    MovieError
        When too few cells remain.
    """
    first = -float(beads.z_planes.min())
    last = planes - 1 - float(beads.z_planes.max())
    height = max(config.z_knot_nm / config.z_step_nm, 1.0)
    cells = int((last - first) / height)
    if cells < _FEWEST_CELLS:
        raise MovieError(
            f"all beads together cover {(last - first) * config.z_step_nm:.0f} nm in z, "
            f"{max(cells, 0)} cells of {height * config.z_step_nm:g} nm; {_FEWEST_CELLS} or more "
            "are wanted. Record more planes, give the right --z-step, or a smaller --z-knot"
        )
    return ZGrid(first, (last - first) / cells, cells)


def fit_model(
    volumes: NDArray[np.float64],
    beads: Registration,
    config: BeadCalibrationConfig,
    rounds: int = 2,
) -> BeadModel:
    """Alternate between the weights and the beads' places.

    Parameters
    ----------
    volumes : array, shape (bead, z, y, x), ADU
        Regions around the beads.
    beads : Registration
        From :func:`hdsmlm.estimation.bead_alignment.register`.
    config : BeadCalibrationConfig
        Cells and smoothing.
    rounds : int
        Number of alternations.
    """
    for _ in range(rounds):
        grid = choose_grid(beads, volumes.shape[1], config)
        weights = solve_weights(volumes, beads, grid, config.smoothing)
        weights, beads = _normalized(weights, beads, grid)
        beads = _refined(volumes, beads, weights, grid)
        beads = beads.moved(*_centre(weights, grid))
    grid = choose_grid(beads, volumes.shape[1], config)
    weights = solve_weights(volumes, beads, grid, config.smoothing)
    weights, beads = _normalized(weights, beads, grid)
    return BeadModel(weights, grid, beads, _misfit(volumes, beads, weights, grid))


def solve_weights(
    volumes: NDArray[np.float64],
    beads: Registration,
    grid: ZGrid,
    smoothing: float,
) -> NDArray[np.float64]:
    """Return the weights for given places, by conjugate gradients."""
    size = volumes.shape[2]
    shape = (grid.cells + 3, size, size)
    bases = [_bases(volumes.shape, beads, b, grid) for b in range(len(beads))]
    strength = beads.amplitude / beads.amplitude.mean()  # as shot noise has it
    right = np.zeros(shape)
    for b, basis in enumerate(bases):
        light = (volumes[b] - beads.background[b]) / beads.amplitude[b]
        right += strength[b] * _project(light, *(m.T for m in basis))
    grams = [tuple(m.T @ m for m in basis) for basis in bases]
    scale = strength.sum() * grid.cell_planes
    along_z = smoothing * scale * _roughness(shape[0])
    lateral = _LATERAL_SMOOTHING * scale * _roughness(size)

    def apply(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        c = flat.reshape(shape)
        total = _RIDGE * scale * c + np.tensordot(along_z, c, axes=(1, 0))
        total += np.einsum("ab,zbx->zax", lateral, c) + c @ lateral
        for weight, gram in zip(strength, grams, strict=True):
            total += weight * _project(c, *gram)
        return total.ravel()

    inverses = _inverse_of_mean_bead(grams, strength, along_z / strength.sum())

    def precondition(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        return (_project(flat.reshape(shape), *inverses) / strength.sum()).ravel()

    n = int(np.prod(shape))
    solution, _ = cg(
        LinearOperator((n, n), matvec=apply, dtype=np.float64),
        right.ravel(),
        rtol=_TOLERANCE,
        maxiter=_ITERATIONS,
        M=LinearOperator((n, n), matvec=precondition, dtype=np.float64),
    )
    return np.asarray(solution).reshape(shape)


def _inverse_of_mean_bead(
    grams: list[tuple[NDArray[np.float64], ...]],
    strength: NDArray[np.float64],
    along_z: NDArray[np.float64],
) -> tuple[NDArray[np.float64], ...]:
    """Return the inverse of each axis' mean matrix: near enough to speed up the solution."""
    inverses: list[NDArray[np.float64]] = []
    for axis in range(3):
        mean = np.average([gram[axis] for gram in grams], axis=0, weights=strength)
        penalty = along_z if axis == 0 else _LATERAL_SMOOTHING * _roughness(len(mean))
        matrix = mean + penalty + 1e-4 * np.eye(len(mean))
        inverses.append(np.asarray(np.linalg.inv(matrix), dtype=np.float64))
    return tuple(inverses)


def render(
    weights: NDArray[np.float64], shape: tuple[int, ...], beads: Registration, b: int, grid: ZGrid
) -> NDArray[np.float64]:
    """Return the model of bead ``b`` in its region, ADU."""
    return beads.background[b] + beads.amplitude[b] * _project(
        weights, *_bases(shape, beads, b, grid)
    )


def covered_planes(planes: int, beads: Registration, b: int, grid: ZGrid) -> NDArray[np.bool_]:
    """Return which planes of bead ``b`` lie within the table."""
    depth = (np.arange(planes) - beads.z_planes[b] - grid.first_planes) / grid.cell_planes
    return (depth >= -1e-9) & (depth <= grid.cells + 1e-9)


def _bases(
    shape: tuple[int, ...],
    beads: Registration,
    b: int,
    grid: ZGrid,
    slope_of: int | None = None,
) -> tuple[NDArray[np.float64], ...]:
    """Return B-splines at the planes, rows and columns of bead ``b``; planes outside have none.

    ``slope_of`` 0, 1, 2 gives the slopes by the bead's z (in planes), y or x.
    """
    planes, size = shape[-3], shape[-1]
    lateral = np.arange(size, dtype=np.float64)
    depth = (np.arange(planes) - beads.z_planes[b] - grid.first_planes) / grid.cell_planes
    arguments = (
        depth[:, None] - np.arange(-1, grid.cells + 2),
        lateral[:, None] - beads.y_px[b] - lateral,
        lateral[:, None] - beads.x_px[b] - lateral,
    )
    scales = (grid.cell_planes, 1.0, 1.0)
    matrices = [
        -bspline_slope(t) / scale if axis == slope_of else bspline(t)
        for axis, (t, scale) in enumerate(zip(arguments, scales, strict=True))
    ]
    matrices[0] = matrices[0] * covered_planes(planes, beads, b, grid)[:, None]
    return tuple(matrices)


def _project(
    c: NDArray[np.float64],
    z: NDArray[np.float64],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Apply one matrix along each axis."""
    return np.matmul(y, np.tensordot(z, c, axes=(1, 0))) @ x.T


def _roughness(n: int) -> NDArray[np.float64]:
    second = np.diff(np.eye(n), 2, axis=0)
    return second.T @ second


def _focus_rows(weights: NDArray[np.float64], grid: ZGrid, z_planes: float) -> NDArray[np.float64]:
    """Return the lateral weights at one depth."""
    depth = (z_planes - grid.first_planes) / grid.cell_planes
    along = bspline(depth - np.arange(-1.0, grid.cells + 2))
    return np.tensordot(along, weights, axes=(0, 0))


def _normalized(
    weights: NDArray[np.float64], beads: Registration, grid: ZGrid
) -> tuple[NDArray[np.float64], Registration]:
    """Give the border of the planes near focus the value 0, and the plane in focus the sum 1."""
    depth = np.linspace(-0.15, 0.15, 5) * grid.cells * grid.cell_planes
    border = float(np.mean([border_mean(_focus_rows(weights, grid, z)) for z in depth]))
    level = weights - border
    total = float(_focus_rows(level, grid, 0.0).sum())
    return level / total, replace(
        beads,
        background=beads.background + beads.amplitude * border,
        amplitude=beads.amplitude * total,
    )


def _centre(weights: NDArray[np.float64], grid: ZGrid) -> tuple[float, float, float]:
    """Return where the PSF's centre lies in the model's coordinates: x, y in px, z in planes.

    In z the middle of the sharp planes: the centroid of ``sum h²`` above half its maximum. In x and
    y the centroid of h² in that plane.
    """
    z = np.linspace(0, grid.cells, 8 * grid.cells + 1)
    along = bspline(z[:, None] - np.arange(-1.0, grid.cells + 2))
    table = np.tensordot(along, weights, axes=(1, 0))
    sharpness = np.square(table).sum(axis=(1, 2))
    excess = np.clip(sharpness - 0.5 * sharpness.max(), 0, None)
    focus = float((excess * z).sum() / excess.sum()) * grid.cell_planes + grid.first_planes
    core = np.square(_focus_rows(weights, grid, focus))
    place = np.arange(core.shape[0]) - core.shape[0] // 2
    x = float((core.sum(axis=0) * place).sum() / core.sum())
    y = float((core.sum(axis=1) * place).sum() / core.sum())
    return x, y, focus


def _refined(
    volumes: NDArray[np.float64],
    beads: Registration,
    weights: NDArray[np.float64],
    grid: ZGrid,
    iterations: int = 2,
) -> Registration:
    """Fit place, amplitude and background of each bead to its whole volume."""
    rows = np.column_stack(
        [beads.x_px, beads.y_px, beads.z_planes, beads.amplitude, beads.background]
    )
    for b in range(len(beads)):
        for _ in range(iterations):
            state = Registration(*rows.T)
            used = covered_planes(volumes.shape[1], state, b, grid)
            shares = [
                _project(weights, *_bases(volumes.shape, state, b, grid, axis))[used].ravel()
                for axis in (2, 1, 0, None)
            ]
            amplitude = rows[b, 3]
            design = np.column_stack(
                [*(amplitude * s for s in shares[:3]), shares[3], np.ones(len(shares[3]))]
            )
            residual = volumes[b][used].ravel() - amplitude * shares[3] - rows[b, 4]
            step = np.linalg.lstsq(design.T @ design, design.T @ residual, rcond=None)[0]
            step[:3] = np.clip(step[:3], (-0.5, -0.5, -5), (0.5, 0.5, 5))
            rows[b] += step
    return Registration(*rows.T)


def _misfit(
    volumes: NDArray[np.float64], beads: Registration, weights: NDArray[np.float64], grid: ZGrid
) -> NDArray[np.float64]:
    """Residual beyond noise, relative to the signal; noise from second differences along z."""
    misfit = np.empty(len(beads))
    for b, volume in enumerate(volumes):
        used = covered_planes(len(volume), beads, b, grid)
        model = render(weights, volumes.shape, beads, b, grid)[used]
        residual = np.square(volume[used] - model).mean()
        noise = np.square(np.diff(volume[used], 2, axis=0)).mean() / 6
        signal = np.square(model - beads.background[b]).mean()
        misfit[b] = np.sqrt(max(residual - noise, 0.0) / signal)
    return misfit
