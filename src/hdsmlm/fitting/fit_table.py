"""From the fit's arrays to tables: units, flags, alternatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.fitting.count_choice import Choice
from hdsmlm.fitting.frame_state import FrameProblem, GroupedState
from hdsmlm.fitting.group_fit import Quality
from hdsmlm.fitting.psf_kernels import PHOTONS, SHAPE, FittablePsf, X, Y
from hdsmlm.fitting.region_fit import COMMON_SHAPE
from hdsmlm.fitting.result import LEAST_WEIGHT
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.flags import Flag

DEGENERATE_INFLATION = 25.0
"""A variance of 25 times that with all else known: the standard error is five times as large."""
AMBIGUOUS_LOG_ODDS = 2.0
"""Another number of emitters is at least a seventh as probable."""
_CARRIED = ("probability", "count_class", "expected_count", "emitter_id", "blink_id")
_BOUND_PX = 1e-6


@dataclass(frozen=True)
class Source:
    """What the table takes from the call.

    Parameters
    ----------
    detections : Emitters
        Their further columns are carried over.
    pixel_size_nm : float
        Side of a pixel.
    saturated : array of bool, shape (t, y, x), or None
        Pixels at the camera's largest grey value.
    choice : Choice or None
        The numbers of emitters that were tried.
    """

    detections: Emitters
    pixel_size_nm: float
    saturated: NDArray[np.bool_] | None
    choice: Choice | None


def localization_table(
    state: GroupedState,
    quality: Quality,
    probability: NDArray[np.float64],
    problem: FrameProblem,
    source: Source,
) -> Emitters:
    """Return the localizations, sorted by frame, y, x."""
    theta, pixel = state.theta, source.pixel_size_nm
    group = state.group_of
    spread = np.sqrt(quality.variance)
    columns: dict[str, Any] = {
        name: source.detections[name][state.origin]
        for name in source.detections.names
        if name in _CARRIED
    }
    columns |= {
        "frame": state.frame,
        **_places(theta, problem.psf, pixel),
        "background": state.batch.background[group],
        "uncertainty_x_nm": spread[:, X] * pixel,
        "uncertainty_y_nm": spread[:, Y] * pixel,
        "uncertainty_photons": spread[:, PHOTONS],
        "uncertainty_background": np.sqrt(quality.background_variance)[group],
        "probability": probability,
        "log_likelihood_ratio": quality.log_likelihood_ratio,
        "group_id": group if state.chosen_in is None else state.chosen_in,
        "flags": _flags(state, quality, problem, source),
    }
    if problem.psf.is_3d:
        columns["uncertainty_z_nm"] = spread[:, SHAPE]
    return Emitters(columns).sorted()


def rejected_counts(
    state: GroupedState, choice: Choice, psf: FittablePsf, pixel_size_nm: float
) -> Emitters:
    """Return the other numbers of emitters that were tried, ``probability`` their weights."""
    best = choice.log_posterior.max(axis=1, keepdims=True)
    weight = np.exp(choice.log_posterior - best)
    weight /= weight.sum(axis=1, keepdims=True)
    weight[np.arange(len(weight)), choice.chosen] = 0.0
    group, count = np.nonzero(weight >= LEAST_WEIGHT)
    row = np.repeat(np.arange(len(group)), count)
    slot = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    theta = choice.tried[group[row], count[row], slot]
    return Emitters(
        {
            "frame": state.groups.frame[group[row]],
            **_places(theta, psf, pixel_size_nm),
            "probability": weight[group[row], count[row]],
            "count_class": count[row],
            "group_id": group[row],
        }
    )


def _places(
    theta: NDArray[np.float64], psf: FittablePsf, pixel_size_nm: float
) -> dict[str, NDArray[np.float64]]:
    """Return the columns of position, photons and width."""
    columns = {
        "x_nm": theta[:, X] * pixel_size_nm,
        "y_nm": theta[:, Y] * pixel_size_nm,
        "photons": theta[:, PHOTONS],
        "sigma_nm": psf.width_of(theta[:, SHAPE]) * pixel_size_nm,
    }
    if psf.is_3d:
        columns["z_nm"] = theta[:, SHAPE]
    return columns


def _flags(
    state: GroupedState, quality: Quality, problem: FrameProblem, source: Source
) -> NDArray[np.int32]:
    theta, group, limits = state.theta, state.group_of, problem.limits
    _, height, width = problem.data.shape
    flags = np.zeros(len(theta), np.int32)

    def mark(rows: NDArray[np.bool_], flag: Flag) -> None:
        flags[rows] |= np.int32(flag)

    mark(~quality.converged[group], Flag.NOT_CONVERGED)
    moved = np.abs(theta[:, [X, Y]] - state.batch.anchor).max(axis=1)
    bound = moved >= limits.shift_px - _BOUND_PX
    if problem.psf.is_3d or limits.shape_mode == COMMON_SHAPE:
        shape = theta[:, SHAPE]
        bound |= (shape <= limits.shape_low) | (shape >= limits.shape_high)
    mark(bound, Flag.AT_BOUND)
    reach = 2 * problem.psf.reach_px
    x, y = theta[:, X], theta[:, Y]
    outside = (x < reach) | (x > width - reach) | (y < reach) | (y > height - reach)
    mark(outside, Flag.NEAR_BORDER)
    mark(~(quality.inflation < DEGENERATE_INFLATION), Flag.DEGENERATE)
    mark(_touches(state, ~np.isfinite(problem.data.counts), limits.half_px), Flag.BAD_PIXEL)
    mark(_touches(state, ~np.isfinite(problem.data.offset)[None], limits.half_px), Flag.BAD_PIXEL)
    if source.saturated is not None:
        mark(_touches(state, source.saturated, limits.half_px), Flag.SATURATED)
    if source.choice is not None and state.chosen_in is not None:
        ranked = np.sort(source.choice.log_posterior, axis=1)
        mark((ranked[:, -1] - ranked[:, -2] < AMBIGUOUS_LOG_ODDS)[state.chosen_in], Flag.AMBIGUOUS)
    return flags


def _touches(state: GroupedState, mask: NDArray[np.bool_], half: int) -> NDArray[np.bool_]:
    """Return which emitters have a marked pixel in their square; a mask of one frame is for all."""
    if not mask.any():
        return np.zeros(len(state.frame), np.bool_)
    total = np.pad(mask, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1, dtype=np.int64).cumsum(axis=2)
    frame = state.frame if len(mask) > 1 else np.zeros_like(state.frame)
    row, column = (np.floor(state.batch.anchor[:, c]).astype(np.int64) for c in (1, 0))
    top, bottom = (np.clip(row + d, 0, mask.shape[1]) for d in (-half, half + 1))
    left, right = (np.clip(column + d, 0, mask.shape[2]) for d in (-half, half + 1))
    inside = total[frame, bottom, right] - total[frame, top, right]
    inside -= total[frame, bottom, left] - total[frame, top, left]
    return inside > 0
