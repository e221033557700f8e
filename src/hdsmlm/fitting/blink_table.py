"""From fitted blinks to rows: one per blink and frame, with standard errors and flags.

The posterior of a row decides whether it is a localization; the others, with what the fit itself
refused, are the alternatives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

from hdsmlm.fitting.blink_quality import (
    AMBIGUOUS_ODDS,
    DEGENERATE_INFLATION,
    existence,
    standard_errors,
)
from hdsmlm.fitting.psf_kernels import FittablePsf, X, Y
from hdsmlm.fitting.result import LEAST_WEIGHT
from hdsmlm.fitting.spacetime import WindowFit
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.flags import Flag

RESCUE_SIGMAS = 2.0
"""Rows nearer than this many PSF widths can take over each other's light."""

CROWD_SIGMAS = 2.0
"""Width over which it is told how crowded a place is, in PSF widths."""

NEIGHBOUR_SIGMAS = 5.0
"""Blinks nearer than this many PSF widths are unknown together."""


def blink_rows(
    fit: WindowFit,
    psf: FittablePsf,
    pixel_size_nm: float,
    min_probability: float,
    saturated: NDArray[np.bool_] | None = None,
    crowding: float = 0.0,
) -> Emitters:
    """Return the localizations of a window.

    Parameters
    ----------
    fit : WindowFit
        The fitted blinks.
    psf : FittablePsf
        The point-spread function that they were fitted with.
    pixel_size_nm : float
        Side of a pixel.
    min_probability : float
        Rows below this probability of existence are left out, and then blinks without rows.
    saturated : array of bool, shape (t, y, x), optional
        Pixels at the camera's largest grey value.
    crowding : float
        Allowance for wrong choices of blinks in the standard errors of places, see
        :func:`_with_wrong_choices`.

    Returns
    -------
    Emitters
        Frames count from the window's start; ``blink_id`` numbers the blinks of the window. Blinks
        whose place lies outside the frame are left out: they only explain light that reaches in.
    """
    rows = _all_rows(fit, psf, pixel_size_nm, saturated, crowding)
    return rows.select(_chosen(rows, psf, pixel_size_nm, min_probability))


def refused_rows(
    fit: WindowFit,
    psf: FittablePsf,
    pixel_size_nm: float,
    min_probability: float,
    saturated: NDArray[np.bool_] | None = None,
    crowding: float = 0.0,
) -> Emitters:
    """Return what may be there too but was not thought so: the alternatives to the localizations.

    These are the rows that :func:`blink_rows` leaves out, frames before and after a blink in which
    it may have been on, and faint blinks that were not worth their parameters. ``probability`` is
    that of existence beside all the localizations, at least
    :data:`~hdsmlm.fitting.result.LEAST_WEIGHT`. That a localization is *not* there has the
    weight that its own probability lacks to 1.

    Parameters
    ----------
    fit : WindowFit
        Fitted with ``keep_alternatives``.
    psf, pixel_size_nm, min_probability, saturated, crowding
        As for :func:`blink_rows`.

    Returns
    -------
    Emitters
        The columns of :func:`blink_rows` without ``blink_id``.

    Raises
    ------
    ValueError
        If the fit keeps no alternatives.
    """
    if fit.looser is None:
        raise ValueError("the window was fitted without keep_alternatives")
    rows = _all_rows(fit, psf, pixel_size_nm, saturated, crowding)
    left_out = rows.select(~_chosen(rows, psf, pixel_size_nm, min_probability))
    more = _all_rows(fit.looser, psf, pixel_size_nm, saturated, crowding)
    in_fit = np.isin(_keys(more, fit), _keys(rows, fit))
    found = Emitters.concatenate([left_out, more.select(~in_fit)])
    found = found.select(found["probability"] >= LEAST_WEIGHT)
    return Emitters({name: found[name] for name in found.names if name != "blink_id"})


def _keys(rows: Emitters, fit: WindowFit) -> NDArray[np.int64]:
    return rows["blink_id"].astype(np.int64) * len(fit.background) + rows["frame"]


