"""What a prediction found, in numbers and in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.bundle import TrainedRange
from hdsmlm.inference.chunk_store import ChunkResult
from hdsmlm.units import NM_PER_UM, density_per_um2

_WINDOW_PX = 25
"""Pixels of the 5×5 window of the column ``expected_count``."""


@dataclass(frozen=True)
class FieldOfView:
    """Size of a frame.

    Parameters
    ----------
    height_px, width_px : int
        Pixels.
    pixel_size_nm : float
        Side of a pixel in the sample.
    """

    height_px: int
    width_px: int
    pixel_size_nm: float

    def density_per_um2(self, count: float) -> float:
        """Return ``count`` per µm² of this field."""
        return density_per_um2(count, self.height_px, self.width_px, self.pixel_size_nm)


class SummaryCounter:
    """Adds up chunks; memory does not grow with their number beyond one number per frame."""

    def __init__(self, view: FieldOfView) -> None:
        self._view = view
        self._emitters = 0
        self._expected: list[NDArray[np.float64]] = []
        self._neighbours = 0.0
        self._doubles = 0

    def add(self, result: ChunkResult) -> None:
        """Add a chunk."""
        table = result.emitters
        self._emitters += len(table)
        self._expected.append(result.expected_per_frame)
        # An emitter's own unit is not its neighbour.
        self._neighbours += float(np.maximum(table["expected_count"] - 1.0, 0.0).sum())
        self._doubles += int((table["count_class"] >= 2).sum())

    def found(self) -> Found:
        """Return the totals."""
        expected = np.concatenate(self._expected) if self._expected else np.zeros(0)
        n_frames = max(len(expected), 1)
        window_um2 = _WINDOW_PX * (self._view.pixel_size_nm / NM_PER_UM) ** 2
        neighbours = self._neighbours / self._emitters if self._emitters else 0.0
        return Found(
            frames=len(expected),
            emitters=self._emitters,
            emitters_per_frame=self._emitters / n_frames,
            expected_per_frame=float(expected.mean()) if len(expected) else 0.0,
            density_per_um2=self._view.density_per_um2(self._emitters / n_frames),
            expected_density_per_um2=self._view.density_per_um2(float(expected.sum()) / n_frames),
            densest_frame_per_um2=self._view.density_per_um2(float(expected.max(initial=0.0))),
            neighbour_density_per_um2=neighbours / window_um2,
            crowded_share=self._doubles / self._emitters if self._emitters else 0.0,
        )


@dataclass(frozen=True)
class Found:
    """What was found. Densities are emitters that are on, per µm² and frame.

    Parameters
    ----------
    frames, emitters : int
        Frames predicted; emitters in all of them (an emitter counts in each frame it is on).
    emitters_per_frame, expected_per_frame : float
        Decoded emitters, and the sum of the map of expected counts, per frame.
    density_per_um2, expected_density_per_um2 : float
        The same per µm² of the whole field.
    densest_frame_per_um2 : float
        Expected density of the frame with most emitters.
    neighbour_density_per_um2 : float
        Mean expected density of OTHER emitters in the 5×5 pixels around an emitter: the density
        where the emitters are, which exceeds that of the field when they lie on structures.
    crowded_share : float
        Share of emitters with more than one expected in the 3×3 pixels around them.
    """

    frames: int
    emitters: int
    emitters_per_frame: float
    expected_per_frame: float
    density_per_um2: float
    expected_density_per_um2: float
    densest_frame_per_um2: float
    neighbour_density_per_um2: float
    crowded_share: float


@dataclass(frozen=True)
class PredictionSummary:
    """The summary that is written beside the results.

    Parameters
    ----------
    movie, model : str
        Names.
    view : FieldOfView
        Frame size.
    found : Found
        What was found.
    threshold : float
        Decoding threshold.
    engine : str
        Who ran the network, where and how precisely.
    seconds, frames_per_second : float
        Of this run; frames of a run before that was resumed do not count.
    resumed_frames : int
        Frames taken over from a run before.
    files : mapping
        What was written.
    versions : mapping
        Program and libraries.
    warnings, notes : tuple of str
        For the user.
    """

    movie: str
    model: str
    view: FieldOfView
    found: Found
    threshold: float
    engine: str
    seconds: float
    frames_per_second: float
    resumed_frames: int
    files: dict[str, str]
    versions: dict[str, str]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def to_text(self) -> str:
        """Return a short text for a person."""
        found, view = self.found, self.view
        lines = [
            f"{self.movie}: {found.frames} frames of {view.height_px} x {view.width_px} pixels "
            f"of {view.pixel_size_nm:g} nm, model {self.model}",
            f"emitters           {found.emitters} ({found.emitters_per_frame:.1f} per frame, "
            f"{found.expected_per_frame:.1f} expected by the count map)",
            f"density            {found.density_per_um2:.3g} per um2 and frame in the field, "
            f"{found.neighbour_density_per_um2:.3g} around an emitter",
            f"crowded            {100 * found.crowded_share:.1f} % of emitters have a second one "
            "within their 3 x 3 pixels",
            f"speed              {self.frames_per_second:.1f} frames/s in {self.seconds:.1f} s, "
            f"{self.engine}",
        ]
        if self.resumed_frames:
            lines.append(f"resumed            {self.resumed_frames} frames were finished before")
        lines += [f"{name:<18} {path}" for name, path in self.files.items()]
        lines += [f"WARNING: {text}" for text in self.warnings]
        lines += [f"note: {text}" for text in self.notes]
        return "\n".join(lines) + "\n"


def range_warnings(found: Found, view: FieldOfView, trained: TrainedRange) -> tuple[str, ...]:
    """Return one sentence for each way in which the movie lies outside the training range."""
    warnings = []
    checks: Sequence[tuple[str, float, tuple[float, float], str]] = (
        (
            "the pixels",
            view.pixel_size_nm,
            trained.pixel_size_nm,
            "nm wide; check --pixel-size-nm, and bin or interpolate the movie if it is right",
        ),
        (
            "the density around an emitter is",
            found.neighbour_density_per_um2,
            (0.0, trained.density_per_um2[1]),
            "per um2 and frame; expect biased counts",
        ),
        (
            "the densest frame holds",
            found.densest_frame_per_um2,
            (0.0, trained.density_per_um2[1]),
            "per um2; expect biased counts there",
        ),
    )
    for what, value, (low, high), advice in checks:
        if not low <= value <= high:
            warnings.append(
                f"outside the model's trained range: {what} {value:.3g}, "
                f"trained {low:g} to {high:g} {advice}"
            )
    if found.emitters == 0:
        warnings.append(
            "no emitter was found; look at the overlays, and check that the movie shows blinking "
            "emitters and that the model fits its point-spread function"
        )
    return tuple(warnings)
