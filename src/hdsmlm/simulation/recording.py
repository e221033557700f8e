"""One virtual recording: frames and truth, in order, in pieces of any length.

Random numbers belong to fixed units: molecules to blocks of frames, noise to single frames. What is
seen in a frame therefore does not depend on how many frames are asked for at a time, nor on the
length of the recording.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.camera import CameraConfig, ScmosConfig
from hdsmlm.errors import ConfigError
from hdsmlm.imaging.background import Background, smooth_field
from hdsmlm.imaging.build import build_camera, build_psf
from hdsmlm.imaging.scmos_maps import MeasuredMaps
from hdsmlm.imaging.snr import background_snr
from hdsmlm.io.calibration import read_camera_map
from hdsmlm.records.emitters import Emitters
from hdsmlm.simulation.conditions import Conditions
from hdsmlm.simulation.photophysics import Blinks, Photophysics, draw_blinks, emissions
from hdsmlm.simulation.structures import Field, build_structure
from hdsmlm.units import NM_PER_UM

BLOCK_FRAMES = 32
"""Molecules are activated in blocks of this many frames, each with its own random numbers."""
TRUTH_COLUMNS = (
    "frame",
    "x_nm",
    "y_nm",
    "z_nm",
    "photons",
    "background",
    "sigma_nm",
    "snr",
    "emitter_id",
    "blink_id",
)
"""Columns of the truth, in the order of the registry."""
_STRUCTURE, _BACKGROUND, _CAMERA, _MOLECULES, _NOISE = range(5)


@dataclass(frozen=True)
class _Molecules:
    """Blinks that may still emit, with what their molecules are like; arrays per blink."""

    blinks: Blinks
    position: NDArray[np.float64]
    rate_photons: NDArray[np.float64]
    width_factor: NDArray[np.float64]
    blink_id: NDArray[np.int64]

    def select(self, keep: NDArray[np.bool_]) -> _Molecules:
        blinks = Blinks(self.blinks.start[keep], self.blinks.stop[keep], self.blinks.molecule[keep])
        return _Molecules(
            blinks,
            self.position[keep],
            self.rate_photons[keep],
            self.width_factor[keep],
            self.blink_id[keep],
        )

    def joined(self, other: _Molecules) -> _Molecules:
        mine, theirs = self.blinks, other.blinks
        blinks = Blinks(
            np.concatenate([mine.start, theirs.start]),
            np.concatenate([mine.stop, theirs.stop]),
            np.concatenate([mine.molecule, theirs.molecule]),
        )
        return _Molecules(
            blinks,
            np.concatenate([self.position, other.position]),
            np.concatenate([self.rate_photons, other.rate_photons]),
            np.concatenate([self.width_factor, other.width_factor]),
            np.concatenate([self.blink_id, other.blink_id]),
        )


class Recording:
    """A recording under given conditions.

    Parameters
    ----------
    conditions : Conditions
        Microscope and sample.
    shape : tuple of int
        (y, x) of a frame.
    seed : tuple of int
        Entropy; the same tuple gives the same recording.
    horizon : float
        Frame after which no blink is drawn; infinity for a movie of any length.
    """

    def __init__(
        self,
        conditions: Conditions,
        shape: tuple[int, int],
        seed: tuple[int, ...],
        horizon: float = np.inf,
    ) -> None:
        if min(shape) < 1:
            raise ConfigError(f"simulation: height and width must be at least 1, got {shape}")
        self.conditions = conditions
        self._shape = shape
        self._seed = seed
        self._horizon = horizon
        self.psf = build_psf(conditions.psf)
        measured = measured_maps(conditions.camera)
        self.camera = build_camera(conditions.camera, shape, self._rng(_CAMERA), measured)
        z_ends = np.array([-conditions.z_range_nm, conditions.z_range_nm])
        border_px = 3.0 * float(self.psf.width_px(z_ends).max())
        self.field = Field(*shape, border_px, conditions.pixel_size_nm)
        self._structure = build_structure(
            conditions.structure,
            conditions.structured_share,
            self.field,
            conditions.max_local_density_per_um2 / conditions.density_per_um2,
            self._rng(_STRUCTURE),
        )
        rng = self._rng(_BACKGROUND)
        self.background = Background(
            conditions.background_photons,
            smooth_field(
                shape, conditions.background_structure, conditions.background_scale_px, rng
            ),
            conditions.bleached_share,
            conditions.bleaching_frames,
        )
        self._physics = Photophysics(
            conditions.mean_on_frames,
            conditions.mean_off_frames,
            conditions.blinks_per_molecule,
            conditions.min_fraction,
        )
        self._read_variance = np.broadcast_to(self.camera.input_read_variance_e2, shape)
        self._next_frame = 0
        self._blocks = 0
        self._next_molecule = 0
        self._next_blink = 0
        self._alive: _Molecules | None = None

    def read(self, n_frames: int) -> tuple[NDArray[np.uint16], Emitters]:
        """Return the next ``n_frames`` frames (t, y, x) and the emitters in them.

        Emitters are listed when their centre lies inside the field and they emit for at least
        ``min_fraction`` of the frame; the light of all others is in the frames as well. ``frame``
        counts from the start of the recording. Rows are ordered by frame, then y, then x.
        """
        first, last = self._next_frame, self._next_frame + n_frames
        alive = self._activate(last)
        stack = np.empty((n_frames, *self._shape))
        for index in range(n_frames):
            stack[index] = self.background.photons(first + index)
        emitted = emissions(alive.blinks, first, last)
        of = emitted.blink
        photons = alive.rate_photons[of] * emitted.fraction
        position = alive.position[of]
        frame = emitted.frame - first
        ground = stack.copy()
        peak = self.psf.add_to(stack, frame, position, photons, alive.width_factor[of])
        listed = self.field.contains(position[:, 0], position[:, 1])
        listed &= emitted.fraction >= self.conditions.min_fraction
        of, position, frame, photons = of[listed], position[listed], frame[listed], photons[listed]
        column, row = position[:, 0].astype(np.intp), position[:, 1].astype(np.intp)
        local_background = ground[frame, row, column]
        pixel_nm = self.conditions.pixel_size_nm
        table = Emitters(
            {
                "frame": frame + first,
                "x_nm": position[:, 0] * pixel_nm,
                "y_nm": position[:, 1] * pixel_nm,
                "z_nm": position[:, 2],
                "photons": photons,
                "background": local_background,
                "sigma_nm": self.psf.width_px(position[:, 2]) * alive.width_factor[of] * pixel_nm,
                "snr": background_snr(
                    photons,
                    peak[listed],
                    local_background,
                    self.camera,
                    self._read_variance[row, column],
                ),
                "emitter_id": alive.blinks.molecule[of],
                "blink_id": alive.blink_id[of],
            }
        )
        frames = np.empty((n_frames, *self._shape), np.uint16)
        for index in range(n_frames):
            frames[index] = self.camera.sample(stack[index], self._rng(_NOISE, first + index))
        self._next_frame = last
        self._alive = alive.select(alive.blinks.stop > last)
        return frames, table.sorted()

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64([*self._seed, *stream]))

    def _activate(self, until: int) -> _Molecules:
        """Draw the blocks that begin before frame ``until`` and join them to what is alive."""
        alive = self._alive
        while self._blocks * BLOCK_FRAMES < min(until, self._horizon):
            block = self._draw_block(self._blocks)
            alive = block if alive is None else alive.joined(block)
            self._blocks += 1
        if alive is None:
            raise ValueError("read at least one frame")
        return alive

    def _draw_block(self, index: int) -> _Molecules:
        rng = self._rng(_MOLECULES, index)
        conditions = self.conditions
        area_um2 = self._shape[0] * self._shape[1] * (conditions.pixel_size_nm / NM_PER_UM) ** 2
        listed_per_frame = conditions.density_per_um2 * area_um2
        blinks_per_frame = listed_per_frame / (
            self._physics.listed_frames_per_blink() * self._structure.inside_share()
        )
        span = (index * BLOCK_FRAMES, min((index + 1) * BLOCK_FRAMES, self._horizon))
        blinks = draw_blinks(self._physics, blinks_per_frame, span, self._horizon, rng)
        n = int(blinks.molecule.max()) + 1 if len(blinks.molecule) else 0
        position = self._structure.draw(n, rng)
        position[:, 2] = position[:, 2] * conditions.z_range_nm + 0.0  # no negative zero
        rate = conditions.photons * np.exp(conditions.rate_spread * rng.standard_normal(n))
        width = np.ones(n)
        if not self.psf.is_3d:
            width = np.exp(conditions.sigma_spread * rng.standard_normal(n))
        of = blinks.molecule
        molecules = _Molecules(
            Blinks(blinks.start, blinks.stop, of + self._next_molecule),
            position[of],
            rate[of],
            width[of],
            np.arange(len(of)) + self._next_blink,
        )
        self._next_molecule += n
        self._next_blink += len(of)
        return molecules


def measured_maps(camera: CameraConfig) -> MeasuredMaps | None:
    """Read the maps that the camera section names."""
    if not isinstance(camera, ScmosConfig):
        return None
    paths = (camera.gain_map, camera.offset_map, camera.variance_map)
    return MeasuredMaps(*(None if path is None else read_camera_map(path) for path in paths))
