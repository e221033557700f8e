"""Domain gap of a movie to what a model is trained on."""

from __future__ import annotations

from hdsmlm.bundle import Bundle
from hdsmlm.bundle.manifest import CONFIG_FILE
from hdsmlm.config.base import load_section
from hdsmlm.config.run import RunConfig
from hdsmlm.estimation.domain import (
    DomainGap,
    TrainingScenes,
    domain_gap,
    patches_of_sample,
)
from hdsmlm.estimation.sample import FrameSample, sample_frames
from hdsmlm.records.movie import MovieReader


def gap_to_bundle(sample: FrameSample, bundle: Bundle) -> DomainGap:
    """Return the gap between a movie's sample and the simulated scenes of a model.

    Raises
    ------
    MovieError
        When the movie is too small or holds no contrast.
    ConfigError
        When the bundle's configuration cannot be read.
    """
    config = load_section(RunConfig, bundle.folder / CONFIG_FILE)
    movie = patches_of_sample(sample, config.normalization)
    return domain_gap(movie, TrainingScenes(config.simulation, config.normalization))


def gap_of_movie(reader: MovieReader, config: RunConfig) -> DomainGap:
    """Return the gap between a movie and the simulated scenes of a training configuration."""
    movie = patches_of_sample(sample_frames(reader), config.normalization)
    return domain_gap(movie, TrainingScenes(config.simulation, config.normalization))
