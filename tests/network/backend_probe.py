"""Run under a given Keras backend: outputs, losses and a few training steps to an npz file."""

import os
import sys

import keras
import numpy as np

from hdsmlm.config.network import NetworkConfig
from hdsmlm.config.training import LossConfig, ScheduleConfig
from hdsmlm.network.losses import HybridTversky
from hdsmlm.network.schedule import WarmupCosineStepLR
from hdsmlm.network.unet3d import build_unet3d


def main(target: str) -> None:
    """Write what the backend computes from fixed weights and data."""
    assert keras.backend.backend() == os.environ["KERAS_BACKEND"]
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (2, 3, 16, 16, 1)).astype(np.float32)
    classes = rng.choice(4, size=(2, 3, 16, 16), p=[0.7, 0.2, 0.06, 0.04]).astype(np.uint8)
    weights = (rng.random((2, 3, 16, 16)) > 0.1).astype(np.float32)

    model = build_unet3d(NetworkConfig(widths=(4, 6), head_channels=4), seed=1)
    model.set_weights(
        [np.random.default_rng(i).normal(0, 0.2, w.shape) for i, w in enumerate(model.weights)]
    )
    output = keras.ops.convert_to_numpy(model.predict_on_batch(frames))
    schedule = WarmupCosineStepLR(ScheduleConfig(learning_rate=0.01, warmup_steps=2), 10)
    model.compile(
        optimizer=keras.optimizers.Adam(schedule, global_clipnorm=1.0, use_ema=True),
        loss=HybridTversky(LossConfig(tversky_weight=0.3)),
        jit_compile=keras.backend.backend() == "jax",
    )
    losses = [float(model.train_on_batch(frames, classes, sample_weight=weights)) for _ in range(6)]
    rates = [float(schedule(step)) for step in range(10)]
    np.savez(target, output=output, losses=losses, rates=rates)


if __name__ == "__main__":
    main(sys.argv[1])
