"""Space-time fit: the blinks of a run of frames, all at once.

An emitter keeps its place while its neighbours switch on and off, so that consecutive frames are
different mixtures of the same points. The fit therefore has one place per blink and photons per
frame; which detections belong together, and from when to when a blink lasts, is part of the choice.
From the linked detections of the network it goes in rounds: refine all blinks
(:mod:`hdsmlm.fitting.blink_kernels`), renew the background, then change the set of blinks, or whose
light is whose, where the posterior rises (:mod:`hdsmlm.fitting.blink_moves`,
:mod:`hdsmlm.fitting.blink_exchange`). The same input gives the same output, on any number of
threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter
from scipy.spatial import cKDTree

from hdsmlm.config.spacetime import SpaceTimeConfig
from hdsmlm.errors import MovieError
from hdsmlm.fitting import blink_kernels as kernels
from hdsmlm.fitting import blink_moves as moves
from hdsmlm.fitting.blink_exchange import exchange
from hdsmlm.fitting.blink_kernels import CELL_PX, Blinks, Window
from hdsmlm.fitting.first_blinks import link_detections
from hdsmlm.fitting.joint_background import JointBackground
from hdsmlm.fitting.likelihood import PoissonData
from hdsmlm.fitting.psf_kernels import FittablePsf, X, Y
from hdsmlm.fitting.result import LEAST_WEIGHT
from hdsmlm.records.count_map import expected_count

JOIN_RADIUS_PX = 1.5
"""Farthest apart that two blinks are tried as one."""

OUTSIDE_PX = 1.5
"""How far outside the frame a blink may lie; its light reaches in."""

HALF_SIGMAS = (3.0, 3.5, 4.0, 4.5)
"""Half side of the patch of a blink, in PSF widths: the first that leaves little light outside."""

HALF_SIGMAS_3D = 5.0
"""The same of a three-dimensional PSF: a width that changes with depth needs more room."""

STRUCTURE_PX = 2.0
"""Width over which the count map tells where molecules lie."""

FLAT_FRAMES = 20
"""A flat density counts as much as so many frames of the map, so that few frames do not rule."""

QUIET_ROUNDS = 3
"""Last rounds, in which nothing is born."""

EXCHANGE_ROUNDS = (1, 3)
"""Rounds in which neighbours exchange frames, counted from 0; more of them took time and gained
little."""

TOLERANCE_PX, FINAL_TOLERANCE_PX = 1e-2, 1e-3
"""Steps below which a blink rests until a neighbour moves."""

_FAINT_SCORE = 2.5
"""Matched-filter score from which left-over light is looked at for alternatives."""


@dataclass(frozen=True)
class Detections:
    """Where the network found emitters.

    Parameters
    ----------
    frame : array of int, shape (n,)
        Frame within the window, ascending.
    x_px, y_px : array, shape (n,)
        Pixels from the outer corner of the frame.
    """

    frame: NDArray[np.int64]
    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]


@dataclass(frozen=True)
class WindowFit:
    """Blinks of one window.

    Parameters
    ----------
    window : Window
        Data and final model.
    blinks : Blinks
        All alive, ordered by first frame, y, x.
    background : array, shape (t, y, x), photons per pixel
        The fitted background.
    odds : Odds
        Prior odds of the last round, for the probabilities of existence.
    background_error : array, shape (t, y, x), photons per pixel
        Standard error of the background.
    looser : WindowFit or None
        The same blinks first, with frames and then blinks added that the posterior did not want:
        where alternatives are told from (:func:`hdsmlm.fitting.blink_table.refused_rows`).
    """

    window: Window
    blinks: Blinks
    background: NDArray[np.float64]
    odds: moves.Odds
    background_error: NDArray[np.float64]
    looser: WindowFit | None = None


def fit_window(
    data: PoissonData,
    psf: FittablePsf,
    detections: Detections,
    config: SpaceTimeConfig,
    count_map: NDArray[np.floating] | None = None,
    levels: NDArray[np.float64] | None = None,
    keep_alternatives: bool = False,
) -> WindowFit:
    """Fit the blinks of a window.

    Parameters
    ----------
    data : PoissonData
        The frames.
    psf : FittablePsf
        Point-spread function.
    detections : Detections
        Start.
    config : SpaceTimeConfig
        Settings.
    count_map : array, shape (t, 4, y, x), optional
        Probabilities of 0, 1, 2, 3+ emitters: the prior.
    levels : array, shape (t,), optional
        Level of the light in each frame (:func:`hdsmlm.fitting.first_background.frame_levels`),
        where it bleaches; None where it is steady.
    keep_alternatives : bool
        Also return :attr:`WindowFit.looser`.

    Raises
    ------
    MovieError
        For data that are not finite.
    """
    if not (np.isfinite(data.counts).all() and np.isfinite(data.offset).all()):
        raise MovieError("the frames or the offset map hold values that are NaN or infinite")
    state = _State(data, psf, detections, config, count_map, levels)
    for number in range(config.rounds):
        state.refine(config.sweeps, 0.7 if number == 0 else 1.0, TOLERANCE_PX)
        state.renew_background()
        births = number < config.rounds - QUIET_ROUNDS
        changed = state.change_blinks(births, exchanges=number in EXCHANGE_ROUNDS)
        if not changed and number >= EXCHANGE_ROUNDS[0]:
            break
    state.refine(5 * config.sweeps, 1.0, FINAL_TOLERANCE_PX)
    fit = state.result()
    if not keep_alternatives:
        return fit
    state.loosen(fit)
    return replace(fit, looser=state.result(keep_first=len(fit.blinks.alive)))


class _State:
    """A window while it is fitted."""

    def __init__(
        self,
        data: PoissonData,
        psf: FittablePsf,
        detections: Detections,
        config: SpaceTimeConfig,
        count_map: NDArray[np.floating] | None,
        levels: NDArray[np.float64] | None = None,
    ) -> None:
        self.config, self.psf, self.now, self.n = config, psf, 1, 0
        self.profile = _profile(psf)
        self.offset = data.offset.astype(np.float64)
        counts = np.ascontiguousarray(data.counts, dtype=np.float64)
        n_frames, height, width = counts.shape
        photons = (counts - self.offset) / data.scale
        self.background = JointBackground(photons, levels, config)
        self.window = Window(
            counts=counts,
            model=data.scale * self.background.image + self.offset,
            stamps=np.ones((n_frames, height // CELL_PX + 1, width // CELL_PX + 1), np.int32),
            kernel=psf.kernel,
            bounds=_bounds(psf, height, width),
            damping=np.array([0.5, 0.5, 0.5 / _depth_scale(psf) ** 2]),
            scale=data.scale,
            half=max(3, math.ceil(HALF_SIGMAS[0] * psf.reach_px)),
            dims=3 if psf.is_3d else 2,
        )
        self.frame_prior, self.place_prior = _log_prior(
            count_map, counts.shape, config.prior_weight
        )
        self.blinks = self._first_blinks(detections)
        self.window = self.window._replace(half=self._half_of_patches())
        kernels.draw_all(self.window, self.blinks, self.n)

    def _first_blinks(self, detections: Detections) -> Blinks:
        blink = link_detections(
            detections.frame, detections.x_px, detections.y_px, self.config.link_radius_px
        )
        self.n = int(blink.max(initial=-1)) + 1
        blinks = _empty_blinks(2 * self.n + 500, len(self.window.counts))
        weight = np.maximum(np.bincount(blink, minlength=self.n), 1)
        blinks.place[: self.n, X] = np.bincount(blink, detections.x_px, self.n) / weight
        blinks.place[: self.n, Y] = np.bincount(blink, detections.y_px, self.n) / weight
        blinks.place[:, 3] = self.psf.shape_start
        blinks.first[: self.n] = len(self.window.counts)
        np.minimum.at(blinks.first, blink, detections.frame)
        np.maximum.at(blinks.last, blink, detections.frame)
        blinks.alive[: self.n] = True
        _, photons = self._left_over()
        _, height, width = photons.shape
        row = np.clip(detections.y_px.astype(int), 0, height - 1)
        column = np.clip(detections.x_px.astype(int), 0, width - 1)
        blinks.photons[blink, detections.frame] = np.maximum(
            photons[detections.frame, row, column], 1.0
        )
        return blinks

    def _half_of_patches(self) -> int:
        """Return a half side outside of which bright blinks leave less light than is noise there.

        Of a Gaussian a share of ``1 - erf(k/√2)²`` lies outside of a square of k widths to either
        side. What the patches miss would be found again as faint blinks around bright ones.
        """
        if self.psf.is_3d:
            return math.ceil(HALF_SIGMAS_3D * self.psf.reach_px)
        photons = self.blinks.photons[self.blinks.photons > 0]
        bright = float(np.percentile(photons, 95)) if len(photons) else 0.0
        pixels = (2 * HALF_SIGMAS[0] * self.psf.reach_px) ** 2
        noise = math.sqrt(pixels * float(np.median(self.window.model))) / self.window.scale
        outside = {k: bright * (1 - math.erf(k / math.sqrt(2)) ** 2) for k in HALF_SIGMAS}
        sigmas = next((k for k in HALF_SIGMAS if outside[k] < 0.5 * noise), HALF_SIGMAS[-1])
        return max(3, math.ceil(sigmas * self.psf.reach_px))

    def refine(self, sweeps: int, factor: float, tolerance_px: float) -> None:
        for _ in range(sweeps):
            self.now += 1
            moving = kernels.sweep(self.window, self.blinks, self.n, factor, self.now, tolerance_px)
            if not moving:
                break

    def renew_background(self) -> None:
        self.now += 1
        self.background.renew(self.window, self.now)

    def change_blinks(self, births: bool, exchanges: bool) -> bool:
        """Change the set of blinks; return whether anything changed.

        ``births`` lets new ones in, ``exchanges`` lets neighbours exchange frames.
        """
        window, now = self.window, self.now
        self._make_room()
        blinks, odds = self.blinks, self.odds()
        before = self.n
        changes = moves.change_lengths(window, blinks, self.n, odds, 0.0, now)
        self.n = moves.cut(window, blinks, self.n, odds, now)
        changes += moves.join(window, blinks, self._near_pairs(), odds, now)
        if exchanges:
            changes += exchange(window, blinks, self._near_pairs(), odds, now)
        changes += moves.remove(window, blinks, self.n, odds, 0.0, now)
        if births:
            score, photons = self._left_over()
            self.n = moves.give_birth(
                window, blinks, self.n, score, photons, self.config.birth_score,
                self.psf.shape_start, now,
            )  # fmt: skip
        return bool(changes) or self.n != before

    def odds(self) -> moves.Odds:
        """Return the prior odds, from the blinks that there are now."""
        alive = self.blinks.alive[: self.n]
        n_blinks = max(int(alive.sum()), 1)
        frames = (self.blinks.last[: self.n] - self.blinks.first[: self.n] + 1)[alive].sum()
        end = float(np.clip(n_blinks / max(int(frames), 1), 0.05, 0.8))
        volume = float(self.window.counts.size)
        if self.psf.is_3d:
            volume *= self.psf.shape_high - self.psf.shape_low
        return moves.Odds(
            self.frame_prior,
            self.place_prior,
            math.log(n_blinks / volume),
            math.log1p(-end),
            math.log(end),
        )

    def _near_pairs(self) -> NDArray[np.int64]:
        blinks = self.blinks
        alive = np.flatnonzero(blinks.alive[: self.n])
        places = blinks.place[alive, X : Y + 1]
        tree = cKDTree(places)
        pairs = alive[tree.query_pairs(JOIN_RADIUS_PX, output_type="ndarray")]
        one, two = pairs[:, 0], pairs[:, 1]
        touching = np.maximum(blinks.first[one], blinks.first[two]) <= 1 + np.minimum(
            blinks.last[one], blinks.last[two]
        )
        pairs = pairs[touching]
        apart = blinks.place[pairs[:, 0], X : Y + 1] - blinks.place[pairs[:, 1], X : Y + 1]
        order = np.lexsort((pairs[:, 1], pairs[:, 0], (apart**2).sum(axis=1)))
        return np.ascontiguousarray(pairs[order])

    def _left_over(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return score and photons of one more emitter at each pixel: the matched filter.

        What a slightly wrong PSF leaves of a bright emitter counts as noise here.
        """
        window = self.window
        light = window.model - window.scale * self.background.image - self.offset
        model = np.maximum(window.model, kernels.LEAST_MODEL)
        weight = window.scale / (model + (self.config.psf_error * light) ** 2)
        slope = _separable((window.counts - window.model) * weight, self.profile)
        information = _separable(weight * window.scale, self.profile**2)
        return slope / np.sqrt(information), slope / information

    def _make_room(self) -> None:
        """Keep space for as many new blinks as there may be."""
        if self.n + 200 < 0.9 * len(self.blinks.alive):
            return
        keep = np.flatnonzero(self.blinks.alive[: self.n])
        old, self.n = self.blinks, len(keep)
        self.blinks = _empty_blinks(2 * self.n + 500, len(self.window.counts))
        kept = _rows(old, keep)
        for name in Blinks._fields:
            getattr(self.blinks, name)[: self.n] = getattr(kept, name)

    def loosen(self, fit: WindowFit) -> None:
        """Go on from a copy of the fit and let in what falls short of its cost, but not far.

        Blinks may be longer and new ones faint, as long as their weight against the fit without
        them is about ``LEAST_WEIGHT``; all are fitted together, as if they were there. Those of the
        fit come first and keep their order.
        """
        slack = -math.log(LEAST_WEIGHT)
        self.window = fit.window._replace(
            model=fit.window.model.copy(), stamps=np.zeros_like(fit.window.stamps)
        )
        score, _ = self._left_over()
        self.n = n = len(fit.blinks.alive)
        self.blinks = _empty_blinks(n + int((score >= _FAINT_SCORE).sum()), len(score))
        for name in Blinks._fields:
            getattr(self.blinks, name)[:n] = getattr(fit.blinks, name)
        self.blinks.judged[:n] = 0
        self.now += 1
        moves.change_lengths(self.window, self.blinks, n, fit.odds, slack, self.now)
        score, photons = self._left_over()
        self.n = moves.give_birth(
            self.window, self.blinks, n, score, photons, _FAINT_SCORE, self.psf.shape_start,
            self.now,
        )  # fmt: skip
        self.blinks.judged[: self.n] = 0
        moves.remove(self.window, self.blinks, self.n, fit.odds, slack, self.now)
        self.refine(5 * self.config.sweeps, 1.0, TOLERANCE_PX)

    def result(self, keep_first: int = 0) -> WindowFit:
        """Return the blinks in order; or the first ones, whatever became of them, then others."""
        blinks = self.blinks
        keep = np.flatnonzero(blinks.alive[: self.n] | (np.arange(self.n) < keep_first))
        if not keep_first:
            keep = keep[
                np.lexsort((blinks.place[keep, X], blinks.place[keep, Y], blinks.first[keep]))
            ]
        kept = _rows(blinks, keep)
        error = self.background.standard_error(self.window)
        return WindowFit(self.window, kept, self.background.image, self.odds(), error)


