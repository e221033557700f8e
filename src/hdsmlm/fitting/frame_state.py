"""The emitters of a stack of frames on their way through the fit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.fitting.count_choice import Choice
from hdsmlm.fitting.group_fit import Batch, Limits, Quality, fit_groups
from hdsmlm.fitting.group_quality import assess_groups
from hdsmlm.fitting.groups import GroupRules, Groups, group_emitters
from hdsmlm.fitting.likelihood import PoissonData
from hdsmlm.fitting.psf_kernels import SHAPE, FittablePsf, X, Y
from hdsmlm.records.emitters import Emitters

_DEPTHS = 7
_GROUPS_PER_TASK = 32
"""At least: what a kernel is called with costs as much as a fit or two to hand over."""

_TASKS_PER_THREAD = 16
"""At most: so many that the threads end at about the same time."""


@dataclass(frozen=True)
class FrameProblem:
    """What stays the same during one call: frames, PSF, rules.

    Parameters
    ----------
    data : PoissonData
        The frames.
    psf : FittablePsf
        The point-spread function.
    limits : Limits
        Numbers for the kernels.
    rules : GroupRules
        Numbers for the grouping.
    threads : int
        How many at most.
    """

    data: PoissonData
    psf: FittablePsf
    limits: Limits
    rules: GroupRules
    threads: int

    @property
    def depths(self) -> NDArray[np.float64]:
        """Depths at which an emitter without a z is tried first."""
        margin = 0.1 * (self.psf.shape_high - self.psf.shape_low)
        low, high = self.psf.shape_low + margin, self.psf.shape_high - margin
        return np.linspace(low, high, _DEPTHS if self.psf.is_3d else 1)


@dataclass
class FrameState:
    """Emitters of all frames and, once grouped, their batch.

    Parameters
    ----------
    frame : array, shape (n,)
        Frame of each emitter.
    theta : array, shape (n, 4)
        Photons, x and y (pixels), shape.
    origin : array, shape (n,)
        Row of the detection that each came from; -1 for one that the fit added where its group had
        no detection left.
    background : array, shape (n,)
        Background of its group.
    chosen_in : array, shape (n,)
        Group in which the number of emitters was chosen.
    """

    frame: NDArray[np.int64]
    theta: NDArray[np.float64]
    origin: NDArray[np.int64]
    background: NDArray[np.float64]
    chosen_in: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, detections: Emitters, problem: FrameProblem, pixel_size_nm: float) -> FrameState:
        """Return the detections, drawn into the frame."""
        _, height, width = problem.data.shape
        theta = np.zeros((len(detections), 4))
        theta[:, X] = np.clip(detections["x_nm"] / pixel_size_nm, 0, width - 1e-6)
        theta[:, Y] = np.clip(detections["y_nm"] / pixel_size_nm, 0, height - 1e-6)
        theta[:, SHAPE] = problem.psf.shape_start
        if problem.psf.is_3d and "z_nm" in detections:
            low, high = problem.psf.shape_low, problem.psf.shape_high
            theta[:, SHAPE] = np.clip(np.nan_to_num(detections["z_nm"]), low, high)
        rows = np.arange(len(detections))
        return cls(detections["frame"].astype(np.int64), theta, rows, np.ones(len(detections)))

    def grouped(self, problem: FrameProblem) -> GroupedState:
        """Return the same emitters group by group."""
        theta = self.theta
        shape = problem.data.shape[1:]
        groups = group_emitters(
            self.frame, theta[:, X].copy(), theta[:, Y].copy(), shape, problem.rules
        )
        order, first = groups.order, groups.start[:-1]
        theta = np.ascontiguousarray(theta[order])
        batch = Batch(
            problem.data.counts,
            problem.data.offset,
            float(problem.data.scale),
            theta,
            theta[:, [X, Y]].copy(),
            _group_means(self.background[order], groups.start),
            theta[first, SHAPE].copy(),
            groups.start,
            groups.frame,
            groups.box,
            groups.neighbours,
            groups.neighbour_start,
        )
        chosen_in = None if self.chosen_in is None else self.chosen_in[order]
        return GroupedState(self.frame[order], self.origin[order], groups, batch, chosen_in)


def _group_means(values: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    if len(start) == 1:
        return np.empty(0)
    return np.add.reduceat(values, start[:-1]) / np.diff(start)


@dataclass(frozen=True)
class GroupedState:
    """Emitters group by group; the arrays of ``batch`` hold the fit and change as it goes on.

    Parameters
    ----------
    frame, origin, chosen_in : array, shape (n,)
        As in :class:`FrameState`, group by group.
    groups : Groups
        The groups.
    batch : Batch
        What the kernels work on.
    """

    frame: NDArray[np.int64]
    origin: NDArray[np.int64]
    groups: Groups
    batch: Batch
    chosen_in: NDArray[np.int64] | None = None

    @property
    def theta(self) -> NDArray[np.float64]:
        """Photons, x and y (pixels), shape of each emitter."""
        return self.batch.theta

    @property
    def group_of(self) -> NDArray[np.int64]:
        """Group of each emitter."""
        return np.repeat(np.arange(len(self.groups)), np.diff(self.groups.start))

    def run(
        self,
        problem: FrameProblem,
        kernel: Callable[..., None],
        out: Any,
        which: NDArray[np.int64] | None = None,
    ) -> None:
        """Run a kernel over groups, in threads."""
        chosen = np.arange(len(self.groups)) if which is None else which
        batch, psf, limits = self.batch, problem.psf.kernel, problem.limits
        if not len(chosen):
            return
        tasks = min(len(chosen) // _GROUPS_PER_TASK, problem.threads * _TASKS_PER_THREAD)
        if tasks <= 1 or problem.threads == 1:
            kernel(batch, psf, limits, chosen, out)
            return
        parts = np.array_split(chosen, tasks)
        with ThreadPoolExecutor(problem.threads) as pool:
            for future in [pool.submit(kernel, batch, psf, limits, part, out) for part in parts]:
                future.result()

    def sweep(self, problem: FrameProblem, sweeps: int) -> NDArray[np.bool_]:
        """Fit all groups, those with neighbours again and again; return which converged."""
        converged = np.zeros(len(self.groups), np.bool_)
        colour = self.groups.colour
        crowded = np.diff(self.groups.neighbour_start) > 0
        for sweep in range(sweeps):
            todo = crowded if sweep else np.ones_like(crowded)
            if not todo.any():
                break
            for shade in range(int(colour.max(initial=0)) + 1):
                which = np.flatnonzero(todo & (colour == shade))
                self.run(problem, fit_groups, converged, which)
        return converged

    def chosen(self, choice: Choice) -> FrameState:
        """Return the emitters of the most probable numbers."""
        count = choice.chosen
        group = np.repeat(np.arange(len(count)), count)
        slot = np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
        place = choice.origin[group, count[group], slot]
        # an added emitter carries on the columns of its group's first detection
        place = np.where(place >= 0, place, self.groups.start[group])
        return FrameState(
            self.groups.frame[group],
            choice.tried[group, count[group], slot],
            self.origin[place],
            self.batch.background[group],
            group,
        )

    def assess(self, problem: FrameProblem, converged: NDArray[np.bool_]) -> Quality:
        """Return uncertainties and likelihood ratios of the fit as it stands."""
        n, n_groups = len(self.frame), len(converged)
        quality = Quality(
            np.full((n, 4), np.nan),
            np.full(n_groups, np.nan),
            np.zeros(n),
            np.zeros(n),
            np.full(n, np.inf),
            converged,
        )
        self.run(problem, assess_groups, quality)
        return quality
