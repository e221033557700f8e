"""The network of a run with its optimizer and loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from hdsmlm.config.run import RunConfig
from hdsmlm.network.losses import HybridTversky
from hdsmlm.network.schedule import WarmupCosineStepLR
from hdsmlm.network.unet3d import build_unet3d
from hdsmlm.training.parallel import OneProcess, Rank


def compile_model(config: RunConfig, replicas: Rank | None = None) -> keras.Model:
    """Return the network with optimizer and loss of a run, freshly initialized.

    Parameters
    ----------
    config : RunConfig
        The run.
    replicas : Rank, optional
        The devices that train it; one where none are given.
    """
    training, replicas = config.training, replicas or OneProcess()
    with replicas.scope():
        keras.config.set_dtype_policy(training.precision)
        try:
            model = build_unet3d(config.network, training.seed)
        finally:
            keras.config.set_dtype_policy("float32")
        optimizer = replicas.optimizer(
            WarmupCosineStepLR(training.schedule, training.steps),
            global_clipnorm=training.clip_norm,
            use_ema=training.ema_momentum > 0,
            ema_momentum=training.ema_momentum or 0.999,
        )
        loss = HybridTversky(training.loss, total=replicas.total)
        model.compile(optimizer=optimizer, loss=loss, jit_compile=_jit())
        optimizer.build(model.trainable_variables)
    return model


def _jit() -> bool:
    """Compile on JAX; on torch a compiled 3D U-Net was slower than the eager one."""
    return bool(keras.backend.backend() == "jax")


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Put the moving average of the weights into the model for a while."""
    optimizer = model.optimizer
    if not optimizer.use_ema:
        yield
        return
    own = [keras.ops.convert_to_numpy(v.value) for v in model.trainable_variables]
    averages = optimizer._model_variables_moving_average
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        variable.assign(average.value)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, own, strict=True):
            variable.assign(value)
