"""The estimate of memory against what torch keeps for the backward pass, and what must hold."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras

from hdsmlm.compute.memory import FLOAT32_BYTES, estimate_memory, network_layers
from hdsmlm.config.network import NetworkConfig
from hdsmlm.config.run import RunConfig
from hdsmlm.network.unet3d import build_unet3d
from hdsmlm.training.model import compile_model

NETWORKS = [
    {"widths": (8, 16), "up_time": True},
    {"widths": (8, 16, 32)},
    {"widths": (8, 16), "stem_stride": 1, "factorized": False, "head_channels": 8},
]


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_are_counted_exactly(network):
    config = NetworkConfig(**network)
    counted = sum(layer.weights for layer in network_layers(config, 3, 32))
    assert counted == build_unet3d(config).count_params()


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="looks into torch's graph")
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("network", NETWORKS)
def test_activations_are_those_that_torch_keeps(network, precision):
    import torch

    training = {"batch_size": 2, "frames": 3, "patch_px": 32, "precision": precision}
    config = RunConfig.model_validate({"network": network, "training": training})
    policy = keras.config.dtype_policy()
    try:
        model = compile_model(config)
    finally:
        keras.config.set_dtype_policy(policy)
    weights = {v.value.untyped_storage().data_ptr() for v in model.variables}
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address repeats
        return tensor

    frames = torch.zeros((2, 3, 32, 32, 1))
    classes = torch.zeros((2, 3, 32, 32), dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answer = model(frames, training=True)
        model.compute_loss(frames, classes, answer, torch.ones((2, 3, 32, 32)))
    measured = sum(
        tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights
    )
    estimate = estimate_memory(config, gpu=False).activation_bytes
    assert measured <= estimate <= 1.6 * measured


@settings(max_examples=30)
@given(
    batch=st.sampled_from([1, 2, 4, 8]),
    frames=st.integers(3, 9),
    side=st.sampled_from([32, 64, 128]),
)
def test_more_of_anything_needs_more(batch, frames, side):
    def total(**changes):
        training = {"batch_size": batch, "frames": frames, "patch_px": side} | changes
        return estimate_memory(RunConfig.model_validate({"training": training}), True)

    first = total()
    assert total(batch_size=2 * batch).total_bytes > first.total_bytes
    assert total(frames=frames + 1).total_bytes > first.total_bytes
    assert total(patch_px=2 * side).activation_bytes == pytest.approx(4 * first.activation_bytes)
    assert total(precision="mixed_bfloat16").activation_bytes < first.activation_bytes
    assert first.state_bytes % (5 * FLOAT32_BYTES) == 0


def test_devices_share_the_batch():
    config = RunConfig.model_validate({"training": {"batch_size": 8}})
    one, two = (estimate_memory(config, True, devices=n).activation_bytes for n in (1, 2))
    assert one == 2 * two
