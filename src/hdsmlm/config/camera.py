"""Camera sections: one camera with fixed numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from hdsmlm.config.base import Section


class EmccdConfig(Section):
    """An electron-multiplying CCD."""

    kind: Literal["emccd"] = "emccd"
    """Tag of this camera."""
    quantum_efficiency: float = Field(0.9, gt=0, le=1)
    """Photo-electrons per photon."""
    em_gain: float = Field(200.0, gt=1, le=5000)
    """Mean multiplication of the register; the excess noise F² = 2 holds for gains well above 1."""
    read_noise_e: float = Field(60.0, ge=0)
    """Standard deviation of the read noise in electrons after the register."""
    spurious_charge_e: float = Field(0.002, ge=0)
    """Clock-induced charge and dark current, electrons per pixel and frame before the register."""
    e_per_adu: float = Field(45.0, gt=0)
    """Electrons (after the register) per grey value."""
    baseline_adu: float = Field(100.0, ge=0, le=60000)
    """Grey value without any charge."""


class ScmosConfig(Section):
    """A scientific CMOS camera, with maps per pixel or one number for all pixels."""

    kind: Literal["scmos"] = "scmos"
    """Tag of this camera."""
    quantum_efficiency: float = Field(0.8, gt=0, le=1)
    """Photo-electrons per photon."""
    gain_adu_per_e: float = Field(2.0, gt=0)
    """Grey values per photo-electron; the median where pixels differ."""
    read_noise_e: float = Field(1.6, ge=0)
    """Read noise, standard deviation in electrons; the median where pixels differ."""
    baseline_adu: float = Field(100.0, ge=0, le=60000)
    """Grey value without light; the median where pixels differ."""
    dark_e: float = Field(0.0, ge=0)
    """Dark current, electrons per pixel and frame."""
    gain_spread: float = Field(0.0, ge=0, lt=0.3)
    """Relative standard deviation of the gain between pixels."""
    read_noise_spread: float = Field(0.0, ge=0, le=1.5)
    """Standard deviation of the log of the read noise between pixels."""
    baseline_spread_adu: float = Field(0.0, ge=0)
    """Standard deviation of the offset between pixels, in grey values."""
    hot_pixel_fraction: float = Field(0.0, ge=0, le=0.1)
    """Share of pixels whose read noise is 4 to 12 times the median."""
    map_seed: int = Field(0, ge=0)
    """Seed of the maps that are drawn from the spreads above."""
    gain_map: Path | None = None
    """Measured gain, grey values per photo-electron (.npy or .tif); replaces ``gain_adu_per_e``."""
    variance_map: Path | None = None
    """Measured read variance in grey values² (.npy or .tif); replaces ``read_noise_e``."""
    offset_map: Path | None = None
    """Measured offset in grey values (.npy or .tif); replaces ``baseline_adu``."""


class IdealConfig(Section):
    """A camera that counts photons: shot noise alone."""

    kind: Literal["ideal"] = "ideal"
    """Tag of this camera."""
    quantum_efficiency: float = Field(1.0, gt=0, le=1)
    """Photo-electrons per photon."""
    gain_adu_per_e: float = Field(1.0, gt=0)
    """Grey values per photo-electron."""
    baseline_adu: float = Field(100.0, ge=0, le=60000)
    """Grey value without light."""


CameraConfig = Annotated[EmccdConfig | ScmosConfig | IdealConfig, Field(discriminator="kind")]
"""Any camera; ``kind`` chooses."""