def _rows(blinks: Blinks, rows: NDArray[np.intp]) -> Blinks:
    return Blinks(
        blinks.place[rows],
        blinks.photons[rows],
        blinks.first[rows],
        blinks.last[rows],
        blinks.alive[rows],
        blinks.fitted[rows],
        blinks.judged[rows],
    )


def _empty_blinks(room: int, n_frames: int) -> Blinks:
    return Blinks(
        place=np.zeros((room, 4)),
        photons=np.zeros((room, n_frames)),
        first=np.zeros(room, np.int64),
        last=np.zeros(room, np.int64),
        alive=np.zeros(room, np.bool_),
        fitted=np.zeros(room, np.int32),
        judged=np.zeros(room, np.int32),
    )


def _depth_scale(psf: FittablePsf) -> float:
    """Return the depth that counts like a pixel, nm."""
    return (psf.shape_high - psf.shape_low) / 10 if psf.is_3d else 1.0


def _bounds(psf: FittablePsf, height: int, width: int) -> NDArray[np.float64]:
    depth = (psf.shape_low, psf.shape_high)
    return np.array(
        [
            (-OUTSIDE_PX, width + OUTSIDE_PX),
            (-OUTSIDE_PX, height + OUTSIDE_PX),
            depth,
            (kernels.MAX_STEP_PX * _depth_scale(psf), 0.0),
        ]
    )


