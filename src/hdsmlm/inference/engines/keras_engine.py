"""Keras: the reference that the other engines are tested against."""

from __future__ import annotations

import os
import warnings

import numpy as np
from numpy.typing import NDArray

from hdsmlm.bundle import Bundle
from hdsmlm.config.base import parse_section
from hdsmlm.config.network import NetworkConfig
from hdsmlm.errors import BundleError, MissingExtraError


class KerasEngine:
    """Rebuilds the network from the bundle's description and runs it with its Keras weights.

    The backend is the one that the environment variable ``KERAS_BACKEND`` names, else torch.

    Parameters
    ----------
    bundle : Bundle
        The model; needs its weights file.
    """

    name = "keras"
    on_gpu = False  # it is the reference, and runs beside the engines that it checks

    def __init__(self, bundle: Bundle):
        os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras' own default is TensorFlow
        try:
            import keras

            from hdsmlm.network.unet3d import build_unet3d
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                error.name or "keras", "train", "to predict with --engine keras"
            ) from None
        if not bundle.weights_path.is_file():
            raise BundleError(
                f"{bundle.folder} holds no Keras weights; use --engine openvino or onnxruntime"
            )
        config = parse_section(
            NetworkConfig, bundle.manifest.network, f"{bundle.folder}: bundle.yaml, network"
        )
        self._model = build_unet3d(config)
        try:
            with warnings.catch_warnings():
                # Keras only warns where it leaves a layer with its random weights.
                warnings.simplefilter("error", UserWarning)
                self._model.load_weights(bundle.weights_path)
        except (ValueError, OSError, UserWarning) as error:
            raise BundleError(
                f"{bundle.weights_path} does not fit the network that bundle.yaml describes: "
                f"{str(error).splitlines()[0]}. Export the bundle again"
            ) from error
        self.device = f"Keras on {keras.backend.backend()}, f32"

    def run(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network; see :class:`~hdsmlm.inference.engines.port.InferenceEngine`."""
        import keras

        values = np.ascontiguousarray(frames, dtype=np.float32)[..., None]
        return keras.ops.convert_to_numpy(self._model.predict_on_batch(values))
