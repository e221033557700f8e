"""Domain gap between the experimental sources of a run and what its simulator draws."""

from __future__ import annotations

import numpy as np

from hdsmlm.config.run import RunConfig
from hdsmlm.errors import MovieError
from hdsmlm.estimation.domain import DomainGap, TrainingScenes, domain_gap, patches_of_scenes
from hdsmlm.training.sources import open_sources

_RECORDINGS = 9
"""Sequences of a binned source that are compared."""


def gaps_of_sources(config: RunConfig) -> dict[str, DomainGap | str]:
    """Return, for each binned source of a run, its gap to the simulated scenes, or why none.

    Raises
    ------
    ConfigError
        When a source is missing or damaged.
    """
    found: dict[str, DomainGap | str] = {}
    training = None
    for source in open_sources(config):
        n_sequences = source.sequences.n_sequences
        rows = np.unique(np.linspace(0, n_sequences - 1, _RECORDINGS).astype(int))
        recordings = [source.sequences.sequence(int(row)).frames for row in rows]
        try:
            patches = patches_of_scenes(recordings, config.normalization)
        except MovieError as error:
            found[source.identity.name] = str(error)
            continue
        training = training or TrainingScenes(config.simulation, config.normalization)
        found[source.identity.name] = domain_gap(patches, training)
    return found