def _profile(psf: FittablePsf) -> NDArray[np.float64]:
    """Return the PSF in focus along one axis, as a Gaussian: the matched filter's kernel."""
    half = math.ceil(3.5 * psf.sigma_px)
    edges = (np.arange(2 * half + 2) - half - 0.5) / (psf.sigma_px * math.sqrt(2))
    return np.diff([0.5 * math.erf(edge) for edge in edges])


def _separable(image: NDArray[np.float64], profile: NDArray[np.float64]) -> NDArray[np.float64]:
    down = correlate1d(image, profile, axis=1, mode="constant")
    return correlate1d(down, profile, axis=2, mode="constant")


def _log_prior(
    count_map: NDArray[np.floating] | None, shape: tuple[int, ...], weight: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the count map says of each frame (t, y, x) and of each place (y, x).

    Where molecules lie is taken at its word from the mean of all frames, which owes little to any
    one of them; how much more the frame itself shows there counts with ``weight``.
    """
    if count_map is None:
        return np.zeros(shape, np.float32), np.zeros(shape[1:], np.float32)
    expected = expected_count(count_map)
    mean = max(float(expected.mean()), 1e-6)
    n_frames = len(expected)
    place = gaussian_filter(expected.mean(axis=0), STRUCTURE_PX, mode="nearest") + 0.02 * mean
    place = (n_frames * place + FLAT_FRAMES * mean) / (n_frames + FLAT_FRAMES)
    frame = gaussian_filter(expected, (0, 0.8, 0.8), mode="nearest")
    surplus = np.log(np.clip(frame / place, math.exp(-4), math.exp(4)))
    return (weight * surplus).astype(np.float32), np.log(place / mean).astype(np.float32)
