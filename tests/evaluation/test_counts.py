import numpy as np
import pytest

from hdsmlm.evaluation.calibration import CalibrationTally
from hdsmlm.evaluation.counts import (
    CountTally,
    class_precision,
    class_recall,
    frame_labels,
    table_counts,
    window_sums,
)
from hdsmlm.evaluation.matching import Field
from hdsmlm.labels.counts import Labels
from hdsmlm.records.count_map import expected_count
from hdsmlm.records.emitters import Emitters

SHAPE = (6, 20, 25)


def draw_classes(rng, probabilities):
    """Draw a class for each pixel from (t, 4, y, x)."""
    cumulative = np.cumsum(probabilities, axis=1)
    uniform = rng.uniform(size=probabilities[:, :1].shape)
    return np.minimum((uniform > cumulative).sum(axis=1), 3).astype(np.uint8)


def random_probabilities(rng, shape=SHAPE):
    drawn = rng.dirichlet([2.0, 0.5, 0.2, 0.1], size=shape)
    return np.moveaxis(drawn, -1, 1)


def all_reliable(classes):
    return Labels(classes, np.ones(classes.shape, np.float32))


def tally(expected, classes, labels):
    result = CountTally(5)
    result.update(expected, classes, labels, labels.classes.sum(axis=(1, 2)))
    return result.result()


def test_a_perfect_count_has_a_diagonal_confusion_and_no_error():
    rng = np.random.default_rng(0)
    classes = draw_classes(rng, random_probabilities(rng))
    scores = tally(classes.astype(float), classes, all_reliable(classes))
    for confusion in (scores.pixel_confusion, scores.window_confusion):
        assert (confusion == np.diag(np.diag(confusion))).all()
    assert scores.pixel_confusion.sum() == classes.size
    assert class_precision(scores.pixel_confusion).tolist() == [1, 1, 1, 1]
    assert class_recall(scores.pixel_confusion).tolist() == [1, 1, 1, 1]
    for error in (scores.window, scores.frame, scores.frame_all):
        assert error.bias == 0
        assert error.mae == 0
    assert scores.window.mean_truth == pytest.approx(classes.sum() / (6 * 4 * 5))


def test_counts_drawn_from_the_map_have_no_bias():
    rng = np.random.default_rng(1)
    probabilities = random_probabilities(rng, (40, 20, 25))
    classes = draw_classes(rng, probabilities)
    expected = expected_count(probabilities)
    scores = tally(expected, probabilities.argmax(axis=1), all_reliable(classes))
    variance = (probabilities * np.array([0, 1, 4, 9])[:, None, None]).sum(1) - expected**2
    standard_error = np.sqrt(variance.mean() * 25 / scores.window.n)
    assert abs(scores.window.bias) < 4 * standard_error
    assert abs(scores.frame.bias) < 4 * np.sqrt(variance.mean() * 500 / scores.frame.n)


