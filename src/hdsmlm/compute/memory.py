"""How much memory a training run will need: from its configuration, before anything is built.

The sum of

- state: the weights in float32 times five (weight, gradient, two moments of Adam, moving average);
- activations: what the forward pass keeps for the backward pass. Pre-activation blocks keep the
  input of each activation and of each convolution, both of the size of the layer: at stride s
  B·T·(H/s)·(W/s)·C numbers for a batch of B patches;
- the full-resolution head: its activations, and float32 planes of 4 classes for logits, softmax,
  targets and the terms of the loss;
- work: as much again as the largest layer in and out and its gradient, times three;
- the runtime: context, kernels, libraries.
"""

from __future__ import annotations

from dataclasses import dataclass

from hdsmlm.config.network import NetworkConfig
from hdsmlm.config.run import RunConfig
from hdsmlm.records.count_map import N_CLASSES

FLOAT32_BYTES = 4
STATES_PER_WEIGHT = 5
LOSS_PLANES = 16
"""Float32 planes per class for softmax and loss; five were counted in torch, the rest is margin."""
GPU_RUNTIME_BYTES = 2**30
"""CUDA context with cuDNN and its workspace."""
CPU_RUNTIME_BYTES = 2**30
"""A Python process with torch, Keras and a sampler."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Parts of the estimate.

    Parameters
    ----------
    state_bytes : int
        Weights, gradients, optimizer.
    activation_bytes : int
        Kept for the backward pass.
    work_bytes : int
        Largest temporary arrays.
    runtime_bytes : int
        Context and libraries.
    """

    state_bytes: int
    activation_bytes: int
    work_bytes: int
    runtime_bytes: int

    @property
    def total_bytes(self) -> int:
        """Sum."""
        return self.state_bytes + self.activation_bytes + self.work_bytes + self.runtime_bytes


@dataclass(frozen=True)
class _Layer:
    """A convolution: its weights, and elements per patch going in and out."""

    weights: int
    entering: int
    leaving: int
    activated: bool = True


def estimate_memory(config: RunConfig, gpu: bool, devices: int = 1) -> MemoryEstimate:
    """Return what a run needs on each device.

    Parameters
    ----------
    config : RunConfig
        The run.
    gpu : bool
        On a GPU, or in the memory of the machine.
    devices : int
        Devices that share a batch.
    """
    training = config.training
    batch = -(-training.batch_size // devices)
    layers = network_layers(config.network, training.frames, training.patch_px)
    number_bytes = 2 if training.precision == "mixed_bfloat16" else FLOAT32_BYTES
    pixels = training.frames * training.patch_px**2
    kept = sum(layer.entering * (2 if layer.activated else 1) for layer in layers)
    loss = LOSS_PLANES * N_CLASSES * pixels * FLOAT32_BYTES
    largest = max(layer.entering + layer.leaving for layer in layers)
    return MemoryEstimate(
        state_bytes=STATES_PER_WEIGHT * FLOAT32_BYTES * sum(layer.weights for layer in layers),
        activation_bytes=batch * (kept * number_bytes + loss),
        work_bytes=3 * batch * largest * number_bytes,
        runtime_bytes=GPU_RUNTIME_BYTES if gpu else CPU_RUNTIME_BYTES,
    )


def network_layers(config: NetworkConfig, frames: int, side_px: int) -> tuple[_Layer, ...]:
    """Return the convolutions of the network in the order in which they run.

    Follows :func:`hdsmlm.network.unet3d.build_unet3d`; a test compares the number of weights.
    """
    stride, widths, reach = config.stem_stride, config.widths, config.time_kernel

    def pixels(level: int) -> int:
        return frames * (side_px // (stride * 2**level)) ** 2

    full = frames * side_px**2
    side = 3 if stride == 1 else 2 * stride
    stem = _Layer((side**2 + 1) * widths[0], full, widths[0] * pixels(0), activated=False)
    layers = [stem]
    for level, width in enumerate(widths):
        layers += _block(width, pixels(level), reach, config.factorized)
        if level < config.depth:
            wide = widths[level + 1]
            change = _Layer(
                (4 * width + 1) * wide, width * pixels(level), wide * pixels(level + 1), False
            )
            layers.append(change)
    for level in reversed(range(config.depth)):
        width, wide = widths[level], widths[level + 1]
        layers.append(
            _Layer((4 * wide + 1) * width, wide * pixels(level + 1), width * pixels(level), False)
        )
        if config.up_time and reach > 1:
            layers.append(_conv(width, pixels(level), reach))
        layers += _block(width, pixels(level), 1, config.factorized)
    kernel = 4 if stride == 2 else 1
    head, first = config.head_channels, widths[0]
    layers.append(_Layer((kernel * first + 1) * head, first * pixels(0), head * full))
    layers.append(_Layer((head + 1) * N_CLASSES, head * full, N_CLASSES * full))
    return tuple(layers)


def _conv(width: int, pixels: int, taps: int) -> _Layer:
    return _Layer((taps * width + 1) * width, width * pixels, width * pixels)


def _block(width: int, pixels: int, time_kernel: int, factorized: bool) -> list[_Layer]:
    mixes = time_kernel > 1
    first = 9 * time_kernel if mixes and not factorized else 9
    block = [_conv(width, pixels, first)]
    if mixes and factorized:
        block.append(_conv(width, pixels, time_kernel))
    return [*block, _conv(width, pixels, 9)]
