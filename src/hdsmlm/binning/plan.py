"""Which sequences of the sparse movie are added to which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.binning.orientation import N_ORIENTATIONS
from hdsmlm.errors import ConfigError, MovieError

_FAR_PX = 4
"""Shift from which a blink that is added twice counts as two emitters."""
_TRIES = 200


@dataclass(frozen=True)
class Summand:
    """A sequence of the sparse movie, as it enters a sum.

    Parameters
    ----------
    start : int
        Its first frame.
    top, left : int
        Corner of the cut-out, pixels.
    orientation : int
        How the cut-out is turned (:mod:`hdsmlm.binning.orientation`).
    """

    start: int
    top: int = 0
    left: int = 0
    orientation: int = 0


@dataclass(frozen=True)
class PlanRules:
    """What the sums have in common.

    Parameters
    ----------
    n_frames, height, width : int
        Of the sparse movie.
    factor : int
        Summands of a sum.
    sequence_frames : int
        T.
    lag_frames : int
        Frames between the end of one summand and the start of another, at least.
    crop_px : int or None
        Side of the cut-out of augmented summands; None adds whole frames as they are.
    rotate : bool
        Whether augmented summands are turned by 90 degrees as well as mirrored.
    """

    n_frames: int
    height: int
    width: int
    factor: int
    sequence_frames: int
    lag_frames: int
    crop_px: int | None = None
    rotate: bool = True

    @property
    def frames_needed(self) -> int:
        """Frames that a sum without augmentation needs."""
        return (self.factor - 1) * (self.sequence_frames - 1 + self.lag_frames) + (
            self.sequence_frames
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) of the sums."""
        return (self.crop_px, self.crop_px) if self.crop_px else (self.height, self.width)

    def check(self) -> None:
        """Refuse rules that no sum can follow.

        Raises
        ------
        MovieError
            When the movie is too short.
        ConfigError
            When the cut-out is larger than the frame.
        """
        if self.crop_px is not None:
            if self.crop_px > min(self.height, self.width):
                raise ConfigError(
                    f"crop_px {self.crop_px} is larger than the frames, {self.height} x "
                    f"{self.width} pixels"
                )
            if self.n_frames < self.sequence_frames:
                raise MovieError(
                    f"a sequence has {self.sequence_frames} frames, the movie {self.n_frames}; "
                    "lower --sequence-frames"
                )
            return
        if self.n_frames < self.frames_needed:
            spare = self.n_frames - self.sequence_frames
            most = 1 + max(spare, 0) // (self.sequence_frames - 1 + self.lag_frames)
            lower = f"Add up at most {most}, use " if most > 1 else "Use "
            raise MovieError(
                f"the movie has {self.n_frames} frames; {self.factor} sequences of "
                f"{self.sequence_frames} frames that lie {self.lag_frames} frames apart need "
                f"{self.frames_needed}. {lower}a longer movie, or --augment to "
                "separate the same blink in space instead of time"
            )


def draw_sum(rules: PlanRules, seed: int, index: int) -> tuple[Summand, ...]:
    """Return the summands of sum ``index``; a pure function of its arguments.

    Without augmentation the starts are uniform over all choices that keep the lag: spacings of the
    least length are taken out, starts drawn from what is left, and the spacings put back in.
    """
    rules.check()
    rng = np.random.default_rng([seed, index])
    if rules.crop_px is not None:
        return _draw_augmented(rules, rng)
    spacing = rules.sequence_frames - 1 + rules.lag_frames
    free = rules.n_frames - rules.frames_needed + 1
    starts = np.sort(rng.integers(free, size=rules.factor)) + spacing * np.arange(rules.factor)
    return tuple(Summand(int(start)) for start in rng.permutation(starts))


def _draw_augmented(rules: PlanRules, rng: np.random.Generator) -> tuple[Summand, ...]:
    assert rules.crop_px is not None
    chosen: list[Summand] = []
    free = np.array(
        [
            rules.n_frames - rules.sequence_frames + 1,
            rules.height - rules.crop_px + 1,
            rules.width - rules.crop_px + 1,
            N_ORIENTATIONS if rules.rotate else N_ORIENTATIONS // 2,
        ]
    )
    for _ in range(_TRIES * rules.factor):
        drawn: NDArray[np.int64] = rng.integers(free)
        start, top, left, orientation = (int(value) for value in drawn)
        summand = Summand(start, top, left, orientation)
        if all(_apart(summand, other, rules) for other in chosen):
            chosen.append(summand)
            if len(chosen) == rules.factor:
                return tuple(chosen)
    raise MovieError(
        f"{rules.factor} summands that show no blink at the same place were not found in "
        f"{rules.n_frames} frames with cut-outs of {rules.crop_px} pixels; add up fewer, lower "
        "binning.crop_px, or use a longer movie"
    )


def _apart(one: Summand, other: Summand, rules: PlanRules) -> bool:
    """Whether no blink lies in both at the same place."""
    if abs(one.start - other.start) >= rules.sequence_frames - 1 + rules.lag_frames:
        return True
    if one.orientation != other.orientation:
        return True
    return max(abs(one.top - other.top), abs(one.left - other.left)) >= _FAR_PX
