"""Hybrid Tversky loss against a plain NumPy version, and its gradients."""

import keras
import numpy as np
import pytest
import torch

from hdsmlm.config.training import LossConfig
from hdsmlm.network.losses import HybridTversky


def _case(seed=0):
    rng = np.random.default_rng(seed)
    classes = rng.choice(4, size=(2, 3, 6, 6), p=[0.7, 0.2, 0.06, 0.04]).astype(np.uint8)
    logits = rng.normal(size=(2, 3, 6, 6, 4)).astype(np.float32)
    weights = (rng.random((2, 3, 6, 6)) > 0.2).astype(np.float32)
    return classes, logits, weights


def _softmax(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def _reference(classes, p, weights, config):
    truth = np.eye(4)[classes]
    w = weights[..., None]
    hits = (w * truth * p).sum((0, 1, 2, 3))[1:]
    fp = (w * (1 - truth) * p).sum((0, 1, 2, 3))[1:]
    fn = (w * truth * (1 - p)).sum((0, 1, 2, 3))[1:]
    alpha, beta = config.false_positive_weight, config.false_negative_weight
    index = ((hits + 1) / (hits + alpha * fp + beta * fn + 1)).mean()
    ce = -(weights * np.log((truth * p).sum(-1)) * (truth @ config.class_weights)).sum()
    ce /= weights.sum()
    share = config.tversky_weight
    return share * (1 - index) ** config.focal_exponent + (1 - share) * ce


@pytest.mark.parametrize(
    "config",
    [
        LossConfig(tversky_weight=0.0),
        LossConfig(tversky_weight=1.0, false_positive_weight=0.3, false_negative_weight=0.7),
        LossConfig(tversky_weight=0.4, focal_exponent=0.75, class_weights=(1, 2, 3, 4)),
    ],
    ids=["cross-entropy", "tversky", "hybrid"],
)
def test_value_is_the_definition(config):
    classes, logits, weights = _case()
    p = _softmax(logits)
    loss = float(HybridTversky(config)(classes, p, weights))
    assert loss == pytest.approx(_reference(classes, p, weights, config), rel=1e-5)


def _gradient(classes, logits, weights, config):
    tensor = torch.tensor(logits, requires_grad=True, device=keras.ops.zeros(1).device)
    HybridTversky(config)(classes, keras.ops.softmax(tensor), weights).backward()
    return tensor.grad.cpu().numpy()


def test_excluded_pixels_have_exactly_no_gradient():
    classes, logits, weights = _case(1)
    gradient = _gradient(classes, logits, weights, LossConfig(tversky_weight=0.5))
    assert (gradient[weights == 0] == 0).all()
    assert (np.abs(gradient[weights == 1]).max(-1) > 0).all()


def test_gradient_agrees_with_finite_differences():
    classes, logits, weights = _case(2)
    config = LossConfig(tversky_weight=0.5, focal_exponent=1.5)
    gradient = _gradient(classes, logits, weights, config)
    rng = np.random.default_rng(3)
    for _ in range(20):
        where = tuple(rng.integers(0, size) for size in logits.shape)
        step = np.zeros_like(logits, dtype=np.float64)
        step[where] = 1e-5
        up, down = (
            _reference(classes, _softmax(logits + sign * step), weights, config) for sign in (1, -1)
        )
        assert gradient[where] == pytest.approx((up - down) / 2e-5, abs=2e-6, rel=1e-3)


def test_parts_of_a_batch_with_common_sums_are_the_batch():
    """Loss and gradient of the whole, though one part is nearly all ignored: ratios of sums."""
    config = LossConfig(tversky_weight=0.4, focal_exponent=0.75, class_weights=(1, 2, 3, 4))
    classes, logits, weights = _case(5)
    weights[1] *= np.random.default_rng(1).random(weights[1].shape) < 0.05
    whole = float(HybridTversky(config)(classes, _softmax(logits), weights))
    sums = {}
    for row in (0, 1):
        part = slice(row, row + 1)
        probe = HybridTversky(config, total=lambda own, row=row: sums.setdefault(row, own))
        probe(classes[part], _softmax(logits[part]), weights[part])
    gradient = []
    for row in (0, 1):
        part = slice(row, row + 1)
        tensor = torch.tensor(logits[part], requires_grad=True, device=keras.ops.zeros(1).device)
        loss = HybridTversky(config, total=lambda own, other=sums[1 - row]: own + other)
        value = loss(classes[part], keras.ops.softmax(tensor), weights[part])
        value.backward()
        assert float(value.detach()) == pytest.approx(whole, rel=1e-6)
        gradient.append(tensor.grad.cpu().numpy())
    expected = _gradient(classes, logits, weights, config)
    np.testing.assert_allclose(np.concatenate(gradient), expected, rtol=1e-4, atol=1e-8)


def test_perfect_prediction_costs_nothing():
    classes, _, weights = _case(4)
    loss = HybridTversky(LossConfig(tversky_weight=0.5))(classes, np.eye(4)[classes], weights)
    assert float(loss) == pytest.approx(0.0, abs=1e-5)


def test_settings_survive_serialization():
    loss = HybridTversky(LossConfig(tversky_weight=0.3))
    assert HybridTversky.from_config(loss.get_config()).settings == loss.settings
