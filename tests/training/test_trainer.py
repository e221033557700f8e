"""A run in pieces is the run in one go; checkpoints hold everything."""

import keras
import numpy as np
import pytest

from hdsmlm.errors import BundleError
from hdsmlm.training.checkpoint import FILE, Progress, load_checkpoint, save_checkpoint
from hdsmlm.training.feed import draw_group
from hdsmlm.training.model import averaged_weights, compile_model
from hdsmlm.training.trainer import Trainer, TrainingLimits

AT_ONCE = TrainingLimits()
ONE_STEP = TrainingLimits(max_minutes=1e-9)


def _score(network):
    p = network(np.zeros((3, 16, 16), np.float32))
    return {"loss": float(-np.log(p[:, 0]).mean())}


def _trainer(config, folder, metrics=None):
    sink = (lambda m, step: metrics.append((step, dict(m)))) if metrics is not None else _ignore
    return Trainer(config, folder, _score, sink)


def _ignore(metrics, step):
    pass


def _weights(model):
    return [keras.ops.convert_to_numpy(w.value) for w in model.weights]


def _state(model):
    optimizer = [keras.ops.convert_to_numpy(v.value) for v in model.optimizer.variables]
    return _weights(model) + optimizer


def test_run_in_single_steps_equals_the_run_in_one_go(tiny, tmp_path):
    whole = _trainer(tiny, tmp_path / "whole")
    outcome = whole.run(AT_ONCE)
    assert outcome.reason == "finished"
    assert outcome.complete
    reasons = []
    for _ in range(tiny.training.steps):
        piece = _trainer(tiny, tmp_path / "pieces")
        reasons.append(piece.run(ONE_STEP).reason)
    assert reasons == ["time is up"] * 5 + ["finished"]
    for a, b in zip(_weights(whole.model), _weights(piece.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert [row["step"] for row in piece.progress.history] == [3, 6]


def test_checkpoint_restores_every_variable(tiny, tmp_path):
    trainer = _trainer(tiny, tmp_path)
    trainer.run(ONE_STEP)
    model = compile_model(tiny)
    progress = load_checkpoint(tmp_path / FILE, model)
    stored = _state(model)
    save_checkpoint(tmp_path / "again.npz", model, progress)
    other = compile_model(tiny)
    assert load_checkpoint(tmp_path / "again.npz", other) == progress
    assert all(np.array_equal(a, b) for a, b in zip(stored, _state(other), strict=True))
    assert int(model.optimizer.iterations) == progress.step == 1


def test_network_learns_to_find_emitters(tiny, tmp_path):
    """The likelihood of the truth rises on scenes that were not learnt from."""
    schedule = tiny.training.schedule.model_copy(update={"learning_rate": 0.01})
    validation = tiny.training.validation.model_copy(update={"every_steps": 50})
    training = tiny.training.model_copy(
        update={"steps": 150, "ema_momentum": 0.9, "schedule": schedule, "validation": validation}
    )
    config = tiny.model_copy(update={"training": training})
    unseen = draw_group(config, 10_000)

    def cross_entropy(network):
        p = np.stack([network(frames) for frames in unseen.frames])
        classes = unseen.classes[:, :, None].astype(np.intp)
        true = np.take_along_axis(p, classes, axis=2)[:, :, 0]
        return {"loss": float(-(unseen.weights * np.log(true)).sum() / unseen.weights.sum())}

    trainer = Trainer(config, tmp_path, cross_entropy, _ignore)
    before = cross_entropy(trainer.network)["loss"]
    outcome = trainer.run(AT_ONCE)
    losses = [row["loss"] for row in trainer.progress.history]
    assert len(losses) == 3
    assert losses[-1] < 0.9 * before
    assert trainer.progress.best_loss == min(losses)
    shipped = cross_entropy(trainer.finished(outcome))["loss"]
    assert shipped == pytest.approx(losses[-1], rel=1e-4)


def test_early_stop_after_patience(tiny, tmp_path):
    validation = tiny.training.validation.model_copy(update={"patience": 2, "every_steps": 1})
    config = tiny.model_copy(
        update={"training": tiny.training.model_copy(update={"validation": validation})}
    )
    scores = iter([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    seen = []
    frames = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16)).astype(np.float32)

    def validate(network):
        seen.append(network(frames))
        return {"loss": next(scores)}

    trainer = Trainer(config, tmp_path, validate, _ignore)
    outcome = trainer.run(AT_ONCE)
    assert outcome.reason == "no further improvement"
    assert outcome.complete
    assert trainer.progress.step == 3
    assert trainer.progress.best_step == 1
    shipped = trainer.finished(outcome)(frames)
    np.testing.assert_allclose(shipped, seen[0], atol=1e-6)
    assert np.abs(shipped - seen[-1]).max() > 1e-6


def test_averaged_weights_are_the_moving_average(tiny, tmp_path):
    momentum = 0.5
    config = tiny.model_copy(
        update={"training": tiny.training.model_copy(update={"ema_momentum": momentum})}
    )
    expected = None
    for _ in range(3):
        trainer = _trainer(config, tmp_path)
        trainer.run(ONE_STEP)
        model = compile_model(config)
        load_checkpoint(tmp_path / FILE, model)
        now = _weights(model)
        expected = (
            now
            if expected is None
            else [momentum * e + (1 - momentum) * n for e, n in zip(expected, now, strict=True)]
        )
    resumed = _trainer(config, tmp_path)
    with averaged_weights(resumed.model):
        inside = _weights(resumed.model)
    for e, a in zip(expected, inside, strict=True):
        np.testing.assert_allclose(a, e, atol=1e-6)
    for n, a in zip(now, _weights(resumed.model), strict=True):
        np.testing.assert_array_equal(a, n)


def test_damaged_checkpoint_says_what_to_do(tiny, tmp_path):
    (tmp_path / FILE).write_bytes(b"PK\x03\x04 not whole")
    with pytest.raises(BundleError, match="start the run afresh"):
        _trainer(tiny, tmp_path)


def test_checkpoint_of_another_network_is_refused(tiny, tmp_path):
    model = compile_model(tiny)
    save_checkpoint(tmp_path / FILE, model, Progress())
    network = tiny.network.model_copy(update={"widths": (4, 8)})
    with pytest.raises(BundleError, match="another network"):
        _trainer(tiny.model_copy(update={"network": network}), tmp_path)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_probabilities_are_float32_in_any_precision(tiny, precision):
    config = tiny.model_copy(
        update={"training": tiny.training.model_copy(update={"precision": precision})}
    )
    model = compile_model(config)
    assert model.outputs[0].dtype == "float32"
    x = np.zeros((2, 3, 16, 16, 1), np.float32)
    loss = model.train_on_batch(x, np.zeros((2, 3, 16, 16), np.uint8), np.ones((2, 3, 16, 16)))
    assert np.isfinite(float(loss))
    assert {str(w.dtype) for w in model.weights} == {"float32"}
