"""Maximum likelihood of K emitters and one background in one region of pixels.

With ``m_k = scale·(b + f_k + sum_i N_i·h_k(x_i, y_i, s_i)) + offset_k`` (f: light of neighbours
that are held fixed) the Poisson log-likelihood ``L = sum_k d_k·log m_k - m_k`` has

``dL/da = sum_k (d_k/m_k - 1)·dm_k/da``,  ``I_ab = sum_k (dm_k/da)·(dm_k/db) / m_k``.

Levenberg-Marquardt steps solve ``(I + lambda·diag I)·step = dL/da`` (Fisher scoring; Laurence &
Chromy, Nat. Methods 7, 338 (2010) use the data's curvature instead of its expectation). Parameters
are kept in a box; one that presses against its bound is held there for the step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit
from hdsmlm.fitting.psf_kernels import FASTMATH, PHOTONS, SHAPE, X, Y, fill_patch

FIXED_SHAPE, FREE_SHAPE, COMMON_SHAPE = 0, 1, 2
"""The shapes are constants, free for each emitter (z), or one free number for all (width)."""

LEAST_MEAN = 1e-3
"""Floor of the expected datum, where negative read noise would let the model reach zero."""
TOLERANCE = 1e-4
"""A step that promises less gain of log-likelihood (0.014 standard errors) is the last."""
_RIDGE = 1e-9


class Region(NamedTuple):
    """The pixels of one fit, flattened; all arrays have the shape (ny·nx,).

    Parameters
    ----------
    data, offset : array
        Of :class:`hdsmlm.fitting.likelihood.PoissonData`.
    valid : array
        1 for pixels that count, 0 for the others.
    fixed : array
        Photons of neighbours that are held fixed.
    scale : float
        Mean datum per photon.
    x0, y0, ny, nx : int
        Place and size in the frame.
    """

    data: NDArray[np.float64]
    offset: NDArray[np.float64]
    valid: NDArray[np.float64]
    fixed: NDArray[np.float64]
    scale: float
    x0: int
    y0: int
    ny: int
    nx: int


class Work(NamedTuple):
    """Scratch of :func:`fit_region` for up to K emitters and P pixels.

    Parameters
    ----------
    jacobian : array, shape (4·K + 2, P)
        d(photons)/d(parameter); row 4i + c is parameter c of emitter i, then background and common
        shape.
    mean : array, shape (P,)
        Expected data m.
    weight, product : array, shape (P,)
        Scratch.
    spans : array, shape (K, 2)
        First and last pixel of each emitter's rows.
    rows : array, shape (4·K + 2,)
        The rows of the free parameters.
    information, factor : array, shape (4·K + 2, 4·K + 2)
        Fisher matrix and its factor.
    gradient, step : array, shape (4·K + 2,)
        dL/da and the step.
    profiles : array, shape (2, 3, P)
        Scratch of the PSF.
    """

    jacobian: NDArray[np.float64]
    mean: NDArray[np.float64]
    weight: NDArray[np.float64]
    product: NDArray[np.float64]
    spans: NDArray[np.int64]
    rows: NDArray[np.int64]
    information: NDArray[np.float64]
    factor: NDArray[np.float64]
    gradient: NDArray[np.float64]
    step: NDArray[np.float64]
    profiles: NDArray[np.float64]


class Solution(NamedTuple):
    """Outcome of :func:`fit_region`; the estimate itself is left in ``theta``."""

    log_likelihood: float
    n_free: int
    converged: bool


@njit(nogil=True, cache=True)
def allocate(count, region):  # type: ignore[no-untyped-def]
    """Return a :class:`Work` for up to ``count`` emitters in ``region``."""
    n, pixels = 4 * count + 2, region.ny * region.nx
    return Work(
        np.empty((n, pixels)),
        np.empty(pixels),
        np.empty(pixels),
        np.empty(pixels),
        np.empty((count, 2), np.int64),
        np.empty(n, np.int64),
        np.empty((n, n)),
        np.empty((n, n)),
        np.empty(n),
        np.empty(n),
        np.empty((2, 3, max(region.nx, region.ny))),
    )


@njit(nogil=True, cache=True)
def free_rows(count, shape_mode, rows):  # type: ignore[no-untyped-def]
    """Write the rows of the free parameters into ``rows``; return how many there are."""
    n = 0
    for i in range(count):
        last = SHAPE if shape_mode == FREE_SHAPE else Y
        for c in range(last + 1):
            rows[n] = 4 * i + c
            n += 1
    rows[n] = 4 * count
    n += 1
    if shape_mode == COMMON_SHAPE:
        rows[n] = 4 * count + 1
        n += 1
    return n


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def evaluate(region, kernel, theta, count, shape_mode, work):  # type: ignore[no-untyped-def]
    """Fill ``work.jacobian``, ``work.mean`` and ``work.spans``; return the log-likelihood.

    ``theta`` has the shape (4·count + 2,): photons, x, y, shape of each emitter, background, common
    shape.
    """
    ny, nx, jacobian, mean = region.ny, region.nx, work.jacobian, work.mean
    pixels = ny * nx
    last = 4 * count
    background = theta[last]
    for k in range(pixels):
        mean[k] = background + region.fixed[k]
        jacobian[last, k] = 1.0
    for i in range(count):
        place = theta[4 * i : 4 * i + 4]
        if shape_mode == COMMON_SHAPE:
            place[SHAPE] = theta[last + 1]
        patch = jacobian[4 * i : 4 * i + 4].reshape((4, ny, nx))
        top, bottom = fill_patch(kernel, place, region.x0, region.y0, work.profiles, patch)
        begin, end = top * nx, bottom * nx
        work.spans[i, 0], work.spans[i, 1] = begin, end
        photons = place[PHOTONS]
        share, by_x = jacobian[4 * i + PHOTONS], jacobian[4 * i + X]
        by_y, by_shape = jacobian[4 * i + Y], jacobian[4 * i + SHAPE]
        for k in range(begin, end):
            mean[k] += photons * share[k]
            by_x[k] *= photons
            by_y[k] *= photons
            by_shape[k] *= photons
    if shape_mode == COMMON_SHAPE:
        jacobian[last + 1] = 0.0
        for i in range(count):
            for k in range(work.spans[i, 0], work.spans[i, 1]):
                jacobian[last + 1, k] += jacobian[4 * i + SHAPE, k]
    total = 0.0
    for k in range(pixels):
        mean[k] = max(region.scale * mean[k] + region.offset[k], LEAST_MEAN)
        total += region.valid[k] * (region.data[k] * math.log(mean[k]) - mean[k])
    return total


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def score(region, count, n_free, work):  # type: ignore[no-untyped-def]
    """Fill ``work.gradient`` and the lower triangle of ``work.information``."""
    pixels = region.ny * region.nx
    jacobian, rows = work.jacobian, work.rows
    residual = work.weight
    for k in range(pixels):
        residual[k] = region.valid[k] * region.scale * (region.data[k] / work.mean[k] - 1.0)
    for a in range(n_free):
        row = rows[a]
        begin, end = 0, pixels
        if row < 4 * count:
            begin, end = work.spans[row // 4, 0], work.spans[row // 4, 1]
        total = 0.0
        for k in range(begin, end):
            total += residual[k] * jacobian[row, k]
        work.gradient[a] = total
    weight = work.weight
    for k in range(pixels):
        weight[k] = region.valid[k] * region.scale * region.scale / work.mean[k]
    for a in range(n_free):
        row = rows[a]
        begin, end = 0, pixels
        if row < 4 * count:
            begin, end = work.spans[row // 4, 0], work.spans[row // 4, 1]
        source = jacobian[row]
        product = work.product
        for k in range(begin, end):
            product[k] = weight[k] * source[k]
        for b in range(a + 1):
            other = rows[b]
            first, stop = begin, end
            if other < 4 * count:
                first = max(first, work.spans[other // 4, 0])
                stop = min(stop, work.spans[other // 4, 1])
            target = jacobian[other]
            total = 0.0
            for k in range(first, stop):
                total += product[k] * target[k]
            work.information[a, b] = total


@njit(nogil=True, cache=True)
def cholesky(matrix, n, damping, held, factor):  # type: ignore[no-untyped-def]
    """Factor ``matrix + damping·diag`` (lower triangle); held parameters become unit rows.

    Returns the least pivot relative to its diagonal: 1 - R², with R the multiple correlation of a
    parameter with those before it.
    """
    least = 1.0
    for a in range(n):
        for b in range(a + 1):
            total = matrix[a, b]
            if a == b:
                total *= 1.0 + damping
                total += _RIDGE * matrix[a, a] + 1e-30
            if held[a] or held[b]:
                total = 1.0 if a == b else 0.0
            whole = total
            for c in range(b):
                total -= factor[a, c] * factor[b, c]
            if a == b:
                ratio = total / whole
                least = min(least, ratio)
                factor[a, a] = math.sqrt(max(total, _RIDGE * whole))
            else:
                factor[a, b] = total / factor[b, b]
    return least


@njit(nogil=True, cache=True)
def solve(factor, n, vector, out):  # type: ignore[no-untyped-def]
    """Solve ``factor·factorᵀ·out = vector``."""
    for a in range(n):
        total = vector[a]
        for b in range(a):
            total -= factor[a, b] * out[b]
        out[a] = total / factor[a, a]
    for a in range(n - 1, -1, -1):
        total = out[a]
        for b in range(a + 1, n):
            total -= factor[b, a] * out[b]
        out[a] = total / factor[a, a]


@njit(nogil=True, cache=True)
def _largest_step(row, count, value, low, high):  # type: ignore[no-untyped-def]
    """Return the largest change of one parameter in one step."""
    if row >= 4 * count:
        return 0.2 * (high - low) if row > 4 * count else max(value, 5.0)
    kind = row % 4
    if kind == PHOTONS:
        return max(0.8 * value, 50.0)
    if kind == SHAPE:
        return 0.15 * (high - low)
    return 0.7


@njit(nogil=True, cache=True)
def _bounded_step(theta, low, high, count, n_free, work, trial):  # type: ignore[no-untyped-def]
    """Shorten the step's components to their limits; return the gain of log-likelihood promised."""
    trial[:] = theta
    gain = 0.0
    for a in range(n_free):
        row = work.rows[a]
        limit = _largest_step(row, count, theta[row], low[row], high[row])
        change = min(max(work.step[a], -limit), limit)
        trial[row] = min(max(theta[row] + change, low[row]), high[row])
        gain += 0.5 * abs(work.gradient[a] * (trial[row] - theta[row]))
    return gain


