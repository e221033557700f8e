"""The whole configuration of a training run: everything that makes a model."""

from __future__ import annotations

from pydantic import Field, model_validator

from hdsmlm.config.base import Section
from hdsmlm.config.data import DataConfig
from hdsmlm.config.network import NetworkConfig
from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.config.simulation import SimulationConfig
from hdsmlm.config.training import TrainingConfig


class RunConfig(Section):
    """Configuration of ``hdsmlm train``; one file repeats the run."""

    name: str = Field("model", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the model; its bundle folder and its runs carry it."""
    simulation: SimulationConfig = SimulationConfig()
    """What the virtual microscopes look like."""
    data: DataConfig = DataConfig()
    """What is learnt from: the simulator alone, or with binned recordings."""
    normalization: NormalizationConfig = NormalizationConfig()
    """Percentile clip and scaling."""
    network: NetworkConfig = NetworkConfig()
    """Architecture."""
    training: TrainingConfig = TrainingConfig()
    """Optimization."""

    @model_validator(mode="after")
    def _patch_fits_network(self) -> RunConfig:
        multiple = self.network.spatial_multiple
        if self.training.patch_px % multiple:
            raise ValueError(
                f"training.patch_px {self.training.patch_px} must be a multiple of {multiple} "
                "(stem_stride x 2^depth of the network)"
            )
        return self

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the scores that a validation gives; of them a search compares one.

        Examples
        --------
        >>> RunConfig().score_names
        ('loss', 'recall', 'precision', 'f1')
        """
        names = ["loss", "recall", "precision", "f1"]
        for source in self.data.binned:
            names += [f"{source.title}_loss", f"{source.title}_f1"]
        return (*names, *(["mixed_loss"] if self.data.binned else []))
