"""Scenes: short recordings by ever other virtual microscopes; training cuts patches from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.simulation import SimulationConfig
from hdsmlm.errors import ConfigError
from hdsmlm.records.emitters import Emitters
from hdsmlm.simulation.conditions import draw_conditions
from hdsmlm.simulation.recording import Recording


@dataclass(frozen=True)
class Scene:
    """A short recording and its truth.

    Parameters
    ----------
    frames : array of uint16, shape (t, y, x)
        Grey values.
    emitters : Emitters
        Truth; columns frame, x_nm, y_nm, z_nm, photons, background, sigma_nm, snr, emitter_id,
        blink_id.
    pixel_size_nm : float
        Pixel size.
    parameters : dict
        Every drawn condition as plain values.
    """

    frames: NDArray[np.uint16]
    emitters: Emitters
    pixel_size_nm: float
    parameters: dict[str, Any]


class SceneSampler:
    """Draws scenes; scene ``index`` of ``seed`` is always the same, in any process and order.

    Parameters
    ----------
    config : SimulationConfig
        Ranges.
    shape : tuple of int
        (t, y, x) of a scene.
    """

    def __init__(self, config: SimulationConfig, shape: tuple[int, int, int]) -> None:
        if len(shape) != 3 or min(shape) < 1:
            raise ConfigError(f"a scene needs a shape (t, y, x) of positive numbers, got {shape}")
        self.config = config
        self.shape = shape

    def draw(self, seed: int, index: int) -> Scene:
        """Return scene ``index``; a pure function of the config, the shape, seed and index."""
        conditions = draw_conditions(self.config, np.random.default_rng([seed, index]))
        n_frames, height, width = self.shape
        recording = Recording(conditions, (height, width), (seed, index), horizon=n_frames)
        frames, emitters = recording.read(n_frames)
        return Scene(frames, emitters, conditions.pixel_size_nm, conditions.model_dump(mode="json"))
