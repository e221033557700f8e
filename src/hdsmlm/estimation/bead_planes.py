"""Fit single planes of a bead with a spline PSF, to see whether the fitted z follows the stage.

Fisher scoring with Levenberg-Marquardt damping on the Poisson likelihood of x, y, z, photons and
background (Smith et al., Nat. Methods 7, 373 (2010)), started at several depths. The likelihood
does not know the gain, which changes the uncertainty but not the place of the maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit
from hdsmlm.imaging.spline import SplinePsf
from hdsmlm.imaging.spline_kernel import spline_patch

_PARAMETERS = 5
_ITERATIONS = 40
_STARTS = 7


@dataclass(frozen=True)
class PlaneFits:
    """Fitted place and brightness, arrays of shape (plane,).

    Parameters
    ----------
    x_px, y_px : array
        From the outer corner of the region.
    z_nm : array
        Depth; 0 in focus.
    signal, background : array
        Sum over the plane in focus, and per pixel, in the unit of the data.
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    z_nm: NDArray[np.float64]
    signal: NDArray[np.float64]
    background: NDArray[np.float64]


def fit_planes(
    psf: SplinePsf, planes: NDArray[np.float64], background: float, starts: int = _STARTS
) -> PlaneFits:
    """Fit each plane on its own, with nothing known of its depth.

    Parameters
    ----------
    psf : SplinePsf
        The model.
    planes : array, shape (n, y, x)
        One bead near the middle of each.
    background : float
        Start of the background.
    starts : int
        Depths from which the fit is tried; the most likely end is kept.
    """
    cells = len(psf.coefficients)
    depths = (np.arange(starts) + 0.5) * (cells / starts)
    result = _fit_planes(psf.coefficients, planes, background, depths)
    z_nm = psf.z_min_nm + psf.z_step_nm * result[:, 2]
    return PlaneFits(result[:, 0], result[:, 1], z_nm, result[:, 3], result[:, 4])


@njit(nogil=True, cache=True)
def _fit_planes(
    coefficients: NDArray[np.float32],
    planes: NDArray[np.float64],
    background: float,
    depths: NDArray[np.float64],
) -> NDArray[np.float64]:
    n, height, width = planes.shape
    best = np.empty((n, _PARAMETERS))
    parts = np.empty((4, height, width))
    for i in range(n):
        likeliest = np.inf
        signal = max(planes[i].sum() - background * height * width, 1.0)
        for depth in depths:
            theta = np.array([width / 2, height / 2, depth, signal, background])
            loss = _climb(coefficients, planes[i], theta, parts)
            if loss < likeliest:
                likeliest = loss
                best[i] = theta
    return best


@njit(nogil=True, cache=True)
def _climb(
    coefficients: NDArray[np.float32],
    data: NDArray[np.float64],
    theta: NDArray[np.float64],
    parts: NDArray[np.float64],
) -> float:
    """Improve ``theta`` in place; return the negative log-likelihood."""
    damping = 1e-2
    information = np.empty((_PARAMETERS, _PARAMETERS))
    score = np.empty(_PARAMETERS)
    loss = _evaluate(coefficients, data, theta, parts, information, score)
    for _ in range(_ITERATIONS):
        damped = information.copy()
        for p in range(_PARAMETERS):
            damped[p, p] += damping * information[p, p] + 1e-12
        trial = theta + np.linalg.solve(damped, score)
        trial[0] = min(max(trial[0], theta[0] - 1), theta[0] + 1)
        trial[1] = min(max(trial[1], theta[1] - 1), theta[1] + 1)
        trial[2] = min(max(trial[2], 0.0), float(coefficients.shape[0]))
        trial[3] = max(trial[3], 1e-3)
        trial[4] = max(trial[4], 1e-3)
        new_information, new_score = np.empty_like(information), np.empty_like(score)
        new = _evaluate(coefficients, data, trial, parts, new_information, new_score)
        if new > loss:
            damping *= 10
            if damping > 1e8:
                break
            continue
        gain = loss - new
        theta[:] = trial
        loss, information, score = new, new_information, new_score
        damping = max(damping / 10, 1e-7)
        if gain < 1e-7 * abs(loss) / data.size:
            break
    return loss


@njit(nogil=True, cache=True)
def _evaluate(
    coefficients: NDArray[np.float32],
    data: NDArray[np.float64],
    theta: NDArray[np.float64],
    parts: NDArray[np.float64],
    information: NDArray[np.float64],
    score: NDArray[np.float64],
) -> float:
    height, width = data.shape
    spline_patch(
        coefficients, theta[0], theta[1], theta[2], 0, 0, width, height,
        parts[0], parts[1], parts[2], parts[3],
    )  # fmt: skip
    information[:] = 0
    score[:] = 0
    slope = np.empty(_PARAMETERS)
    loss = 0.0
    for row in range(height):
        for column in range(width):
            expected = theta[3] * parts[0, row, column] + theta[4]
            for p in range(3):
                slope[p] = theta[3] * parts[p + 1, row, column]
            slope[3] = parts[0, row, column]
            slope[4] = 1.0
            mu = max(expected, 1e-3)
            value = max(data[row, column], 0.0)
            loss += mu - value * math.log(mu)
            for p in range(_PARAMETERS):
                score[p] += slope[p] * (value - mu) / mu
                for q in range(p + 1):
                    information[p, q] += slope[p] * slope[q] / mu
                    information[q, p] = information[p, q]
    return loss
