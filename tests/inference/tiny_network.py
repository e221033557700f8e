"""A small network whose answer really depends on its whole neighbourhood, in a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hdsmlm.bundle import Bundle, BundleContent, BundleManifest, write_bundle
from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.records.provenance import Provenance

STRIDE = 4
RECEPTIVE_PX = 8
RECEPTIVE_FRAMES = 2


def tiny_network(seed: int = 0, sharpness: float = 1.0) -> onnx.ModelProto:
    """3x3x3 convolution, pool by 4, 3x3x3 convolution, unpool, add the skip, softmax over 4.

    A pixel sees its pooling cell and the cells around it (7 px), one pixel more through the first
    convolution, and two frames to each side: what the manifest below says.
    """
    rng = np.random.default_rng(seed)
    weights = {
        "first": rng.normal(0, 0.4, (6, 1, 3, 3, 3)),
        "pool": rng.normal(0, 0.2, (8, 6, 1, STRIDE, STRIDE)),
        "deep": rng.normal(0, 0.3, (8, 8, 3, 3, 3)),
        "unpool": rng.normal(0, 0.4, (8, 6, 1, STRIDE, STRIDE)),
        "head": sharpness * rng.normal(0, 0.8, (4, 6, 1, 1, 1)),
    }
    ones = {"pads": [1, 1, 1, 1, 1, 1]}
    strides = {"strides": [1, STRIDE, STRIDE]}
    nodes = [
        helper.make_node("Transpose", ["frames"], ["in"], perm=[0, 4, 1, 2, 3]),
        helper.make_node("Conv", ["in", "first"], ["a"], **ones),
        helper.make_node("Tanh", ["a"], ["skip"]),
        helper.make_node("Conv", ["skip", "pool"], ["b"], **strides),
        helper.make_node("Tanh", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "deep"], ["d"], **ones),
        helper.make_node("Tanh", ["d"], ["e"]),
        helper.make_node("ConvTranspose", ["e", "unpool"], ["f"], **strides),
        helper.make_node("Add", ["f", "skip"], ["g"]),
        helper.make_node("Conv", ["g", "head"], ["h"]),
        helper.make_node("Transpose", ["h"], ["logits"], perm=[0, 2, 3, 4, 1]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    shape = ["b", "t", "y", "x"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, [*shape, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [*shape, 4])],
        [numpy_helper.from_array(value.astype("f4"), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def tiny_manifest(**changes: object) -> BundleManifest:
    values: dict[str, object] = {
        "name": "tiny",
        "description": "A random network for tests.",
        "created": "2026-01-01T00:00:00+00:00",
        "network": {},
        "normalization": NormalizationConfig(),
        "window_frames": 3,
        "receptive_frames": RECEPTIVE_FRAMES,
        "receptive_px": RECEPTIVE_PX,
        "spatial_multiple": STRIDE,
        "min_size_px": 8,
    }
    return BundleManifest.model_validate({**values, **changes})


def write_tiny_bundle(folder: Path, model: onnx.ModelProto, manifest: BundleManifest) -> Bundle:
    folder.parent.mkdir(parents=True, exist_ok=True)
    graph = folder.parent / "graph.onnx"
    onnx.save(model, str(graph))
    return write_bundle(
        folder,
        manifest,
        BundleContent(graph, None, "{}\n", Provenance("test", {}), "# tiny\n"),
    )
