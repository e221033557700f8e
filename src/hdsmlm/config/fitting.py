"""Settings of the fit: regions, groups, search ranges and the choice of how many emitters."""

from __future__ import annotations

from pydantic import Field, model_validator

from hdsmlm.config.base import Section


class FitConfig(Section):
    """The frame-wise multi-emitter fit."""

    region_sigmas: float = Field(3.0, ge=1.5, le=6.0)
    """Half-side of the square of pixels fitted around an emitter, in PSF standard deviations,
    rounded to whole pixels."""
    group_sigmas: float = Field(3.5, ge=0.0, le=8.0)
    """Emitters closer than this many standard deviations are fitted together."""
    max_group_size: int = Field(8, ge=1, le=16)
    """Larger groups are cut; the neighbours outside are then held fixed, sweep by sweep."""
    sweeps: int = Field(3, ge=1, le=10)
    """How often groups with neighbours are fitted, each time with their neighbours' latest fit."""
    max_shift_px: float = Field(2.0, gt=0.1, le=5.0)
    """Farthest that an emitter may move from where it was detected, along each axis."""
    max_iterations: int = Field(40, ge=3, le=500)
    """Levenberg-Marquardt steps of one fit; a fit that needs more is flagged."""
    free_width: bool = False
    """Fit one common width per group (Gaussian PSF only), from half to twice the PSF's."""
    z_range_nm: tuple[float, float] | None = None
    """Depths to search with a three-dimensional PSF; null takes the range of the PSF."""
    choose_count: bool = True
    """Try one emitter fewer and one more where the data or the count map leave a doubt."""
    keep_alternatives: bool = False
    """Return the rejected numbers of emitters with their weights in a second table."""
    photons_low: float = Field(30.0, gt=0.0)
    """Lower end of the photons that are thought possible; the prior is flat in their logarithm."""
    photons_high: float = Field(100_000.0, gt=0.0)
    """Upper end of the photons that are thought possible."""
    threads: int | None = Field(None, ge=1)
    """Threads of the fit; null takes all cores. The result is the same for any number."""

    @model_validator(mode="after")
    def _ordered(self) -> FitConfig:
        if self.photons_high <= self.photons_low:
            raise ValueError("photons_high must exceed photons_low")
        if self.z_range_nm is not None and self.z_range_nm[0] >= self.z_range_nm[1]:
            raise ValueError("z_range_nm must be (low, high) with low < high")
        return self
