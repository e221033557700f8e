"""The 3D U-Net that counts emitters."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from hdsmlm.config.network import NetworkConfig
from hdsmlm.network.blocks import (
    KernelSeeds,
    convolution,
    down,
    mix_time,
    residual_block,
    swish,
    up,
)
from hdsmlm.records.count_map import N_CLASSES

PRIOR = (0.97, 0.027, 0.0025, 0.0005)
"""Class frequencies at about 3 emitters/µm² and 100 nm pixels; the network starts from them."""

HEAD = "counts"
"""Name of the last convolution, whose outputs are the logits."""


HEAD_SCALE = 0.1
"""Variance scale of the classifier's kernel: the first outputs stay near the prior."""


def build_unet3d(config: NetworkConfig, seed: int = 0) -> keras.Model:
    """Return the network: (batch, T, H, W, 1) in [-1, 1] to (batch, T, H, W, 4) probabilities.

    projection → down blocks → bottleneck → up blocks with skips → 1x1x1 convolution → softmax over
    0, 1, 2, 3+ emitters for EVERY frame. Pooling is spatial only. T, H and W are free; H and W must
    be multiples of ``config.spatial_multiple``.

    Parameters
    ----------
    config : NetworkConfig
        Architecture.
    seed : int
        Seed of the initial weights.
    """
    seeds = KernelSeeds(seed)

    # Projection: from grey values to features, at half resolution when the stem's stride is 2.
    frames = keras.Input((None, None, None, 1), name="frames")
    stride = config.stem_stride
    side = 3 if stride == 1 else 2 * stride
    x = layers.Conv3D(
        config.widths[0],
        (1, side, side),
        strides=(1, stride, stride),
        padding="same",
        kernel_initializer=seeds.scaled(),
        name="projection",
    )(frames)

    # Down: residual block with time, then halve.
    skips = []
    for level, width in enumerate(config.widths[:-1]):
        x = residual_block(x, width, config.time_kernel, config.factorized, seeds, f"down{level}")
        skips.append(x)
        x = down(x, config.widths[level + 1], seeds, f"down{level}_pool")
    x = residual_block(
        x, config.widths[-1], config.time_kernel, config.factorized, seeds, "bottleneck"
    )

    # Up: double, add the skip, mix frames where asked, residual block in space.
    for level in reversed(range(config.depth)):
        x = up(x, config.widths[level], seeds, f"up{level}_unpool")
        x = layers.Add(name=f"up{level}_skip")([x, skips[level]])
        if config.up_time and config.time_kernel > 1:
            x = mix_time(x, config.widths[level], config.time_kernel, f"up{level}_time")
        x = residual_block(x, config.widths[level], 1, config.factorized, seeds, f"up{level}")

    # Head: back to full resolution, then classify every pixel of every frame in float32.
    x = swish(x, "head_in")
    if stride == 1:
        x = convolution(x, config.head_channels, (1, 1, 1), seeds.scaled(), "head_expand")
    else:
        x = up(x, config.head_channels, seeds, "head_expand")
    logits = layers.Conv3D(
        N_CLASSES,
        1,
        bias_initializer=_log_prior,
        kernel_initializer=seeds.scaled(HEAD_SCALE),
        dtype="float32",
        name=HEAD,
    )(swish(x, "head_out"))
    probabilities = layers.Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model(frames, probabilities, name="unet3d")


def _log_prior(shape: tuple[int, ...], dtype: str | None = None) -> object:
    return keras.ops.convert_to_tensor(np.log(PRIOR).reshape(shape), dtype=dtype)


def fold_calibration(model: keras.Model, scale: float, bias: tuple[float, ...]) -> None:
    """Multiply the logits by ``scale`` and add ``bias``, in place, in the last convolution.

    The calibrated network is then the same graph in Keras and in ONNX.
    """
    layer = model.get_layer(HEAD)
    kernel, offset = layer.get_weights()
    layer.set_weights([kernel * scale, offset * scale + np.asarray(bias, dtype=offset.dtype)])
