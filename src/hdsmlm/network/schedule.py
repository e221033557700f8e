"""WarmupCosineStepLR."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from hdsmlm.config.training import ScheduleConfig


@keras.saving.register_keras_serializable("hdsmlm")
class WarmupCosineStepLR(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate per optimizer step.

    Linear warm-up to the base rate r over w steps, ``r·(s + 1)/w``; then cosine decay to the floor
    f·r at the last step S, ``r·(f + (1 - f)·(1 + cos(π·(s - w)/(S - w)))/2)``; both times
    ``drop_factor`` to the power of the number of milestones passed.
    """

    def __init__(self, config: ScheduleConfig, total_steps: int) -> None:
        super().__init__()
        self.settings = config
        self.total_steps = total_steps

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a 0-based step."""
        settings = self.settings
        step = ops.cast(step, "float32")
        warm = float(settings.warmup_steps)
        rising = (step + 1.0) / max(warm, 1.0)
        progress = ops.clip((step - warm) / max(self.total_steps - warm, 1.0), 0.0, 1.0)
        floor = settings.floor_fraction
        falling = floor + (1.0 - floor) * 0.5 * (1.0 + ops.cos(math.pi * progress))
        rate = settings.learning_rate * ops.where(step < warm, rising, falling)
        for milestone in settings.milestones:
            rate = rate * ops.where(step >= milestone, settings.drop_factor, 1.0)
        return rate

    def get_config(self) -> dict[str, Any]:
        """Return plain values for serialization."""
        return {"config": self.settings.model_dump(mode="json"), "total_steps": self.total_steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmupCosineStepLR:
        """Inverse of :meth:`get_config`."""
        return cls(ScheduleConfig.model_validate(config["config"]), config["total_steps"])
