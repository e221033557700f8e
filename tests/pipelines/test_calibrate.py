"""Calibration finds the confidence that was taken away, and improves the likelihood."""

import numpy as np
import pytest

from hdsmlm.inference.predictor import calibrate as correct_confidence
from hdsmlm.labels.counts import Labels
from hdsmlm.pipelines.calibrate import fit_confidence
from hdsmlm.pipelines.validation import cross_entropy
from hdsmlm.records.emitters import Emitters
from hdsmlm.training.patches import LabelledScene


@pytest.fixture(scope="module")
def calibrated_case():
    """Return scenes whose true class is drawn from known probabilities."""
    rng = np.random.default_rng(0)
    shape = (6, 96, 96)
    logits = rng.normal(0, 1.5, (*shape, 4)) + np.array([3.0, 0.0, -1.0, -2.0])
    p = np.exp(logits)
    p /= p.sum(-1, keepdims=True)
    classes = (rng.random((*shape, 1)) > np.cumsum(p, axis=-1)).sum(-1).clip(0, 3)
    weights = (rng.random(shape) > 0.05).astype(np.float32)
    scene = LabelledScene(
        np.zeros(shape, np.float32),
        Labels(classes.astype(np.uint8), weights),
        Emitters.empty(),
        100.0,
    )
    return scene, np.ascontiguousarray(np.moveaxis(p, -1, 1), dtype=np.float32)


def _distort(p, temperature):
    q = np.exp(np.log(p) / temperature)
    return (q / q.sum(axis=1, keepdims=True)).astype(np.float32)


def test_true_probabilities_need_no_correction(calibrated_case):
    scene, p = calibrated_case
    found = fit_confidence([scene], [p])
    assert found.temperature == pytest.approx(1.0, abs=0.03)


def test_overconfidence_is_undone(calibrated_case):
    scene, p = calibrated_case
    wrong = _distort(p, 0.6)
    found = fit_confidence([scene], [wrong])
    fixed = wrong.copy()
    correct_confidence(fixed, found)
    assert found.temperature == pytest.approx(1 / 0.6, rel=0.05)
    best = cross_entropy([scene], [p])
    assert cross_entropy([scene], [wrong]) > best + 0.02
    assert cross_entropy([scene], [fixed]) == pytest.approx(best, abs=2e-3)


def test_excluded_pixels_have_no_say(calibrated_case):
    scene, p = calibrated_case
    classes = scene.labels.classes.copy()
    classes[scene.labels.weights == 0] = 3
    other = LabelledScene(
        scene.frames, Labels(classes, scene.labels.weights), scene.emitters, 100.0
    )
    assert fit_confidence([other], [p]) == fit_confidence([scene], [p])
