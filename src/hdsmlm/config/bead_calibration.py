"""How a PSF is measured from stacks of beads."""

from __future__ import annotations

from pydantic import Field

from hdsmlm.config.base import Section


class BeadCalibrationConfig(Section):
    """From bead stacks to a spline PSF."""

    z_step_nm: float = Field(gt=0, le=500)
    """Distance between the planes of a stack."""
    pixel_size_nm: float | None = Field(None, gt=5, le=1000)
    """Pixel size in the sample; by default the one in the stack's metadata."""
    radius_px: int = Field(13, ge=4, le=40)
    """Half-width of the region cut around a bead; light further out is not part of the PSF."""
    z_knot_nm: float = Field(50.0, ge=5, le=500)
    """Height of the spline's cells; not below the step between planes."""
    smoothing: float = Field(0.02, ge=0, le=100)
    """Penalty on the second difference along z, relative to the weight of the data."""
    threshold: float = Field(0.2, gt=0, lt=1)
    """A bead is taken when it has this share of the contrast of the bright ones."""
    fit_radius_px: int = Field(9, ge=3, le=40)
    """Half-width of the region in which single planes are fitted to test the calibration."""
