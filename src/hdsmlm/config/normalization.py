"""Normalization section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hdsmlm.config.base import Section


class NormalizationConfig(Section):
    """Percentile clip and linear scaling of raw frames to [-1, 1]."""

    low_percentile: float = Field(20.0, ge=0.0, lt=100.0)
    """Percentile of the movie's pixel values that becomes -1."""
    high_percentile: float = Field(99.0, gt=0.0, le=100.0)
    """Percentile of the movie's pixel values that becomes +1."""
    window_frames: Annotated[int, Field(ge=10)] | Literal["auto"] | None = None
    """Length of the sliding time window for drifting grey levels; null uses the whole movie, auto a
    window where the levels drift."""

    @model_validator(mode="after")
    def _ordered(self) -> NormalizationConfig:
        if self.low_percentile >= self.high_percentile:
            raise ValueError("low_percentile must be below high_percentile")
        return self
