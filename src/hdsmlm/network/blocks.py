"""Building blocks of the 3D U-Net: plain Keras layers, so that a saved model needs no custom code.

All tensors are (batch, t, y, x, channels). Blocks are norm-free: the branch of a residual block
starts small instead (compare De & Smith, NeurIPS 2020), because batch statistics would couple the
frames of a batch and normalization layers cost more than the convolutions on a CPU.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

BRANCH_SCALE = 0.1
"""Variance scale of the last kernel of a residual branch at the start of training."""

HE_SCALE = 2.0
"""Variance scale of He et al. (ICCV 2015), which keeps the signal's variance through swish."""


class KernelSeeds:
    """Initializers that all derive from one seed, so that no global random state is touched."""

    def __init__(self, seed: int) -> None:
        self._stream = np.random.default_rng(seed)

    def scaled(self, scale: float = HE_SCALE) -> keras.initializers.Initializer:
        """Return a truncated normal initializer of variance ``scale / fan_in``."""
        return keras.initializers.VarianceScaling(
            scale, "fan_in", "truncated_normal", seed=int(self._stream.integers(2**31))
        )


def swish(x: Any, name: str) -> Any:
    """Return x·sigmoid(x)."""
    return layers.Activation("swish", name=f"{name}_swish")(x)


def convolution(
    x: Any,
    channels: int,
    kernel: tuple[int, int, int],
    start: keras.initializers.Initializer | str,
    name: str,
) -> Any:
    """Return a same-size convolution."""
    return layers.Conv3D(channels, kernel, padding="same", kernel_initializer=start, name=name)(x)


def residual_block(
    x: Any, channels: int, time_kernel: int, factorized: bool, seeds: KernelSeeds, name: str
) -> Any:
    """Return ``x + branch(x)`` with pre-activation swish.

    The branch is a 3x3 convolution in space, a convolution over ``time_kernel`` frames (left out at
    1) and a second 3x3 convolution. With ``factorized`` space and time have kernels of their own
    ("(2+1)D", Tran et al., CVPR 2018); else the first convolution is time_kernel x 3 x 3.
    """
    joint = time_kernel > 1 and not factorized
    first = (time_kernel, 3, 3) if joint else (1, 3, 3)
    y = convolution(swish(x, f"{name}_in"), channels, first, seeds.scaled(), f"{name}_conv1")
    if time_kernel > 1 and factorized:
        y = swish(y, f"{name}_mid")
        y = convolution(y, channels, (time_kernel, 1, 1), seeds.scaled(), f"{name}_time")
    y = swish(y, f"{name}_out")
    y = convolution(y, channels, (1, 3, 3), seeds.scaled(BRANCH_SCALE), f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([x, y])


def mix_time(x: Any, channels: int, time_kernel: int, name: str) -> Any:
    """Return ``x`` plus a convolution over ``time_kernel`` frames of swish(x).

    The kernel starts at zero, so that a trained network to which it is added answers as before.
    """
    y = convolution(swish(x, f"{name}_in"), channels, (time_kernel, 1, 1), "zeros", name)
    return layers.Add(name=f"{name}_add")([x, y])


def down(x: Any, channels: int, seeds: KernelSeeds, name: str) -> Any:
    """Halve height and width, keep the time axis: strided 1x2x2 convolution."""
    return layers.Conv3D(
        channels, (1, 2, 2), strides=(1, 2, 2), kernel_initializer=seeds.scaled(), name=name
    )(x)


def up(x: Any, channels: int, seeds: KernelSeeds, name: str) -> Any:
    """Double height and width, keep the time axis: 1x2x2 transposed convolution."""
    return layers.Conv3DTranspose(
        channels, (1, 2, 2), strides=(1, 2, 2), kernel_initializer=seeds.scaled(), name=name
    )(x)
