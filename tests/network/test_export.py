"""The ONNX graph is the Keras model, at any batch, time, height and width."""

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest

from hdsmlm.config.network import NetworkConfig
from hdsmlm.inference.engines.openvino_engine import process_core
from hdsmlm.network.export import INPUT, OUTPUT, export_onnx
from hdsmlm.network.graph2d import graph_of
from hdsmlm.network.unet3d import build_unet3d

CONFIG = NetworkConfig(widths=(4, 6, 8), head_channels=4)
ARCHITECTURES = {
    "default": CONFIG,
    "full resolution": NetworkConfig(widths=(4, 6), head_channels=4, stem_stride=1),
    "joint kernels": NetworkConfig(widths=(4, 6), head_channels=4, factorized=False),
    "five frames": NetworkConfig(widths=(4, 6), head_channels=4, time_kernel=5, up_time=True),
    "no time": NetworkConfig(widths=(4, 6), head_channels=4, time_kernel=1, stem_stride=1),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    model = build_unet3d(CONFIG, seed=7)
    model.save_weights(folder / "model.weights.h5")
    export_onnx(folder / "model.weights.h5", CONFIG, folder / "model.onnx")
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    return model, session


def test_onnx_tells_nothing_of_the_machine_that_wrote_it(exported, tmp_path):
    model, _ = exported
    model.save_weights(tmp_path / "model.weights.h5")
    export_onnx(tmp_path / "model.weights.h5", CONFIG, tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    assert str(Path(keras.__file__).parent).encode() not in content
    assert b".py" not in content


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (2, 5, 32, 40), (1, 9, 72, 16)])
def test_onnx_is_keras(exported, shape):
    model, session = exported
    frames = np.random.default_rng(1).uniform(-1, 1, (*shape, 1)).astype(np.float32)
    (onnx,) = session.run([OUTPUT], {INPUT: frames})
    expected = keras.ops.convert_to_numpy(model(keras.ops.convert_to_tensor(frames)))
    assert onnx.shape == (*shape, 4)
    np.testing.assert_allclose(onnx, expected, atol=1e-5)


def network_of(config: NetworkConfig) -> keras.Model:
    """Return a network whose every weight counts: some start at zero."""
    model = build_unet3d(config, seed=3)
    draw = np.random.default_rng(5)
    model.set_weights([w + draw.normal(0, 0.1, w.shape) for w in model.get_weights()])
    return model


def run_onnxruntime(path: Path, frames: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {INPUT: frames})[0]


def run_openvino(path: Path, frames: np.ndarray) -> np.ndarray:
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = process_core().compile_model(str(path), "CPU", options)
    return compiled([frames])[0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_exported_as_it_is(name, tmp_path):
    config = ARCHITECTURES[name]
    model = network_of(config)
    model.save_weights(tmp_path / "model.weights.h5")
    export_onnx(tmp_path / "model.weights.h5", config, tmp_path / "model.onnx")
    for shape in ((1, 1, 8, 16), (3, 4, 16, 8)):
        frames = np.random.default_rng(2).uniform(-1, 1, (*shape, 1)).astype(np.float32)
        expected = keras.ops.convert_to_numpy(model(keras.ops.convert_to_tensor(frames)))
        for run in (run_onnxruntime, run_openvino):
            np.testing.assert_allclose(run(tmp_path / "model.onnx", frames), expected, atol=2e-5)


def test_the_graph_has_but_two_dimensional_convolutions(tmp_path):
    """Engines have their fast convolutions for those alone."""
    graph = graph_of(network_of(ARCHITECTURES["five frames"]), INPUT, OUTPUT).graph
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    convolutions = [node for node in graph.node if "Conv" in node.op_type]
    assert {ranks[node.input[1]] for node in convolutions} == {4}


def test_a_layer_that_the_export_does_not_know_is_named():
    frames = keras.Input((None, None, None, 1))
    model = keras.Model(frames, keras.layers.MaxPooling3D((1, 2, 2), name="pool")(frames))
    with pytest.raises(TypeError, match=r"no layer like pool \(MaxPooling3D\)"):
        graph_of(model, INPUT, OUTPUT)
