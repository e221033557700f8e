"""The fixed simulated test set: what the headline scores of every model are measured on."""

from __future__ import annotations

from pydantic import Field

from hdsmlm.config.base import Section
from hdsmlm.config.ranges import PositiveRange, Range


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


class TestSetConfig(Section):
    """Seeded scenes of uniform fields, 100 nm pixels; never used to train, calibrate or choose."""

    __test__ = False

    seed: int = Field(2_000_000_003, ge=0)
    """Seed of the stream of test scenes; no training seed reaches it."""
    scenes_per_case: int = Field(4, ge=1)
    """Scenes of each case."""
    shape: tuple[int, int, int] = (20, 128, 128)
    """(t, y, x) of a scene."""
    pixel_size_nm: float = Field(100.0, gt=0)
    """Side of a pixel."""
    headline: tuple[TestCase, ...] = Field(default_factory=_headline)
    """Cases whose tier-1 scores are averaged to the headline: SNR mixed, two cameras."""
    reference: tuple[TestCase, ...] = Field(default_factory=_reference)
    """Cases of fixed photons for comparison with other programs; all emitters are scored."""
