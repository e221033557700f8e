"""Run a Keras network on frames, during training and when it is finished."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.network import NetworkConfig
from hdsmlm.network.unet3d import build_unet3d, fold_calibration


def run_network(model: keras.Model, frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities (t, 4, y, x) of normalized frames (t, y, x)."""
    with _no_gradient():
        batch = keras.ops.convert_to_tensor(frames[None, ..., None])
        probabilities = keras.ops.convert_to_numpy(model(batch, training=False))[0]
    return np.ascontiguousarray(probabilities.transpose(0, 3, 1, 2), dtype=np.float32)


class FinishedNetwork:
    """The network that a run ships, in float32 whatever precision it was trained in.

    Parameters
    ----------
    config : NetworkConfig
        Architecture.
    weights : list of array
        In the order of the model's weights.
    """

    def __init__(self, config: NetworkConfig, weights: list[NDArray[Any]]) -> None:
        self._model = build_unet3d(config)
        self._model.set_weights(weights)

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return int(self._model.count_params())

    def __call__(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities (t, 4, y, x) of normalized frames (t, y, x)."""
        return run_network(self._model, frames)

    def fold_calibration(self, scale: float, bias: tuple[float, ...]) -> None:
        """Fold a correction of the confidence into the last convolution."""
        fold_calibration(self._model, scale, bias)

    def save_weights(self, path: Path) -> None:
        """Write a ``.weights.h5`` file."""
        self._model.save_weights(path)


def _no_gradient() -> AbstractContextManager[Any]:
    """On torch, keep no graph while only predicting."""
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()
