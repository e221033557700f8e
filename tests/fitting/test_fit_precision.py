"""The frame-wise fit is unbiased, as precise as the data allow, and knows its errors."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import (
    EMCCD,
    GAUSSIAN,
    IDEAL,
    PIXEL_NM,
    bound_nm,
    crowded,
    errors_nm,
    make_scene,
    repeated,
    scmos,
)
from scipy.stats import chi2

from hdsmlm.config.fitting import FitConfig
from hdsmlm.fitting.frame_fit import fit_frames
from hdsmlm.imaging.fisher import EmitterModel, cramer_rao_bound
from hdsmlm.imaging.psf import AstigmaticPsf

SIZE = 13
GIVEN = FitConfig(choose_count=False, region_sigmas=4.0)


@pytest.mark.parametrize("camera", [IDEAL, EMCCD, scmos(SIZE)], ids=["ideal", "emccd", "scmos"])
@pytest.mark.parametrize("photons", [300.0, 1000.0, 10_000.0])
def test_isolated_emitters_reach_the_bound(camera, photons: float) -> None:
    n = 3000
    place = np.array([[SIZE / 2, SIZE / 2, 0.0]])
    scene = repeated(GAUSSIAN, camera, place, n, SIZE, photons=photons, seed=3)
    rows = fit_frames(scene.found, scene.data, GAUSSIAN, PIXEL_NM, GIVEN).localizations
    error, z_score = errors_nm(rows, scene)
    bound = bound_nm(scene, GAUSSIAN, camera, 1, SIZE, photons)
    # 2n errors: the standard error of their root mean square is 1/sqrt(4n) of it, 0.9 %
    assert np.sqrt(np.mean(error**2)) / np.sqrt(np.mean(bound**2)) == pytest.approx(1, abs=0.05)
    assert z_score.std() == pytest.approx(1, abs=0.05)
    # four standard errors of a mean of n
    assert (np.abs(error.mean(axis=0)) < bound * max(0.1, 4 / np.sqrt(n))).all()
    assert rows["photons"].mean() == pytest.approx(photons, rel=0.02)


def test_depth_of_an_astigmatic_emitter_reaches_the_bound() -> None:
    psf, n, size, photons = AstigmaticPsf(1.3, 250.0, 400.0), 1500, 19, 3000.0
    place = np.array([[size / 2, size / 2, 90.0]])
    scene = repeated(psf, EMCCD, place, n, size, photons=photons, seed=5)
    rows = fit_frames(scene.found, scene.data, psf, PIXEL_NM, GIVEN).localizations
    rows = rows.select(np.argsort(rows["emitter_id"]))
    error = rows["z_nm"] - 90.0
    model = EmitterModel(place, np.array([photons]), 10.0)
    bound = float(cramer_rao_bound(model, psf, EMCCD, (size, size)).z_nm[0])
    assert np.sqrt(np.mean(error**2)) / bound == pytest.approx(1, abs=0.08)
    assert abs(error.mean()) < 0.12 * bound
    assert np.std(error / rows["uncertainty_z_nm"]) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("sigmas", [1.0, 2.0, 4.0])
def test_two_emitters_reach_the_bound_for_two(sigmas: float) -> None:
    n, size, photons, half = 1200, 17, 5000.0, 0.65 * sigmas
    place = np.array([[8.5 - half, 8.5, 0.0], [8.5 + half, 8.5, 0.0]])
    scene = repeated(GAUSSIAN, EMCCD, place, n, size, photons=photons, seed=7)
    rows = fit_frames(scene.found, scene.data, GAUSSIAN, PIXEL_NM, GIVEN).localizations
    error, z_score = errors_nm(rows, scene)
    bound = bound_nm(scene, GAUSSIAN, EMCCD, 2, size, photons)
    ratio = np.sqrt(np.mean(error**2, axis=0)) / bound
    # the bound is asymptotic: at 1 sigma the errors along the pair have longer tails
    np.testing.assert_allclose(ratio, 1, atol=0.15 if sigmas == 1.0 else 0.07)
    np.testing.assert_allclose(z_score.std(axis=0), 1, atol=0.25 if sigmas == 1.0 else 0.07)


def test_positions_in_a_crowd_are_flat_modulo_the_pixel() -> None:
    scene = crowded(2, 2.0, (12, 64, 64))
    config = FitConfig(choose_count=False)
    rows = fit_frames(scene.found, scene.data, GAUSSIAN, PIXEL_NM, config).localizations
    inside = np.ones(len(rows), bool)
    for name in ("x_nm", "y_nm"):
        inside &= (rows[name] > 500) & (rows[name] < 5900)
    xy = np.stack([rows["x_nm"], rows["y_nm"]])[:, inside] / PIXEL_NM % 1
    counts = np.histogram(xy.ravel(), bins=10, range=(0, 1))[0]
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert chi2.sf(statistic, 9) > 1e-3


def test_a_free_common_width_is_found() -> None:
    n, place = 400, np.array([[6.5, 6.5, 0.0]])
    truth = type(GAUSSIAN)(1.45)
    scene = repeated(truth, EMCCD, place, n, SIZE, photons=5000.0, seed=2)
    config = FitConfig(choose_count=False, free_width=True, region_sigmas=4.0)
    rows = fit_frames(scene.found, scene.data, GAUSSIAN, PIXEL_NM, config).localizations
    sigma = rows["sigma_nm"]
    assert sigma.mean() == pytest.approx(145, abs=4 * sigma.std() / np.sqrt(n) + 0.3)
    assert sigma.std() < 6


def test_cut_groups_agree_with_one_joint_fit() -> None:
    """A chain of twelve, fitted whole or in groups of three with sweeps."""
    x = np.arange(12) * 3.2 + 6
    truth = np.column_stack([x, np.full(12, 9.5), np.zeros(12)])
    frame = np.zeros(12, int)
    scene = make_scene(GAUSSIAN, EMCCD, frame, truth, photons=3000.0, shape=(1, 19, 48), seed=1)
    tables = []
    for size, sweeps in ((12, 1), (3, 10)):
        config = FitConfig(choose_count=False, max_group_size=size, sweeps=sweeps, group_sigmas=4)
        rows = fit_frames(scene.found, scene.data, GAUSSIAN, PIXEL_NM, config).localizations
        tables.append(rows.select(np.argsort(rows["emitter_id"])))
    whole, cut = tables
    assert len(np.unique(whole["group_id"])) == 1
    assert len(np.unique(cut["group_id"])) >= 4
    for name in ("x_nm", "y_nm"):
        apart = (whole[name] - cut[name]) / whole[f"uncertainty_{name}"]
        # a cut group sees fewer pixels of its neighbours: the same answer within its error
        assert np.abs(apart).max() < 0.7
        ratio = cut[f"uncertainty_{name}"] / whole[f"uncertainty_{name}"]
        # the neighbours' neighbours are held: errors of cut groups are up to a sixth too small
        np.testing.assert_allclose(ratio, 1, atol=0.17)
