"""Hybrid Tversky loss over count classes, with excluded pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from hdsmlm.config.training import LossConfig
from hdsmlm.records.count_map import N_CLASSES

_EPSILON = 1e-7
_SMOOTH = 1.0


@keras.saving.register_keras_serializable("hdsmlm")
class HybridTversky(keras.losses.Loss):
    """``L = λ·(1 - TI)^γ + (1 - λ)·CE``.

    ``TI = mean over classes 1, 2, 3+ of TP / (TP + α·FP + β·FN)`` with the soft counts
    ``TP = Σ w·y·p``, ``FP = Σ w·(1 - y)·p``, ``FN = Σ w·y·(1 - p)`` over the batch (Salehi et al.
    2017; focal exponent: Abraham & Khan 2019), and
    ``CE = -Σ w·c_y·log p_y / Σ w`` with class weights c. Both are weighted by the weight map w
    (``sample_weight``): a pixel with w = 0 has exactly zero gradient.

    Shapes: y_true (b, t, y, x) class numbers, y_pred (b, t, y, x, 4), sample_weight (b, t, y, x).
    One unit is added to numerator and denominator of each class, so that a class absent from
    truth and prediction counts as right.

    The loss is a function of a few sums over the batch. ``total`` adds these sums up over all
    processes that hold a part of the batch; ratios are taken behind it, so that the loss is the one
    of the whole batch. Without it, the sums are of the batch at hand.
    """

    def __init__(
        self,
        config: LossConfig | None = None,
        name: str = "hybrid_tversky",
        total: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(name=name)
        self.settings = config or LossConfig()
        self._total = total

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the scalar loss; the weights enter the Tversky counts, not only the mean."""
        y_pred = ops.cast(y_pred, "float32")
        truth = ops.one_hot(ops.cast(y_true, "int32"), N_CLASSES, dtype="float32")
        weight = (
            ops.ones(ops.shape(truth)[:-1], dtype="float32")
            if sample_weight is None
            else ops.cast(sample_weight, "float32")
        )
        share = self.settings.tversky_weight
        sums = self._cross_entropy_sums(truth, y_pred, weight)
        if share > 0.0:
            sums += self._tversky_sums(truth, y_pred, weight)
        total = ops.concatenate([ops.reshape(part, (-1,)) for part in sums])
        if self._total is not None:
            total = self._total(total)
        loss = (1.0 - share) * total[0] / ops.maximum(total[1], 1.0)
        if share > 0.0:
            loss = loss + share * self._tversky(*ops.split(total[2:], 3))
        return loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss without excluded pixels."""
        return self(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Return plain values for serialization."""
        return {"config": self.settings.model_dump(mode="json"), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HybridTversky:
        """Inverse of :meth:`get_config`."""
        return cls(LossConfig.model_validate(config["config"]), config["name"])

    def _cross_entropy_sums(self, truth: Any, y_pred: Any, weight: Any) -> tuple[Any, ...]:
        """Return ``-Σ w·c_y·log p_y`` and ``Σ w``."""
        class_weights = ops.convert_to_tensor(self.settings.class_weights, dtype="float32")
        log_p = ops.log(ops.maximum(y_pred, _EPSILON))
        per_pixel = -ops.sum(truth * class_weights * log_p, axis=-1)
        return ops.sum(weight * per_pixel), ops.sum(weight)

    def _tversky_sums(self, truth: Any, y_pred: Any, weight: Any) -> tuple[Any, ...]:
        """Return TP, FP and FN of the classes 1, 2, 3+, shape (3,) each."""
        axes = (0, 1, 2, 3)
        weight = ops.expand_dims(weight, -1)
        truth, y_pred = truth[..., 1:], y_pred[..., 1:]
        hits = ops.sum(weight * truth * y_pred, axis=axes)
        false_positives = ops.sum(weight * (1.0 - truth) * y_pred, axis=axes)
        false_negatives = ops.sum(weight * truth * (1.0 - y_pred), axis=axes)
        return hits, false_positives, false_negatives

    def _tversky(self, hits: Any, false_positives: Any, false_negatives: Any) -> Any:
        settings = self.settings
        index = (hits + _SMOOTH) / (
            hits
            + settings.false_positive_weight * false_positives
            + settings.false_negative_weight * false_negatives
            + _SMOOTH
        )
        miss = ops.maximum(1.0 - ops.mean(index), _EPSILON)
        return ops.power(miss, settings.focal_exponent)
