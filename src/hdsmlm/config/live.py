"""The section of a live run: localizing while the microscope writes."""

from __future__ import annotations

from pydantic import Field

from hdsmlm.config.base import Section
from hdsmlm.config.fitting import FitConfig
from hdsmlm.config.prediction import DecodingConfig, EngineName, Precision


class LiveConfig(Section):
    """How a movie that grows is followed."""

    block_frames: int = Field(32, ge=8, le=1024)
    """New frames that are localized together; fewer give an earlier answer and take more time."""
    poll_s: float = Field(0.5, gt=0, le=60)
    """Time between two looks at the folder or file."""
    idle_s: float = Field(60.0, gt=0, le=86_400)
    """The movie counts as complete when nothing was added for so long."""
    flush_s: float = Field(2.0, gt=0, le=3600)
    """Frames that do not fill a block are localized when nothing was added for so long."""
    estimate_frames: int = Field(100, ge=20, le=10_000)
    """Frames from which camera and PSF are estimated where they are not given."""
    levels_frames: int = Field(200, ge=20, le=5000)
    """Latest frames from which the grey levels are taken."""
    engine: EngineName = "auto"
    """Who runs the network."""
    precision: Precision = "f32"
    """Arithmetic of the network."""
    decoding: DecodingConfig | None = None
    """Null takes the decoding that the model was calibrated with."""
    frames: FitConfig = FitConfig()
    """The fit, frame by frame."""
