"""Settings of what is done with a table: linking, drift, resolution, precision, pictures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hdsmlm.config.base import Section


class LinkConfig(Section):
    """When localizations of different frames are the same blink."""

    radius_nm: float | None = Field(None, gt=0)
    """Largest lateral distance from the blink so far, in nm; null: from the uncertainties."""
    n_sigmas: float = Field(3.5, gt=0, le=20)
    """Without a radius: largest distance in combined standard errors."""
    max_dark_frames: int = Field(1, ge=0, le=100_000)
    """Frames in a row in which a blink may be unseen and still go on."""


class DriftConfig(Section):
    """How the drift of the sample is estimated."""

    method: Literal["rcc", "comet"] = "rcc"
    """Redundant cross-correlation, or COMET (extra ``drift``)."""
    segments: int | None = Field(None, ge=3, le=200)
    """Time segments; null: as many as hold enough localizations, at most 12."""
    max_drift_nm: float = Field(500.0, gt=0, le=20_000)
    """Largest displacement between any two segments, in nm."""
    pixel_size_nm: float = Field(20.0, gt=0, le=500)
    """Pixel of the images that are correlated, in nm."""
    max_residual_nm: float = Field(20.0, gt=0)
    """Measured displacements that contradict the others by more are dropped, in nm."""
    passes: int = Field(2, ge=1, le=10)
    """Measurements; each after the first measures the drift that the ones before left."""


class FrcConfig(Section):
    """How the Fourier ring correlation is computed."""

    pixel_size_nm: float = Field(5.0, gt=0, le=500)
    """Pixel of the images that are correlated, in nm; at most a quarter of the resolution."""
    block_frames: int = Field(500, ge=0)
    """Frames in a row that stay in the same half; 0 gives each localization to a half by lot."""
    repeats: int = Field(5, ge=1, le=100)
    """Random splits that are averaged."""
    seed: int = Field(0, ge=0)
    """Seed of the splits."""
    threshold: float = Field(1 / 7, gt=0, lt=1)
    """The resolution is where the correlation falls below this."""


class NenaConfig(Section):
    """How the precision is read from nearest neighbours in consecutive frames."""

    max_distance_nm: float | None = Field(None, gt=0)
    """Largest distance that is fitted, in nm; null: from the distances themselves."""
    bins: int = Field(100, ge=20, le=2000)
    """Bins of the histogram of distances."""


class RenderConfig(Section):
    """How a table becomes a picture."""

    pixel_size_nm: float = Field(10.0, gt=0, le=10_000)
    """Pixel of the picture, in nm."""
    kind: Literal["auto", "gaussian", "histogram"] = "auto"
    """Each localization as a Gaussian of its uncertainty, or as one count; auto: a Gaussian where
    the table has uncertainties or ``sigma_nm`` is given."""
    sigma_nm: float | None = Field(None, gt=0)
    """Width of every Gaussian, in nm; null: the localization's own uncertainty."""
    min_sigma_nm: float = Field(2.0, ge=0)
    """Gaussians are drawn at least this wide, in nm."""
    region_nm: tuple[float, float, float, float] | None = None
    """x from, x to, y from, y to, in nm; null: all localizations."""
    colour_by: str | None = None
    """Column whose mean colours each pixel, e.g. ``frame`` or ``z_nm``."""
    colour_range: tuple[float, float] | None = None
    """Values at the ends of the colour map; null: the 1st and 99th percentile of the column."""
    colour_map: str | None = None
    """Name of a Matplotlib colour map; null: inferno, or turbo with ``colour_by``."""
    percentile: float = Field(99.5, gt=0, le=100)
    """Percentile of the pixels that hold light which is shown brightest."""
    scale_bar_nm: float | None = Field(None, ge=0)
    """Length of the scale bar, in nm; null: about a fifth of the width, 0: none."""

    @model_validator(mode="after")
    def _ascending(self) -> RenderConfig:
        for name in ("region_nm", "colour_range"):
            ends = getattr(self, name) or ()
            if any(low >= high for low, high in zip(ends[::2], ends[1::2], strict=True)):
                raise ValueError(f"{name} wants each range as low before high, got {ends}")
        return self
