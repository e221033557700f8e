"""ONNX export with dynamic batch, time, height and width."""

from __future__ import annotations

from pathlib import Path

from hdsmlm.config.network import NetworkConfig
from hdsmlm.io.writing import atomic_path
from hdsmlm.network.graph2d import graph_of
from hdsmlm.network.unet3d import build_unet3d

INPUT = "frames"
OUTPUT = "probabilities"


def export_onnx(weights: Path, config: NetworkConfig, target: Path) -> None:
    """Write the network with the given Keras weights as ONNX.

    The graph maps ``frames`` (batch, t, y, x, 1) to ``probabilities`` (batch, t, y, x, 4); y and x
    must be multiples of ``config.spatial_multiple``. It is written from the Keras layers directly,
    the same under every backend, and holds nothing but the network.

    Parameters
    ----------
    weights : Path
        ``.weights.h5`` file of the network.
    config : NetworkConfig
        Its architecture.
    target : Path
        The ONNX file.
    """
    import onnx

    model = build_unet3d(config)
    model.load_weights(weights)
    with atomic_path(target) as temporary:
        onnx.save(graph_of(model, INPUT, OUTPUT), temporary)
