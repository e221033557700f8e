"""The section of ``hdsmlm titrate``."""

from __future__ import annotations

from pydantic import Field, model_validator

from hdsmlm.config.base import Section
from hdsmlm.config.binning import BinningConfig


class TitrationConfig(Section):
    """One titration, apart from the movie, the model and the microscope."""

    factors: tuple[int, ...] = (1, 2, 5, 10, 20)
    """Numbers of sparse frames that are added up; those for which the movie is too short are left
    out."""
    reliable_f1: float = Field(0.85, gt=0.0, lt=1.0)
    """F1 down to which a density counts as reliable."""
    binning: BinningConfig = BinningConfig(sequences=12, sequence_frames=8, snr_of="sum")
    """The sums. Labels count from SNR 2 in the sum, whose noise is that of all its summands: the
    titration is about density, not about the light that each emitter gives."""

    @model_validator(mode="after")
    def _rising(self) -> TitrationConfig:
        if not self.factors or min(self.factors) < 1:
            raise ValueError("factors must be whole numbers from 1 up")
        if list(self.factors) != sorted(set(self.factors)):
            raise ValueError("factors must rise, each once, e.g. 1, 2, 5, 10, 20")
        return self