@njit(nogil=True, cache=True)
def fit_region(region, kernel, theta, box, shape_mode, iterations, work):  # type: ignore[no-untyped-def]
    """Maximize the likelihood from ``theta``, which is changed in place.

    Parameters
    ----------
    region : Region
        The data.
    kernel : PsfKernel
        The point-spread function.
    theta : array, shape (4·count + 2,)
        Start; the estimate on return.
    box : array, shape (2, 4·count + 2)
        Least and largest values.
    shape_mode : int
        FIXED_SHAPE, FREE_SHAPE or COMMON_SHAPE.
    iterations : int
        Largest number of steps.
    work : Work
        Scratch; its ``information`` and ``mean`` belong to the estimate on return.

    Returns
    -------
    Solution
    """
    count = (len(theta) - 2) // 4
    n = free_rows(count, shape_mode, work.rows)
    low, high = box[0], box[1]
    trial = theta.copy()
    held = np.zeros(n, np.bool_)
    best = evaluate(region, kernel, theta, count, shape_mode, work)
    score(region, count, n, work)
    damping, converged, stale = 0.0, False, False
    for _ in range(iterations):
        for a in range(n):
            row, slope = work.rows[a], work.gradient[a]
            held[a] = (slope < 0 and theta[row] <= low[row]) or (
                slope > 0 and theta[row] >= high[row]
            )
            if held[a]:
                work.gradient[a] = 0.0
        cholesky(work.information, n, damping, held, work.factor)
        solve(work.factor, n, work.gradient, work.step)
        gain = _bounded_step(theta, low, high, count, n, work, trial)
        value = evaluate(region, kernel, trial, count, shape_mode, work)
        if value >= best:
            best, stale = value, False
            theta[:] = trial
            damping = damping * 0.1 if damping > 1e-4 else 0.0
            if gain < TOLERANCE:
                converged = True
                break
            score(region, count, n, work)
        else:
            stale = True
            if gain < TOLERANCE:
                converged = True
                break
            damping = max(10.0 * damping, 1e-2)
            if damping > 1e8:
                break
    if stale:
        best = evaluate(region, kernel, theta, count, shape_mode, work)
    score(region, count, n, work)
    return Solution(best, n, converged)
