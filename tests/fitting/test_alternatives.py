"""What the space-time fit did not choose is told, with its weight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from blink_scenes import CONFIG, PIXEL_NM, Scene, movie_of
from scipy.spatial import cKDTree

from hdsmlm.fitting.blink_table import blink_rows, refused_rows
from hdsmlm.fitting.psf_kernels import fittable_psf
from hdsmlm.fitting.result import LEAST_WEIGHT
from hdsmlm.fitting.spacetime import WindowFit, fit_window
from hdsmlm.imaging.psf import GaussianPsf
from hdsmlm.records.emitters import Emitters

GAUSSIAN = GaussianPsf(1.3)
PSF = fittable_psf(GAUSSIAN)
SHAPE = (40, 64, 64)
MIN_PROBABILITY = 0.3


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Blinks from 100 to 1000 photons; the network found those that have 500 or more."""
    rng = np.random.default_rng(6)
    n = 600
    first = rng.integers(0, SHAPE[0], n)
    last = np.minimum(first + rng.geometric(0.5, n) - 1, SHAPE[0] - 1)
    places = rng.uniform(4, 60, (n, 3)) * [1, 1, 0]
    photons = 10 ** rng.uniform(2, 3, n)
    spans = np.stack([first, last], 1)
    drawn = movie_of(GAUSSIAN, places, spans, photons, SHAPE, seed=6)
    bright = photons > 500
    found = movie_of(GAUSSIAN, places[bright], spans[bright], 500.0, SHAPE, seed=6).found
    return Scene(drawn.psf, drawn.data, places, first, last, found)


@pytest.fixture(scope="module")
def fitted(scene: Scene) -> WindowFit:
    return fit_window(scene.data, PSF, scene.found, CONFIG, keep_alternatives=True)


def true_rows(scene: Scene) -> np.ndarray:
    """Place (nm) and frame of every blink in each of its frames, in the units of ``points``."""
    length = scene.last - scene.first + 1
    owner = np.repeat(np.arange(len(length)), length)
    frame = np.concatenate(
        [np.arange(a, b + 1) for a, b in zip(scene.first, scene.last, strict=True)]
    )
    return np.column_stack([scene.places[owner, :2] * PIXEL_NM, 1e5 * frame])


def points(rows: Emitters) -> np.ndarray:
    """Place (nm) and frame, of which one counts as far as it takes."""
    return np.column_stack([rows["x_nm"], rows["y_nm"], 1e5 * rows["frame"]])


def test_what_is_likelier_is_true_more_often(scene: Scene, fitted: WindowFit) -> None:
    """Without a count map faint light everywhere is overrated, but the order holds."""
    rows = blink_rows(fitted, PSF, PIXEL_NM, MIN_PROBABILITY)
    others = refused_rows(fitted, PSF, PIXEL_NM, MIN_PROBABILITY)
    truth = true_rows(scene)
    distance, nearest = cKDTree(truth).query(points(rows))
    left = np.delete(truth, np.unique(nearest[distance < 150]), axis=0)
    true = cKDTree(left).query(points(others))[0] < 150
    weight = others["probability"]
    likely, unlikely = weight > 0.5, weight < 0.2
    assert likely.sum() > 20
    assert unlikely.sum() > 200
    assert true[likely].mean() > 0.3
    assert true[unlikely].mean() < 0.06
    assert weight.min() >= LEAST_WEIGHT


def test_alternatives_are_no_localizations_and_change_none(scene: Scene, fitted: WindowFit) -> None:
    rows = blink_rows(fitted, PSF, PIXEL_NM, MIN_PROBABILITY)
    others = refused_rows(fitted, PSF, PIXEL_NM, MIN_PROBABILITY)
    assert "blink_id" not in others
    assert cKDTree(points(rows)).query(points(others))[0].min() > 1.0
    alone = fit_window(scene.data, PSF, scene.found, CONFIG)
    again = blink_rows(alone, PSF, PIXEL_NM, MIN_PROBABILITY)
    assert all(np.array_equal(rows[name], again[name]) for name in rows.names)
    with pytest.raises(ValueError, match="keep_alternatives"):
        refused_rows(alone, PSF, PIXEL_NM, MIN_PROBABILITY)


def test_a_frame_that_a_blink_may_have_lasted_longer_is_told() -> None:
    """Blinks of 1500 photons a frame have 45 in their last one."""
    centre = (np.arange(5) + 0.5) * 16
    y, x = (axis.ravel() for axis in np.meshgrid(centre, centre, indexing="ij"))
    places = np.column_stack([x, y, 0 * x])
    bright_span, faint_span = (np.tile(span, (len(x), 1)) for span in ([3, 4], [5, 5]))
    shape = (9, 80, 80)
    bright = movie_of(GAUSSIAN, places, bright_span, 1500.0, shape, seed=2)
    faint = movie_of(GAUSSIAN, places, faint_span, 45.0, shape, seed=3, background=0.0)
    light = bright.data.counts + faint.data.counts - bright.data.offset
    data = replace(bright.data, counts=light.astype(np.float32))
    fit = fit_window(data, PSF, bright.found, CONFIG, keep_alternatives=True)
    rows = blink_rows(fit, PSF, PIXEL_NM, MIN_PROBABILITY)
    others = refused_rows(fit, PSF, PIXEL_NM, MIN_PROBABILITY)
    truth = np.column_stack([places[:, :2] * PIXEL_NM, np.full(len(x), 5e5)])
    told = cKDTree(points(Emitters.concatenate([rows, others]))).query(truth)[0] < 100
    kept = cKDTree(points(rows)).query(truth)[0] < 100
    assert kept.sum() < 10
    assert told.sum() > 20
