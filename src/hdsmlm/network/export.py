"""ONNX export with dynamic batch, time, height and width.

Keras' own exporter cannot trace a U-Net of free size, on torch or on JAX; a thin
``torch.nn.Module`` around the Keras model can be exported. The export therefore always runs on the
torch backend; with another backend active it runs in a process of its own (weights written under
one backend load under the other).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import keras

from hdsmlm.config.base import load_section, write_yaml
from hdsmlm.config.network import NetworkConfig
from hdsmlm.errors import HdsmlmError
from hdsmlm.io.writing import atomic_path
from hdsmlm.network.unet3d import build_unet3d

INPUT = "frames"
OUTPUT = "probabilities"


def export_onnx(weights: Path, config: NetworkConfig, target: Path) -> None:
    """Write the network with the given Keras weights as ONNX.

    The graph maps ``frames`` (batch, t, y, x, 1) to ``probabilities`` (batch, t, y, x, 4); y and x
    must be multiples of ``config.spatial_multiple``.

    Parameters
    ----------
    weights : Path
        ``.weights.h5`` file of the network.
    config : NetworkConfig
        Its architecture.
    target : Path
        The ONNX file.
    """
    if keras.backend.backend() == "torch":
        _export_with_torch(weights, config, target)
        return
    with tempfile.TemporaryDirectory() as folder:
        section = Path(folder) / "network.yaml"
        write_yaml(config, section)
        command = [sys.executable, "-m", "hdsmlm.network.export", weights, section, target]
        done = subprocess.run(
            [*map(str, command)],
            env={**os.environ, "KERAS_BACKEND": "torch"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise HdsmlmError(f"the ONNX export failed: {done.stderr.strip().splitlines()[-1:]}")


def _export_with_torch(weights: Path, config: NetworkConfig, target: Path) -> None:
    with keras.device("cpu"):  # Keras would bring the traced input to the GPU
        _trace(weights, config, target)


def _trace(weights: Path, config: NetworkConfig, target: Path) -> None:
    import torch
    from torch.export import Dim

    model = build_unet3d(config)
    model.load_weights(weights)

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return self.network(frames)

    multiple = config.spatial_multiple
    side = 4 * multiple
    example = torch.zeros(2, 5, side, side, 1)
    sizes = {
        0: Dim("batch"),
        1: Dim("t"),
        2: multiple * Dim("rows"),
        3: multiple * Dim("columns"),
    }
    with atomic_path(target) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch's exporter
        torch.onnx.export(
            Graph().eval(),
            (example,),
            str(temporary),
            dynamo=True,
            external_data=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"frames": sizes},
            verbose=False,
        )
        _forget_origin(temporary)


def _forget_origin(path: Path) -> None:
    """Drop the exporter's notes on each node: stack traces with the paths of this machine."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
    onnx.save(model, path)


if __name__ == "__main__":
    _weights, _section, _target = map(Path, sys.argv[1:])
    _export_with_torch(_weights, load_section(NetworkConfig, _section), _target)
