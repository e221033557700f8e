"""The section of ``hdsmlm localize``: predict, decode, fit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hdsmlm.config.base import Section
from hdsmlm.config.fitting import FitConfig
from hdsmlm.config.prediction import PredictionConfig
from hdsmlm.config.spacetime import SpaceTimeConfig


class LocalizeConfig(Section):
    """One run of the fit, apart from the movie, the model, the microscope and the table."""

    fit: Literal["joint", "frame"] = "joint"
    """joint: blinks in space and time, one place per blink; frame: every frame by itself."""
    prediction: PredictionConfig = PredictionConfig(count_map="none", overlay_frames=0)
    """Network and frames; the count map is used, not written."""
    spacetime: SpaceTimeConfig = SpaceTimeConfig()
    """Of the joint fit."""
    frames: FitConfig = FitConfig()
    """Of the fit frame by frame."""
    tile_px: int = Field(256, ge=32, le=4096)
    """Larger frames are fitted in tiles of this side (joint fit)."""
    threads: int | None = Field(None, ge=1)
    """Threads of the fit; null takes all cores. The result is the same for any number."""

    @model_validator(mode="after")
    def _margin_within_core(self) -> LocalizeConfig:
        if self.spacetime.margin_frames > self.spacetime.core_frames:
            raise ValueError("spacetime.margin_frames must not exceed spacetime.core_frames")
        return self
