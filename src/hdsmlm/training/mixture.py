"""The mixture of a run: each scene is of one of its sources, chosen by seed and index alone."""

from __future__ import annotations

import zlib

import numpy as np

from hdsmlm.config.run import RunConfig
from hdsmlm.simulation.scene import SceneSampler
from hdsmlm.training.binned import BinnedPatches
from hdsmlm.training.patches import Patches, patches_of_scene
from hdsmlm.training.sources import OpenSource, open_sources

_CHOICE, _PLACES = 5_000_000_011, 5_000_000_029
"""Parts of the seeds that keep the draws here apart from those of the simulator."""


class Mixture:
    """Draws the patches of scene after scene.

    Parameters
    ----------
    config : RunConfig
        The run; without binned sources the scenes are those of the simulator alone.
    sources : tuple of OpenSource
        Its binned sources, opened, in their order.
    """

    def __init__(self, config: RunConfig, sources: tuple[OpenSource, ...]) -> None:
        self._config = config
        self._sampler = SceneSampler(config.simulation, config.training.scene_shape)
        self._weights = np.array(config.data.weights)
        self._names = config.data.names
        self._binned = [
            BinnedPatches(
                source.sequences,
                source.learnt_rows,
                config.training,
                config.normalization,
                source.rotate,
            )
            for source in sources
        ]

    @classmethod
    def of(cls, config: RunConfig) -> Mixture:
        """Open the sources of a run.

        Raises
        ------
        ConfigError
            When a folder is missing or does not fit the run.
        """
        return cls(config, open_sources(config))

    def source_of(self, index: int) -> int:
        """Return the number of the source of a scene; 0 is the simulator."""
        if not self._binned:
            return 0
        rng = np.random.default_rng([self._config.training.seed, _CHOICE, index])
        return int(rng.choice(len(self._weights), p=self._weights))

    def patches(self, index: int) -> Patches:
        """Return the patches of a scene, a pure function of the config and the index."""
        seed = self._config.training.seed
        number = self.source_of(index)
        if number == 0:
            return patches_of_scene(self._sampler.draw(seed, index), self._config)
        name = zlib.crc32(self._names[number].encode())
        rng = np.random.default_rng([seed, _PLACES, name, index])
        return self._binned[number - 1].draw(rng)

    def group(self, number: int) -> Patches:
        """Return the shuffled patches of one group of scenes."""
        training = self._config.training
        first = number * training.scenes_per_group
        whole = Patches.joined([self.patches(first + k) for k in range(training.scenes_per_group)])
        order = np.random.default_rng((training.seed, number)).permutation(len(whole))
        return whole.select(order)
