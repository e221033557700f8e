"""Starting a run from a trained model: the same answers, also with blocks added."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("torch")

from hdsmlm.bundle import load_bundle
from hdsmlm.config.base import parse_section
from hdsmlm.config.network import NetworkConfig
from hdsmlm.errors import BundleError, ConfigError
from hdsmlm.network.unet3d import build_unet3d
from hdsmlm.training.start import take_weights


def _trained_config() -> NetworkConfig:
    return parse_section(NetworkConfig, load_bundle("wolf").manifest.network, "wolf")


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (1, 3, 16, 16, 1)).astype(np.float32)


def test_fresh_network_answers_like_the_model_it_starts_from(frames: np.ndarray) -> None:
    config = _trained_config()
    trained = build_unet3d(config)
    trained.load_weights(load_bundle("wolf").weights_path)
    model = build_unet3d(config, seed=3)
    before = model(frames).detach().numpy()

    start = take_weights(model, "wolf")

    wanted = trained(frames).detach().numpy()
    assert np.abs(before - wanted).max() > 1e-3
    np.testing.assert_allclose(model(frames).detach().numpy(), wanted, atol=1e-6)
    assert start["name"] == "wolf"
    assert start["sha256"] == load_bundle("wolf").sha256


def test_time_mixing_in_up_blocks_starts_as_identity(frames: np.ndarray) -> None:
    base = NetworkConfig(widths=(4, 8), up_time=False)
    plain, mixing = (
        build_unet3d(base.model_copy(update={"up_time": flag}), seed=5) for flag in (False, True)
    )
    for layer in plain.layers:
        if layer.get_weights():
            mixing.get_layer(layer.name).set_weights(layer.get_weights())
    assert mixing.count_params() > plain.count_params()
    np.testing.assert_allclose(
        mixing(frames).detach().numpy(), plain(frames).detach().numpy(), atol=1e-7
    )


def test_time_mixing_widens_the_receptive_field() -> None:
    config = NetworkConfig(widths=(8, 16, 32), up_time=True)
    assert config.receptive_frames == 5
    assert NetworkConfig(widths=(8, 16, 32)).receptive_frames == 3


def test_other_network_is_refused_with_the_layers() -> None:
    model = build_unet3d(NetworkConfig(widths=(8, 16, 32)))
    with pytest.raises(ConfigError, match="bottleneck"):
        take_weights(model, "wolf")


def test_unknown_model_is_refused() -> None:
    with pytest.raises(BundleError, match="no model 'wulf'"):
        take_weights(build_unet3d(NetworkConfig(widths=(4, 8))), "wulf")
