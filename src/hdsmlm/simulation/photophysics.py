"""Blinking: exponential on- and off-times, several blinks per molecule, bleaching.

A molecule is activated, emits for an exponential time, then bleaches with probability 1/m or goes
dark for an exponential time and emits again: m blinks on average (geometric). On-times start and
end anywhere inside a frame, so the first and last frame of a blink are dimmer.

All three waiting times are memoryless. A recording therefore starts in the steady state exactly,
without warm-up: at time 0 a Poisson number of molecules is on (``rate·tau_on``) and another is in a
dark state (``rate·(1 - 1/m)·tau_off``), each with a fresh exponential time to go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Photophysics:
    """Time constants of one recording, in frames."""

    mean_on_frames: float
    mean_off_frames: float
    blinks_per_molecule: float
    min_fraction: float

    def listed_frames_per_blink(self) -> float:
        """Expected number of frames in which one blink emits for at least ``min_fraction``.

        ``exp(-f/tau)·(tau + 1 - f)``: the integral over the start of a blink of the probability
        that it overlaps a given frame by at least the fraction f.
        """
        tau, fraction = self.mean_on_frames, self.min_fraction
        return math.exp(-fraction / tau) * (tau + 1 - fraction)


@dataclass(frozen=True)
class Blinks:
    """On-times in frames (real numbers); ``molecule`` numbers the molecules from 0."""

    start: NDArray[np.float64]
    stop: NDArray[np.float64]
    molecule: NDArray[np.int64]


@dataclass(frozen=True)
class Emissions:
    """One row per blink and frame in which it emits; ``fraction`` of the frame it was on."""

    frame: NDArray[np.int64]
    fraction: NDArray[np.float64]
    blink: NDArray[np.int64]


def draw_blinks(
    physics: Photophysics,
    blinks_per_frame: float,
    span: tuple[float, float],
    horizon: float,
    rng: np.random.Generator,
) -> Blinks:
    """Draw all blinks of the molecules that are activated within ``span``.

    Parameters
    ----------
    physics : Photophysics
        Time constants.
    blinks_per_frame : float
        Blinks that start per frame, all molecules together.
    span : tuple of float
        Activation window (start, stop) in frames. A window that starts at 0 also holds the
        molecules that are on or dark at time 0 in the steady state.
    horizon : float
        Blinks that start after it are not drawn; infinity draws every molecule to its end.
    rng : numpy.random.Generator
        Source of all draws.
    """
    first, last = span
    bleach = 1 / physics.blinks_per_molecule
    n_new = rng.poisson(blinks_per_frame * bleach * (last - first))
    starts = [rng.uniform(first, last, n_new)]
    if first == 0:
        starts.append(np.zeros(rng.poisson(blinks_per_frame * physics.mean_on_frames)))
        n_dark = rng.poisson(blinks_per_frame * (1 - bleach) * physics.mean_off_frames)
        starts.append(rng.exponential(physics.mean_off_frames, n_dark))
    start = np.concatenate(starts)
    start = start[start < horizon]
    molecule = np.arange(len(start))
    rounds = []
    while len(start):
        stop = start + rng.exponential(physics.mean_on_frames, len(start))
        rounds.append((start, stop, molecule))
        survives = (rng.random(len(start)) >= bleach) & (stop < horizon)
        molecule = molecule[survives]
        start = stop[survives] + rng.exponential(physics.mean_off_frames, len(molecule))
        early = start < horizon
        start, molecule = start[early], molecule[early]
    if not rounds:
        return Blinks(np.empty(0), np.empty(0), np.empty(0, np.int64))
    return Blinks(*(np.concatenate(parts) for parts in zip(*rounds, strict=True)))


def emissions(blinks: Blinks, first: int, last: int) -> Emissions:
    """Split blinks into the frames ``first`` to ``last - 1``.

    Returns
    -------
    Emissions
        Ordered by blink, then frame; ``blink`` indexes the rows of ``blinks``.
    """
    begin = np.maximum(np.floor(blinks.start), first).astype(np.int64)
    end = np.minimum(np.ceil(blinks.stop), last).astype(np.int64)
    lengths = np.maximum(end - begin, 0)
    blink = np.repeat(np.arange(len(lengths)), lengths)
    offsets = np.cumsum(lengths) - lengths
    frame = np.arange(len(blink)) - offsets[blink] + begin[blink]
    fraction = np.minimum(blinks.stop[blink], frame + 1) - np.maximum(blinks.start[blink], frame)
    return Emissions(frame, fraction, blink)