def test_a_lost_share_of_emitters_shows_as_bias():
    classes = np.zeros(SHAPE, np.uint8)
    classes[:, 2, 2] = 2
    scores = tally(0.5 * classes, classes // 2, all_reliable(classes))
    assert scores.frame.bias == pytest.approx(-1.0)
    assert scores.frame.mae == pytest.approx(1.0)
    assert scores.window.bias == pytest.approx(-1.0 / 20)
    assert scores.mean_by_truth[2] == pytest.approx(1.0)
    assert scores.pixel_confusion[2, 1] == SHAPE[0]


def test_excluded_pixels_change_nothing():
    rng = np.random.default_rng(2)
    probabilities = random_probabilities(rng)
    classes = draw_classes(rng, probabilities)
    weights = (rng.uniform(size=SHAPE) > 0.02).astype(np.float32)
    other = np.where(weights[:, None] > 0, probabilities, 0.25)
    results = []
    for p in (probabilities, other):
        calibration = CalibrationTally()
        calibration.update(p, Labels(classes, weights))
        scores = tally(expected_count(p), p.argmax(axis=1), Labels(classes, weights))
        results.append((scores, calibration.result()))
    (a, ca), (b, cb) = results
    assert (a.pixel_confusion == b.pixel_confusion).all()
    assert (a.window, a.frame) == (b.window, b.frame)
    assert a.frame_all != b.frame_all
    assert (ca.ece, ca.brier) == (cb.ece, cb.brier)
    assert a.pixel_confusion.sum() == weights.sum()


def test_chunked_equals_whole():
    rng = np.random.default_rng(3)
    probabilities = random_probabilities(rng)
    labels = all_reliable(draw_classes(rng, probabilities))
    whole, parts = CalibrationTally(), CalibrationTally()
    whole.update(probabilities, labels)
    chunked = CountTally(5)
    for start in range(0, 6, 2):
        piece = slice(start, start + 2)
        part = Labels(labels.classes[piece], labels.weights[piece])
        parts.update(probabilities[piece], part)
        p = probabilities[piece]
        chunked.update(expected_count(p), p.argmax(1), part, part.classes.sum(axis=(1, 2)))
    assert parts.result().ece == pytest.approx(whole.result().ece)
    assert parts.result().brier == pytest.approx(whole.result().brier)
    once = tally(expected_count(probabilities), probabilities.argmax(1), labels)
    assert chunked.result().window.bias == pytest.approx(once.window.bias)
    assert (chunked.result().window_confusion == once.window_confusion).all()


def test_probabilities_that_are_true_are_calibrated():
    rng = np.random.default_rng(4)
    probabilities = random_probabilities(rng, (80, 20, 25))
    calibration = CalibrationTally(10)
    calibration.update(probabilities, all_reliable(draw_classes(rng, probabilities)))
    result = calibration.result()
    n, p = result.n, result.mean_probability
    assert (np.abs(result.observed_share - p) < 4 * np.sqrt(p * (1 - p) / n) + 1e-3).all()
    assert result.ece < 4 * np.sqrt(0.25 / n.mean())
    # the Brier score of true probabilities is the mean of 1 - sum P²
    expected = 1 - (probabilities**2).sum(axis=1)
    error = expected.std() / np.sqrt(expected.size) + np.sqrt(0.5 / expected.size)
    assert abs(result.brier - expected.mean()) < 4 * error
    assert 0 < result.brier_skill < 1


def test_overconfidence_shows_as_calibration_error():
    rng = np.random.default_rng(5)
    probabilities = random_probabilities(rng)
    labels = all_reliable(draw_classes(rng, probabilities))
    sharp = probabilities**3
    sharp /= sharp.sum(axis=1, keepdims=True)
    ece, brier = [], []
    for p in (probabilities, sharp):
        calibration = CalibrationTally()
        calibration.update(p, labels)
        ece.append(calibration.result().ece)
        brier.append(calibration.result().brier)
    assert ece[1] > 2 * ece[0]
    assert brier[1] > brier[0]


def test_window_sums_tile_and_leave_the_rim_out():
    values = np.ones((2, 12, 11))
    sums = window_sums(values, 5)
    assert sums.shape == (2, 2, 2)
    assert (sums == 25).all()


def test_table_counts_agree_with_the_labels_of_a_reliable_table():
    rng = np.random.default_rng(6)
    field = Field(5, 12, 9, 100.0)
    table = Emitters(
        {
            "frame": rng.integers(0, 5, 60),
            "x_nm": rng.uniform(0, 900, 60),
            "y_nm": rng.uniform(0, 1200, 60),
        }
    )
    counts = table_counts(table, 1, 4, field)
    assert (np.minimum(counts, 3) == frame_labels(table, 1, 4, field).classes).all()
    assert counts.sum() == ((table["frame"] >= 1) & (table["frame"] < 4)).sum()
