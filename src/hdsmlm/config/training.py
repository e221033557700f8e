"""Training sections: loss, learning-rate schedule, optimizer, feed, validation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hdsmlm.config.base import Section


class LossConfig(Section):
    """Hybrid Tversky loss ``L = λ·(1 - TI)^γ + (1 - λ)·CE``."""

    tversky_weight: float = Field(0.02, ge=0.0, le=1.0)
    """λ: share of the Tversky term; the rest, cross-entropy, keeps the counts calibrated."""
    false_positive_weight: float = Field(0.5, gt=0.0, le=2.0)
    """α in ``TI = TP / (TP + α·FP + β·FN)``."""
    false_negative_weight: float = Field(0.5, gt=0.0, le=2.0)
    """β in the Tversky index; β > α favours recall."""
    focal_exponent: float = Field(1.0, ge=0.5, le=3.0)
    """γ: focal exponent of the Tversky term."""
    class_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Weights of the classes 0, 1, 2, 3+ in the cross-entropy."""

    @model_validator(mode="after")
    def _non_negative(self) -> LossConfig:
        if min(self.class_weights) < 0 or sum(self.class_weights) == 0:
            raise ValueError("class_weights must be non-negative and not all zero")
        return self


class ScheduleConfig(Section):
    """WarmupCosineStepLR: linear warm-up, cosine decay to a floor, optional step drops."""

    learning_rate: float = Field(2e-3, gt=0.0, le=1.0)
    """Base learning rate, reached at the end of the warm-up."""
    warmup_steps: int = Field(200, ge=0)
    """Optimizer steps of linear warm-up."""
    floor_fraction: float = Field(0.02, ge=0.0, le=1.0)
    """Final learning rate as a fraction of the base rate."""
    milestones: tuple[int, ...] = ()
    """Steps at which the rate drops for good by ``drop_factor``."""
    drop_factor: float = Field(0.5, gt=0.0, le=1.0)
    """Factor applied at every milestone."""


class ValidationConfig(Section):
    """The fixed validation set, early stopping, and what the finished model is measured on."""

    scenes: int = Field(8, ge=1)
    """Scenes in the fixed validation set; never used for learning."""
    every_steps: int = Field(500, ge=1)
    """Optimizer steps between validations."""
    patience: int = Field(0, ge=0)
    """Validations without improvement of the loss before training stops and the best weights are
    taken; 0 never stops early and takes the last ones."""
    calibration_scenes: int = Field(40, ge=1)
    """Scenes on which confidence and decoding of the finished model are calibrated."""
    threshold: float | None = Field(None, gt=0, lt=1)
    """Decoding threshold of the finished model; null takes the lowest one whose F1 on the
    calibration scenes is within 0.002 of the best."""
    test_scenes: int = Field(4, ge=1)
    """Scenes per case of the fixed test set on which the finished model is scored."""


class TrainingConfig(Section):
    """One training run."""

    seed: int = Field(1, ge=0, le=1_000_000_000)
    """Seed of the samples and of the initial weights; larger ones belong to the fixed sets."""
    start_from: str | None = None
    """Shipped model, or folder of a bundle, whose weights the run starts from; null starts anew."""
    steps: int = Field(20_000, ge=1)
    """Optimizer steps in all; the cosine ends here."""
    batch_size: int = Field(8, ge=1, le=4096)
    """Patches per optimizer step, over all devices."""
    devices: int = Field(1, ge=1, le=256)
    """Devices that share each batch (data parallelism): GPUs; without one, processes that share the
    cores (torch) or virtual devices (JAX). The steps are those of one device, to rounding."""
    frames: int = Field(5, ge=3, le=16)
    """T: consecutive frames of a patch."""
    patch_px: int = Field(64, ge=16, le=512)
    """Side of a patch."""
    scene_patches: tuple[int, int] = (2, 4)
    """Patches (down, across) cut from one scene; they share the scene's normalization."""
    scenes_per_group: int = Field(8, ge=1)
    """Scenes whose patches are shuffled together before they are dealt to batches."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """Keras dtype policy; mixed_bfloat16 pays on CPUs and GPUs with bf16 units."""
    clip_norm: float = Field(1.0, gt=0.0)
    """Global norm to which gradients are clipped."""
    ema_momentum: float = Field(0.999, ge=0.0, lt=1.0)
    """Momentum of the moving average of the weights that is validated and shipped; 0 is off."""
    workers: int | None = Field(None, ge=0)
    """Processes that draw samples; 0 draws in the training process; null takes one beside a CPU and
    all cores but one beside a GPU. Several devices share them evenly, rounded up."""
    checkpoint_minutes: float = Field(3.0, gt=0.0)
    """Minutes between checkpoints."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Learning-rate schedule."""
    loss: LossConfig = LossConfig()
    """Loss."""
    validation: ValidationConfig = ValidationConfig()
    """Validation and early stopping."""

    @property
    def scene_shape(self) -> tuple[int, int, int]:
        """(t, y, x) of a simulated scene."""
        down, across = self.scene_patches
        return self.frames, down * self.patch_px, across * self.patch_px

    @property
    def patches_per_group(self) -> int:
        """Patches that one group of scenes yields."""
        return self.scene_patches[0] * self.scene_patches[1] * self.scenes_per_group

    @model_validator(mode="after")
    def _whole_batches(self) -> TrainingConfig:
        if self.patches_per_group % self.batch_size:
            raise ValueError(
                f"a group has {self.patches_per_group} patches (scene_patches x scenes_per_group), "
                f"which batch_size {self.batch_size} does not divide"
            )
        if self.batch_size % self.devices:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared evenly by {self.devices} devices; "
                "make it a multiple of devices"
            )
        return self
