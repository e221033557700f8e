"""The joint fit's background, its standard error, and models that are not everywhere positive."""

from __future__ import annotations

import numpy as np
import pytest
from blink_scenes import CONFIG, PIXEL_NM, blink_scene, movie_of

from hdsmlm.errors import MovieError
from hdsmlm.fitting.blink_table import blink_rows
from hdsmlm.fitting.psf_kernels import fittable_psf
from hdsmlm.fitting.spacetime import fit_window
from hdsmlm.imaging.camera import IdealCamera
from hdsmlm.imaging.psf import AstigmaticPsf, GaussianPsf
from hdsmlm.imaging.spline import SplinePsf, bsplines_from_samples, cells_from_bsplines

PSF = GaussianPsf(1.3)


@pytest.mark.parametrize("rounds", [3, 8])
def test_the_standard_error_is_that_of_all_renewals(rounds: int) -> None:
    nothing = movie_of(PSF, np.empty((0, 3)), np.empty((0, 2), int), 1.0, (80, 56, 56), seed=1)
    empty = type(nothing.found)(*(column[:0] for column in vars(nothing.found).values()))
    config = CONFIG.model_copy(update={"rounds": rounds, "birth_score": 20.0})
    state_error, claimed = [], []
    for seed in range(3):
        scene = movie_of(PSF, np.empty((0, 3)), np.empty((0, 2), int), 1.0, (80, 56, 56), seed=seed)
        fit = fit_window(scene.data, fittable_psf(PSF), empty, config)
        inner = (slice(15, 65), slice(12, -12), slice(12, -12))
        state_error.append(fit.background[inner] - 10.0)
        claimed.append(np.median(fit.background_error[inner]))
    assert np.std(state_error) == pytest.approx(np.mean(claimed), rel=0.2)


def test_data_that_are_not_finite_are_refused() -> None:
    scene = blink_scene(PSF, seed=1)
    scene.data.counts[2, 5, 5] = np.nan
    with pytest.raises(MovieError, match="NaN or infinite"):
        fit_window(scene.data, fittable_psf(PSF), scene.found, CONFIG)


@pytest.mark.filterwarnings("error")
def test_negative_wings_of_a_measured_psf_do_no_harm() -> None:
    """The model of a bright emitter on a dark background falls below 0 at some pixels."""
    true = AstigmaticPsf(1.3, 200.0, 400.0)
    z_nm = np.arange(-600, 601, 50.0)
    middle = np.full(len(z_nm), 12.5)
    samples = true.images(middle, middle, z_nm, (25, 25)).share
    rng = np.random.default_rng(0)
    samples = samples + rng.normal(0, 2e-4, samples.shape[1:])
    measured = SplinePsf(
        cells_from_bsplines(bsplines_from_samples(samples)), -600.0, 50.0, PIXEL_NM
    )
    places = rng.uniform(0, 1, (12, 3)) * [24, 24, 600] + [4, 4, -300]
    first = rng.integers(0, 6, 12)
    scene = movie_of(
        true, places, np.stack([first, first + 2], 1), 20_000.0, (10, 32, 32),
        camera=IdealCamera(0.9, 1.0, 100.0), background=0.5,
    )  # fmt: skip
    psf = fittable_psf(measured)
    fit = fit_window(scene.data, psf, scene.found, CONFIG)
    assert fit.window.model.min() < 0
    rows = blink_rows(fit, psf, PIXEL_NM, 0.3)
    for name in rows.names:
        assert np.isfinite(rows[name]).all(), name
    # 0.5 nm with the true PSF; the errors of a wrong one are not in it, but none is nearly 0
    assert np.min(rows["uncertainty_x_nm"]) > 0.1
    assert np.max(rows["uncertainty_x_nm"]) < 60.0
