"""The fixed simulated test set: what the headline scores of every model are measured on."""

from __future__ import annotations

from pydantic import Field

from hdsmlm.config.base import Section
from hdsmlm.config.ranges import PositiveRange, Range
from hdsmlm.config.simulation import (
    BackgroundRanges,
    EmccdRanges,
    PhotophysicsRanges,
    ScmosRanges,
    SimulationConfig,
)


class TestCase(Section):
    """One cell of the test set; scenes of it differ in their seed only."""

    __test__ = False  # not a pytest class

    name: str
    """Name in the score table."""
    density_per_um2: float = Field(gt=0)
    """Emitters that are on per µm² and frame."""
    camera: str = Field(pattern="^(emccd|scmos|ideal)$")
    """Kind of camera; its parameters are drawn from the simulator's default ranges."""
    photons: PositiveRange = (300.0, 5000.0)
    """Median photons of a molecule per full frame, drawn per scene."""
    background_photons: PositiveRange = (5.0, 100.0)
    """Background per pixel and frame, drawn per scene."""
    sigma_px: Range = (1.0, 1.6)
    """PSF width, drawn per scene."""
    mean_on_frames: PositiveRange = (1.0, 4.0)
    """Mean on-time, drawn per scene."""
    psf: str = Field("gaussian", pattern="^(gaussian|astigmatic|diffraction)$")
    """Kind of point-spread function."""


def _headline() -> tuple[TestCase, ...]:
    return tuple(
        TestCase(name=f"{camera} {density:g}/µm²", density_per_um2=density, camera=camera)
        for camera in ("emccd", "scmos")
        for density in (0.5, 1.0, 2.0, 3.0)
    )


def _fixed(name: str, density: float, photons: float, camera: str, psf: str) -> TestCase:
    return TestCase(
        name=name,
        density_per_um2=density,
        camera=camera,
        photons=photons,
        background_photons=20.0,
        sigma_px=1.3,
        mean_on_frames=2.0,
        psf=psf,
    )


def _reference() -> tuple[TestCase, ...]:
    gaussian = [
        _fixed(f"{photons} photons, {density:g}/µm²", density, photons, "emccd", "gaussian")
        for photons in (5000, 1000, 300)
        for density in (1.0, 2.0, 4.0)
    ]
    return (
        *gaussian,
        _fixed("sCMOS, 1000 photons, 2/µm²", 2.0, 1000, "scmos", "gaussian"),
        _fixed("Airy PSF, 1000 photons, 2/µm²", 2.0, 1000, "emccd", "diffraction"),
    )


def _microscopes() -> SimulationConfig:
    """Every range that a case does not set, written out: the simulator's defaults may change."""
    return SimulationConfig(
        sigma_spread=(0.0, 0.08),
        min_median_snr=2.0,
        z_range_nm=(100.0, 500.0),
        structured_share=(0.3, 0.9),
        max_local_density_per_um2=20.0,
        emccd=EmccdRanges(
            quantum_efficiency=(0.7, 0.97),
            em_gain=(50.0, 500.0),
            read_noise_e=(15.0, 90.0),
            spurious_charge_e=(0.0, 0.05),
            e_per_adu=(4.0, 50.0),
            baseline_adu=(90.0, 2000.0),
        ),
        scmos=ScmosRanges(
            quantum_efficiency=(0.6, 0.95),
            gain_adu_per_e=(0.4, 6.0),
            read_noise_e=(0.7, 2.5),
            baseline_adu=(90.0, 500.0),
            dark_e=(0.0, 0.1),
            gain_spread=(0.0, 0.05),
            read_noise_spread=(0.1, 0.4),
            baseline_spread_adu=(0.0, 3.0),
            hot_pixel_fraction=(0.0, 0.01),
            gain_map=None,
            offset_map=None,
            variance_map=None,
        ),
        photophysics=PhotophysicsRanges(
            mean_off_frames=(10.0, 60.0),
            blinks_per_molecule=(1.0, 4.0),
            rate_spread=(0.1, 0.6),
            min_fraction=0.02,
        ),
        background=BackgroundRanges(
            structure=(0.0, 0.5),
            structure_scale_px=(8.0, 60.0),
            bleached_share=(0.0, 0.5),
            bleaching_frames=(1000.0, 20000.0),
        ),
    )


class TestSetConfig(Section):
    """Seeded scenes of uniform fields, 100 nm pixels; never used to train, calibrate or choose.

    Photons and background of a scene are drawn again while the median molecule's SNR is below
    ``microscopes.min_median_snr``.
    """

    __test__ = False

    seed: int = Field(2_000_000_003, ge=0)
    """Seed of the stream of test scenes; no training seed reaches it."""
    scenes_per_case: int = Field(4, ge=1)
    """Scenes of each case."""
    shape: tuple[int, int, int] = (20, 128, 128)
    """(t, y, x) of a scene."""
    pixel_size_nm: float = Field(100.0, gt=0)
    """Side of a pixel."""
    microscopes: SimulationConfig = Field(default_factory=_microscopes)
    """Ranges of everything that the cases leave open."""
    headline: tuple[TestCase, ...] = Field(default_factory=_headline)
    """Cases whose tier-1 scores are averaged to the headline: SNR mixed, two cameras."""
    reference: tuple[TestCase, ...] = Field(default_factory=_reference)
    """Cases of fixed photons for comparison with other programs; all emitters are scored."""
