"""The simulation section: ranges from which every virtual microscope is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from hdsmlm.config.base import Section
from hdsmlm.config.ranges import (
    FractionRange,
    NonNegativeRange,
    PositiveRange,
    Range,
    within,
)

GainRange = Annotated[Range, within(gt=1, le=5000)]
EfficiencyRange = Annotated[Range, within(gt=0, le=1)]
BaselineRange = Annotated[Range, within(ge=0, le=60000)]


class WeightsSection(Section):
    """Relative weights of kinds; at least one must be above 0."""

    @model_validator(mode="after")
    def _any(self) -> WeightsSection:
        if sum(self.model_dump().values()) <= 0:
            raise ValueError("at least one weight must be above 0")
        return self


class CameraWeights(WeightsSection):
    """How often each camera is drawn."""

    emccd: float = Field(0.5, ge=0)
    """Weight of EMCCD cameras."""
    scmos: float = Field(0.45, ge=0)
    """Weight of sCMOS cameras."""
    ideal: float = Field(0.05, ge=0)
    """Weight of shot-noise-limited cameras."""


class PsfWeights(WeightsSection):
    """How often each point-spread function is drawn."""

    gaussian: float = Field(0.6, ge=0)
    """Weight of the integrated Gaussian."""
    astigmatic: float = Field(0.1, ge=0)
    """Weight of the astigmatic Gaussian."""
    diffraction: float = Field(0.3, ge=0)
    """Weight of the diffraction pattern."""


class StructureWeights(WeightsSection):
    """How often each arrangement of molecules is drawn."""

    uniform: float = Field(0.5, ge=0)
    """Weight of molecules at random places."""
    curves: float = Field(0.15, ge=0)
    """Weight of curved filaments such as microtubules."""
    rings: float = Field(0.1, ge=0)
    """Weight of rings such as nuclear pores."""
    clusters: float = Field(0.15, ge=0)
    """Weight of Gaussian clusters such as receptor islands."""
    mesh: float = Field(0.1, ge=0)
    """Weight of a mesh of straight filaments such as cortical actin."""


class EmccdRanges(Section):
    """Ranges of EMCCD cameras."""

    quantum_efficiency: EfficiencyRange = (0.7, 0.97)
    """Photo-electrons per photon."""
    em_gain: GainRange = (50.0, 500.0)
    """Multiplication; drawn log-uniformly."""
    read_noise_e: NonNegativeRange = (15.0, 90.0)
    """Read noise after the register, electrons."""
    spurious_charge_e: NonNegativeRange = (0.0, 0.05)
    """Clock-induced charge, electrons per pixel and frame."""
    e_per_adu: PositiveRange = (4.0, 50.0)
    """Electrons per grey value; drawn log-uniformly."""
    baseline_adu: BaselineRange = (90.0, 2000.0)
    """Grey value without charge; drawn log-uniformly (above 0)."""


class ScmosRanges(Section):
    """Ranges of sCMOS cameras."""

    quantum_efficiency: EfficiencyRange = (0.6, 0.95)
    """Photo-electrons per photon."""
    gain_adu_per_e: PositiveRange = (0.4, 6.0)
    """Grey values per photo-electron; drawn log-uniformly."""
    read_noise_e: NonNegativeRange = (0.7, 2.5)
    """Median read noise, electrons."""
    baseline_adu: BaselineRange = (90.0, 500.0)
    """Median grey value without light; drawn log-uniformly (above 0)."""
    dark_e: NonNegativeRange = (0.0, 0.1)
    """Dark current, electrons per pixel and frame."""
    gain_spread: Annotated[Range, within(ge=0, le=0.29)] = (0.0, 0.05)
    """Relative standard deviation of the gain between pixels."""
    read_noise_spread: Annotated[Range, within(ge=0, le=1.5)] = (0.1, 0.4)
    """Standard deviation of the log of the read noise between pixels."""
    baseline_spread_adu: NonNegativeRange = (0.0, 3.0)
    """Standard deviation of the offset between pixels, grey values."""
    hot_pixel_fraction: Annotated[Range, within(ge=0, le=0.1)] = (0.0, 0.01)
    """Share of pixels whose read noise is 4 to 12 times the median."""
    gain_map: Path | None = None
    """Measured gain, grey values per photo-electron (.npy or .tif, shape of a frame); replaces the
    drawn one in movies."""
    offset_map: Path | None = None
    """Measured offset, grey values (.npy or .tif); replaces the drawn one."""
    variance_map: Path | None = None
    """Measured read variance, grey values² (.npy or .tif); replaces the drawn one."""


class PhotophysicsRanges(Section):
    """How molecules blink (science: photophysics)."""

    mean_on_frames: PositiveRange = (0.7, 6.0)
    """Mean on-time in frames (exponential); drawn log-uniformly."""
    mean_off_frames: PositiveRange = (10.0, 60.0)
    """Mean dark time between the blinks of one molecule, in frames (exponential)."""
    blinks_per_molecule: Annotated[Range, within(ge=1, le=20)] = (1.0, 4.0)
    """Mean number of blinks before bleaching (geometric)."""
    rate_spread: Annotated[Range, within(ge=0, le=1.5)] = (0.1, 0.6)
    """Standard deviation of the log of the photon rate between molecules."""
    min_fraction: float = Field(0.02, ge=0, lt=1)
    """A frame in which a molecule emits for less than this share of the frame is not listed as an
    emitter (its light is drawn all the same)."""


class BackgroundRanges(Section):
    """Background of one recording."""

    photons: PositiveRange = (1.0, 300.0)
    """Mean photons per pixel and frame; drawn log-uniformly."""
    structure: FractionRange = (0.0, 0.5)
    """Relative standard deviation of the smooth structure over the field."""
    structure_scale_px: PositiveRange = (8.0, 60.0)
    """Width (standard deviation) of the smooth structures, pixels; drawn log-uniformly."""
    bleached_share: FractionRange = (0.0, 0.5)
    """Share of the background that fades during a long recording."""
    bleaching_frames: PositiveRange = (1000.0, 20000.0)
    """Time constant of the fading, frames; drawn log-uniformly."""


class SimulationConfig(Section):
    """Ranges of virtual microscopes and samples; a range given as one number is fixed."""

    density_per_um2: PositiveRange = (0.1, 10.0)
    """Emitters that are on per µm² and frame, counted in every frame in which they are listed;
    mean over the field; drawn log-uniformly."""
    pixel_size_nm: Annotated[Range, within(gt=10, le=1000)] = (80.0, 160.0)
    """Pixel size in the sample plane; drawn log-uniformly."""
    sigma_px: Annotated[Range, within(gt=0.3, le=6)] = (0.9, 2.0)
    """Width of the PSF in focus (standard deviation of the Gaussian core), pixels."""
    sigma_spread: Annotated[Range, within(ge=0, le=0.5)] = (0.0, 0.08)
    """Standard deviation of the log of the width between molecules (2D Gaussian only)."""
    photons: PositiveRange = (100.0, 10000.0)
    """Median photons of a molecule per full frame; drawn log-uniformly per recording."""
    min_median_snr: float = Field(3.0, ge=0)
    """Photons and background are drawn again while a median molecule's SNR is below this (at most
    50 times), so that few recordings show nothing but noise; 0 turns it off."""
    z_range_nm: Annotated[Range, within(ge=0, le=3000)] = (100.0, 500.0)
    """Half-width of the depth range in which molecules lie (3D PSFs)."""
    structured_share: FractionRange = (0.3, 0.9)
    """Share of the molecules on the structure; the others are spread uniformly."""
    max_local_density_per_um2: float = Field(20.0, gt=0)
    """The structured share is lowered until the density on the structure is at most this."""
    cameras: CameraWeights = CameraWeights()
    """Weights of the camera kinds."""
    psfs: PsfWeights = PsfWeights()
    """Weights of the PSF kinds."""
    structures: StructureWeights = StructureWeights()
    """Weights of the structure kinds."""
    emccd: EmccdRanges = EmccdRanges()
    """EMCCD cameras."""
    scmos: ScmosRanges = ScmosRanges()
    """sCMOS cameras."""
    photophysics: PhotophysicsRanges = PhotophysicsRanges()
    """Blinking."""
    background: BackgroundRanges = BackgroundRanges()
    """Background."""


class MovieConfig(Section):
    """A simulated movie: one microscope and sample, drawn from the ranges by the seed."""

    frames: int = Field(1000, ge=1, le=10_000_000)
    """Frames of the movie."""
    height: int = Field(256, ge=8, le=16384)
    """Rows of a frame, pixels."""
    width: int = Field(256, ge=8, le=16384)
    """Columns of a frame, pixels."""
    seed: int = Field(0, ge=0)
    """The same seed and ranges give the same movie."""
    simulation: SimulationConfig = SimulationConfig()
    """Ranges; give one number to fix a quantity."""
