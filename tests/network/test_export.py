"""The ONNX graph is the Keras model, at any batch, time, height and width."""

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest

from hdsmlm.config.network import NetworkConfig
from hdsmlm.network.export import INPUT, OUTPUT, export_onnx
from hdsmlm.network.unet3d import build_unet3d

CONFIG = NetworkConfig(widths=(4, 6, 8), head_channels=4)


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