def _all_rows(
    fit: WindowFit,
    psf: FittablePsf,
    pixel_size_nm: float,
    saturated: NDArray[np.bool_] | None,
    crowding: float,
) -> Emitters:
    """Return every blink in every frame in which it gives light inside the field."""
    window, blinks = fit.window, fit.blinks
    n_frames, height, width = window.model.shape
    n = len(blinks.alive)
    order = np.argsort(blinks.place[:, Y], kind="stable")
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    place_error, photon_error = np.zeros((n, 3)), np.zeros((n, n_frames))
    inflation, volume = np.ones(n), np.zeros(n)
    standard_errors(
        window, blinks, order, rank, NEIGHBOUR_SIGMAS * psf.sigma_px,
        place_error, photon_error, inflation, volume,
    )  # fmt: skip
    log_odds, ratio = np.full((n, n_frames), -np.inf), np.zeros((n, n_frames))
    existence(window, blinks, fit.odds, photon_error, volume, log_odds, ratio)
    probability = 1 / (1 + np.exp(-np.clip(log_odds, -40, 40)))
    inside = (
        (blinks.place[:, X] >= 0) & (blinks.place[:, X] < width)
        & (blinks.place[:, Y] >= 0) & (blinks.place[:, Y] < height)
    )  # fmt: skip
    j, t = np.nonzero((blinks.photons > 0) & inside[:, None])
    row = np.clip(blinks.place[:, Y].astype(int), 0, height - 1)
    column = np.clip(blinks.place[:, X].astype(int), 0, width - 1)
    place_error = _with_wrong_choices(
        place_error, (row, column), (j, probability[j, t] / n_frames), (height, width),
        psf.sigma_px, crowding,
    )  # fmt: skip
    columns = {
        "frame": t,
        "x_nm": blinks.place[j, X] * pixel_size_nm,
        "y_nm": blinks.place[j, Y] * pixel_size_nm,
        "photons": blinks.photons[j, t],
        "background": fit.background[t, row[j], column[j]],
        "blink_id": j,
        "probability": probability[j, t],
        "uncertainty_x_nm": place_error[j, 0] * pixel_size_nm,
        "uncertainty_y_nm": place_error[j, 1] * pixel_size_nm,
        "uncertainty_photons": photon_error[j, t],
        "uncertainty_background": fit.background_error[t, row[j], column[j]],
        "log_likelihood_ratio": ratio[j, t],
        "flags": _Flags(fit, psf, saturated).of(j, t, inflation, log_odds),
    }
    if psf.is_3d:
        columns |= {"z_nm": blinks.place[j, 3], "uncertainty_z_nm": place_error[j, 2]}
    else:
        columns["sigma_nm"] = np.full(len(j), psf.sigma_px * pixel_size_nm)
    return Emitters(columns)


def _with_wrong_choices(
    place_error: NDArray[np.float64],
    pixel: tuple[NDArray[np.intp], NDArray[np.intp]],
    rows: tuple[NDArray[np.intp], NDArray[np.float64]],
    shape: tuple[int, int],
    sigma_px: float,
    crowding: float,
) -> NDArray[np.float64]:
    """Return standard errors that allow for blinks that are not the right ones.

    Of x, y and z the variance grows by the factor

    ``1 + crowding·rho²·s²/(u·sigma)``,

    with rho the blinks per frame and area ``4·pi·sigma²`` of the PSF around the blink, u its
    lateral standard error (of one axis) and s the geometric mean of those around it. How far apart
    two may be that are held for one depends on how well the places around are known, more than on
    how well the fit holds this one for known. Law and number were found on simulated movies.

    Parameters
    ----------
    place_error : array, shape (blinks, 3)
        Standard errors of x and y in pixels and of z.
    pixel : pair of arrays of int, shape (blinks,)
        Row and column of the pixel in which a blink lies.
    rows : pair of arrays, shape (rows,)
        Number of the blink of a row, and its weight: probability over frames of the window.
    shape : tuple of int
        (y, x) of the frames.
    sigma_px : float
        Width of the PSF.
    crowding : float
        The allowance; 0 for none.
    """
    error_px = np.sqrt(np.mean(place_error[:, :2] ** 2, axis=1))
    error_px = np.clip(error_px, 1e-3 * sigma_px, sigma_px)
    blink, weight = rows
    shown, logs = np.zeros(shape), np.zeros(shape)
    where = (pixel[0][blink], pixel[1][blink])
    np.add.at(shown, where, weight)
    np.add.at(logs, where, weight * np.log(error_px[blink]))
    width_px = CROWD_SIGMAS * sigma_px
    density = _around(shown, width_px)[pixel]
    typical_px = np.exp(_around(logs, width_px)[pixel] / np.maximum(density, 1e-300))
    occupancy = 4 * math.pi * sigma_px**2 * density
    growth = crowding * occupancy**2 * typical_px**2 / (error_px * sigma_px)
    return np.asarray(place_error * np.sqrt(1 + growth)[:, None])


