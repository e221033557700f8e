"""Shape, receptive field, determinism and prior of the network."""

import keras
import numpy as np
import pytest

from hdsmlm.config.network import NetworkConfig
from hdsmlm.network.unet3d import PRIOR, build_unet3d, fold_calibration

SMALL = NetworkConfig(widths=(8, 12), head_channels=4)


def _run(model, frames):
    return keras.ops.convert_to_numpy(model(keras.ops.convert_to_tensor(frames))).copy()


def _noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(*shape, 1)).astype(np.float32)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        NetworkConfig(widths=(8, 8, 8), stem_stride=1),
        NetworkConfig(widths=(8, 8), factorized=False),
        NetworkConfig(widths=(8, 8), time_kernel=1),
    ],
    ids=["half resolution", "full resolution", "joint kernels", "no time"],
)
def test_every_frame_and_pixel_gets_a_distribution(config):
    side = 4 * config.spatial_multiple
    out = _run(build_unet3d(config), _noise(2, 3, side, 2 * side))
    assert out.shape == (2, 3, side, 2 * side, 4)
    np.testing.assert_allclose(out.sum(-1), 1.0, atol=1e-5)
    assert (out >= 0).all()


@pytest.mark.parametrize("frames", [1, 3, 7])
def test_any_number_of_frames(frames):
    assert _run(build_unet3d(SMALL), _noise(1, frames, 16, 24)).shape == (1, frames, 16, 24, 4)


def test_untrained_network_states_the_prior():
    out = _run(build_unet3d(SMALL, seed=3), _noise(4, 3, 32, 32))
    np.testing.assert_allclose(out.mean(axis=(0, 1, 2, 3)), PRIOR, rtol=0.6)


def test_seed_decides_the_weights():
    first, same, other = (build_unet3d(SMALL, seed).get_weights() for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, same, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_output_depends_on_nothing_outside_the_stated_receptive_field():
    config = NetworkConfig(widths=(8, 8), time_kernel=3)
    model = build_unet3d(config, seed=5)
    size = 2 * config.receptive_px + 33
    size += -size % config.spatial_multiple
    time = 2 * config.receptive_frames + 5
    frames = _noise(1, time, size, size)
    changed = frames.copy()
    t, y, x = time // 2, size // 2, size // 2
    changed[0, t, y, x] += 50.0
    difference = np.abs(_run(model, changed) - _run(model, frames)).max(axis=(0, 4))
    reach = np.argwhere(difference > 0)
    assert len(reach) > 0
    assert np.abs(reach[:, 0] - t).max() == config.receptive_frames
    lateral = np.abs(reach[:, 1:] - (y, x)).max()
    assert config.receptive_px // 2 < lateral <= config.receptive_px


def test_calibration_is_folded_into_the_logits():
    model = build_unet3d(SMALL, seed=1)
    frames = _noise(1, 3, 16, 16)
    before = _run(model, frames)
    fold_calibration(model, 0.5, (0.0, 0.3, -0.2, 0.1))
    logits = 0.5 * np.log(before) + np.array([0.0, 0.3, -0.2, 0.1])
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(_run(model, frames), expected, atol=1e-5)


def test_even_time_kernel_is_refused():
    with pytest.raises(ValueError, match="odd"):
        NetworkConfig(time_kernel=2)
