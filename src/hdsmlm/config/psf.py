"""PSF sections: one point-spread function with fixed numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hdsmlm.config.base import Section


class GaussianPsfConfig(Section):
    """A Gaussian integrated over the pixel; the same at every depth."""

    kind: Literal["gaussian"] = "gaussian"
    """Tag of this PSF."""
    sigma_px: float = Field(1.3, gt=0.2, le=10)
    """Standard deviation in pixels."""


class AstigmaticPsfConfig(Section):
    """A Gaussian whose two widths change with depth (cylindrical lens; Huang et al. 2008)."""

    kind: Literal["astigmatic"] = "astigmatic"
    """Tag of this PSF."""
    sigma_px: float = Field(1.3, gt=0.2, le=10)
    """Width of either axis at its own focus, pixels."""
    focus_offset_nm: float = Field(250.0, ge=-2000, le=2000)
    """The x axis is in focus at +offset, the y axis at -offset; below 0 the other way round."""
    focal_depth_nm: float = Field(400.0, gt=10, le=5000)
    """Depth d from a focus at which the squared width has doubled."""


class DiffractionPsfConfig(Section):
    """Scalar diffraction of a circular pupil with defocus (Airy pattern in focus)."""

    kind: Literal["diffraction"] = "diffraction"
    """Tag of this PSF."""
    numerical_aperture: float = Field(1.4, gt=0.1, le=1.7)
    """Numerical aperture of the objective."""
    refractive_index: float = Field(1.518, ge=1, le=2)
    """Refractive index of the immersion medium."""
    wavelength_nm: float = Field(670.0, ge=300, le=1200)
    """Emission wavelength in vacuum."""
    pixel_size_nm: float = Field(100.0, gt=5, le=1000)
    """Pixel size in the sample plane."""
    max_defocus_nm: float = Field(600.0, ge=0, le=3000)
    """The table covers z from -max to +max."""

    @model_validator(mode="after")
    def _physical(self) -> DiffractionPsfConfig:
        if self.numerical_aperture >= self.refractive_index:
            raise ValueError(
                f"numerical_aperture {self.numerical_aperture:g} must be below the refractive "
                f"index {self.refractive_index:g}"
            )
        return self


class SplinePsfConfig(Section):
    """A cubic spline through a measured stack of beads (Li et al. 2018)."""

    kind: Literal["spline"] = "spline"
    """Tag of this PSF."""
    path: Path
    """Calibration: spline.npz of ``hdsmlm calibrate``, or a .mat of SMAP or fit3Dspline."""
    pixel_size_nm: float | None = Field(None, gt=5, le=1000)
    """Pixel size of the movie; must be the calibration's. Needed for a .mat that lacks it."""


PsfConfig = Annotated[
    GaussianPsfConfig | AstigmaticPsfConfig | DiffractionPsfConfig | SplinePsfConfig,
    Field(discriminator="kind"),
]
"""Any PSF; ``kind`` chooses."""