def _around(density: NDArray[np.float64], width_px: float) -> NDArray[np.float64]:
    """Return the mean around each pixel, by a Gaussian of what lies inside the frame."""
    weight = gaussian_filter(np.ones_like(density), width_px, mode="constant")
    smooth: NDArray[np.float64] = gaussian_filter(density, width_px, mode="constant") / weight
    return smooth


def _chosen(
    rows: Emitters, psf: FittablePsf, pixel_size_nm: float, min_probability: float
) -> NDArray[np.bool_]:
    """Return which rows are localizations."""
    sure = rows["probability"] >= min_probability
    places = np.column_stack((rows["x_nm"], rows["y_nm"])) / pixel_size_nm
    radius_px = RESCUE_SIGMAS * psf.sigma_px
    return sure | _rescued(places, rows["frame"], rows["photons"], ~sure, radius_px)


def _rescued(
    place_px: NDArray[np.float64],
    frame: NDArray[np.intp],
    photons: NDArray[np.float64],
    doubtful: NDArray[np.bool_],
    radius_px: float,
) -> NDArray[np.bool_]:
    """Return which doubtful rows are kept all the same.

    Each of two near rows is doubted because the other could take over its light. Without the weaker
    one the stronger is needed: the weakest row of a frame goes first, and its neighbours then stay.
    """
    rows = np.flatnonzero(doubtful)
    points = np.column_stack((place_px[rows], frame[rows] * 10.0 * radius_px))
    partners = cKDTree(points).query_ball_point(points, radius_px) if len(rows) else []
    kept, gone = np.zeros(len(rows), np.bool_), np.zeros(len(rows), np.bool_)
    for k in np.argsort(photons[rows], kind="stable"):
        if not kept[k]:
            gone[k] = True
            for other in partners[k]:
                kept[other] |= not gone[other]
    rescued = np.zeros(len(doubtful), np.bool_)
    rescued[rows[kept]] = True
    return rescued


@dataclass(frozen=True)
class _Flags:
    fit: WindowFit
    psf: FittablePsf
    saturated: NDArray[np.bool_] | None

    def of(
        self,
        j: NDArray[np.intp],
        t: NDArray[np.intp],
        inflation: NDArray[np.float64],
        log_odds: NDArray[np.float64],
    ) -> NDArray[np.int32]:
        """Return the flags of the rows (blink j, frame t)."""
        window, blinks = self.fit.window, self.fit.blinks
        _, height, width = window.model.shape
        x, y = blinks.place[j, X], blinks.place[j, Y]
        rim = 2.0 * self.psf.sigma_px
        flags = np.zeros(len(j), np.int32)
        near = (x < rim) | (y < rim) | (x > width - rim) | (y > height - rim)
        flags[near] |= Flag.NEAR_BORDER
        flags[inflation[j] > DEGENERATE_INFLATION] |= Flag.DEGENERATE
        flags[np.abs(log_odds[j, t]) < AMBIGUOUS_ODDS] |= Flag.AMBIGUOUS
        if self.psf.is_3d:
            edge = 1e-3 * (self.psf.shape_high - self.psf.shape_low)
            z = blinks.place[j, 3]
            flags[(z < self.psf.shape_low + edge) | (z > self.psf.shape_high - edge)] |= (
                Flag.AT_BOUND
            )
        flags[self._saturated_near(t, x, y)] |= Flag.SATURATED
        return flags

    def _saturated_near(
        self, t: NDArray[np.intp], x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Return which rows have a saturated pixel within two PSF widths."""
        mask = self.saturated
        if mask is None or not mask.any():
            return np.zeros(len(t), np.bool_)
        reach = 2 * math.ceil(2 * self.psf.sigma_px) + 1
        near = maximum_filter(mask, size=(1, reach, reach), mode="constant")
        return near[t, y.astype(int), x.astype(int)]
