"""The port that every inference engine fills."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

INPUT_NAME = "frames"


class InferenceEngine(Protocol):
    """Runs the network of one bundle; must be used by one thread at a time."""

    @property
    def name(self) -> str:
        """Registry name, e.g. ``"openvino"``."""

    @property
    def device(self) -> str:
        """Where it runs and how precisely, for reports, e.g. ``"CPU, f32"``."""

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU, which workers then do not share."""

    def run(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network.

        Parameters
        ----------
        frames : array of float32, shape (b, t, y, x)
            Normalized to [-1, 1]; y and x are multiples of the bundle's ``spatial_multiple``.

        Returns
        -------
        array of float32, shape (b, t, y, x, 4)
            Probabilities of 0, 1, 2 and 3+ emitters, valid until the next call.
        """
