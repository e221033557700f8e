"""Prediction sections: decoding, calibration, engine, tiling."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hdsmlm.config.base import Section

EngineName = Literal["auto", "openvino", "onnxruntime", "keras"]
"""Who runs the network."""
Precision = Literal["f32", "bf16"]
"""Arithmetic of the engine; bf16 is faster on CPUs that have it and loses about two digits."""
CountMapFormat = Literal["tif", "zarr", "none"]
"""How the count map is written."""


class DecodingConfig(Section):
    """From the map of expected counts to emitters, one unit of mass per emitter."""

    threshold: float = Field(0.5, gt=0.0, le=1.0)
    """Least expected count that a unit must take to become an emitter; calibrated per model."""
    radius_px: float = Field(2.0, ge=0.5, le=4.0)
    """A unit takes its mass from pixels whose centre lies within this distance of its peak."""
    kernel_sigma_px: float = Field(0.5, ge=0.2, le=2.0)
    """Standard deviation of the weight with which mass is integrated to find peaks."""
    floor: float = Field(0.002, ge=0.0, le=0.2)
    """Expected counts below this are taken as zero; keeps empty background cheap."""
    exchange_rounds: int = Field(2, ge=0, le=10)
    """Rounds in which neighbouring units exchange mass in proportion to their nearness."""
    exchange_sigma_px: float = Field(0.35, ge=0.1, le=1.0)
    """Standard deviation of that nearness; certain units nearer than twice this would merge."""


class CalibrationConfig(Section):
    """Correction of the network's confidence, applied to its log-probabilities.

    ``p' = softmax(log p / temperature + class_bias)``.
    """

    temperature: float = Field(1.0, ge=0.05, le=20.0)
    """Above 1 makes the probabilities softer, below 1 sharper."""
    class_bias: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Added to the log-probability of the classes 0, 1, 2, 3+."""
    folded: bool = False
    """True where the stored network (weights and ONNX) already holds the correction; it is then
    written down here for the record and not applied again."""

    @property
    def is_pending(self) -> bool:
        """Whether prediction must still apply the correction."""
        return not self.folded and (self.temperature != 1.0 or any(self.class_bias))


class PredictionConfig(Section):
    """One prediction run, apart from the movie, the model and the output folder."""

    engine: EngineName = "auto"
    """Who runs the network; auto takes a GPU where ONNX Runtime has one, else OpenVINO."""
    precision: Precision = "f32"
    """Arithmetic of the engine."""
    threads: int | None = Field(None, ge=1)
    """Threads of the engine; null takes all cores."""
    pixel_size_nm: float | None = Field(None, gt=0.0, le=10_000.0)
    """Side of a camera pixel in the sample; null takes it from the movie's metadata."""
    tile_px: int = Field(512, ge=16)
    """Side of the tile that one call of the network answers for; larger frames are tiled."""
    chunk_frames: int | None = Field(None, ge=1, le=4096)
    """Frames that one call of the network answers for, also the unit of progress and of resuming;
    null takes 64 for networks that begin with 24 channels and more for narrower ones. Fewer where
    frames are larger than 362 × 362 (32 at 512 × 512), so that memory is bounded."""
    normalization_window: Annotated[int, Field(ge=10)] | Literal["auto", "whole"] = "auto"
    """Frames of a sliding window from which the grey levels are taken; whole takes them from the
    whole movie, auto from a window where they drift (bleaching, rising background)."""
    count_map: CountMapFormat = "tif"
    """How the count map is written; none saves time and disk."""
    first_frame: int = Field(0, ge=0)
    """First frame to predict, 0-based."""
    last_frame: int | None = Field(None, ge=1)
    """One past the last frame to predict; null goes to the end."""
    overlay_frames: int = Field(6, ge=0, le=100)
    """Number of frames, spread evenly over the movie, that are drawn with their emitters."""
    decoding: DecodingConfig | None = None
    """Null takes the decoding that the model was calibrated with."""

    @model_validator(mode="after")
    def _range(self) -> PredictionConfig:
        if self.last_frame is not None and self.last_frame <= self.first_frame:
            raise ValueError("last_frame must lie after first_frame")
        return self
