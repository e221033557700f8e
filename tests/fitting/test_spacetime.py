"""The space-time fit reaches the bound of a shared place and knows its errors."""

from __future__ import annotations

import numpy as np
import pytest
from blink_scenes import CONFIG, EMCCD, PIXEL_NM, movie_of
from scenes import IDEAL, scmos

from hdsmlm.fitting.blink_table import _with_wrong_choices, blink_rows
from hdsmlm.fitting.psf_kernels import fittable_psf
from hdsmlm.fitting.spacetime import fit_window
from hdsmlm.imaging.fisher import EmitterModel, cramer_rao_bound
from hdsmlm.imaging.psf import AstigmaticPsf, GaussianPsf

SPACING, SIDE, ON = 15, 14, 3
SIZE = SPACING * SIDE


def shape_of(camera) -> tuple[int, ...]:
    """Shape of the camera's maps; () where all pixels are alike."""
    return np.shape(camera.input_read_variance_e2)


def grid_errors(psf, camera, photons: float, seed: int):
    """Errors (n, dims) and z-scores of isolated blinks of three frames, and the bound (dims,)."""
    rng = np.random.default_rng(seed)
    centre = (np.arange(SIDE) + 0.5) * SPACING
    y, x = (axis.ravel() for axis in np.meshgrid(centre, centre, indexing="ij"))
    places = np.column_stack([x, y, 0 * x])
    places[:, :2] += rng.uniform(-0.5, 0.5, (len(x), 2))
    spans = np.tile([2, 1 + ON], (len(x), 1))
    shape = (ON + 4, SIZE, SIZE)
    rows = movie_of(psf, places, spans, photons, shape, camera=camera, seed=seed).fit()
    _, first = np.unique(rows["blink_id"], return_index=True)
    rows = rows.select(first)
    axes = ("x", "y", "z") if "z_nm" in rows else ("x", "y")
    found = np.column_stack([rows[f"{axis}_nm"] for axis in axes])
    spread = np.column_stack([rows[f"uncertainty_{axis}_nm"] for axis in axes])
    cell = (rows["y_nm"] // (100 * SPACING)) * SIDE + rows["x_nm"] // (100 * SPACING)
    truth = (places * [100, 100, 1])[cell.astype(int), : len(axes)]
    error = found - truth
    near = np.abs(error[:, :2]).max(axis=1) < 200  # births of noise in between
    assert near.sum() >= 0.98 * len(places)
    model = EmitterModel(np.array([[7.5, 7.5, 0.0]]), np.array([photons]), 10.0)
    one = cramer_rao_bound(model, psf, scmos(15) if shape_of(camera) else camera, (15, 15))
    bound = np.array([one.x_px[0] * 100, one.y_px[0] * 100])
    if len(axes) == 3:
        bound = np.append(bound, one.z_nm[0])
    return error[near], (error / spread)[near], bound / np.sqrt(ON)


@pytest.mark.parametrize("name", ["ideal", "emccd", "scmos"])
def test_isolated_blinks_reach_the_bound(name: str) -> None:
    camera = {"ideal": IDEAL, "emccd": EMCCD, "scmos": scmos(SIZE)}[name]
    error, z_score, bound = grid_errors(GaussianPsf(1.3), camera, 1000.0, seed=1)
    # some 390 errors: standard error of their root mean square 3.6 %
    assert np.sqrt((error**2).mean()) / np.sqrt((bound**2).mean()) == pytest.approx(1, abs=0.13)
    assert z_score.std() == pytest.approx(1, abs=0.13)
    assert np.abs(error.mean(axis=0)).max() < 4 * bound.max() / np.sqrt(len(error))


def test_depth_reaches_the_bound() -> None:
    error, z_score, bound = grid_errors(AstigmaticPsf(1.3, 250.0, 400.0), EMCCD, 4000.0, seed=2)
    np.testing.assert_allclose(np.sqrt((error**2).mean(axis=0)) / bound, 1, atol=0.2)
    np.testing.assert_allclose(z_score.std(axis=0), 1, atol=0.2)


def test_standard_errors_allow_for_wrong_choices_in_a_crowd() -> None:
    """Left: 4 blinks per square micrometre and frame; right: hardly any."""
    rng = np.random.default_rng(8)
    shape, density = (24, 48, 96), 0.04
    n = int(density * 24 * 48 * 48 / 2)
    first = rng.integers(0, shape[0], n)
    spans = np.stack([first, np.minimum(first + 1, shape[0] - 1)], 1)
    crowd = rng.uniform(0, 48, (n, 3)) * [1, 1, 0]
    alone = np.array([[76.0, 12.0, 0.0], [84.0, 36.0, 0.0]])
    places, spans = np.vstack([crowd, alone]), np.vstack([spans, [[3, 4], [12, 13]]])
    scene = movie_of(GaussianPsf(1.3), places, spans, 2000.0, shape, seed=8)
    psf = fittable_psf(scene.psf)
    fit = fit_window(scene.data, psf, scene.found, CONFIG)
    bare, wide = (blink_rows(fit, psf, PIXEL_NM, 0.5, crowding=c) for c in (0.0, 30.0))
    growth = (wide["uncertainty_x_nm"] / bare["uncertainty_x_nm"]) ** 2 - 1
    middle = (np.abs(bare["x_nm"] - 2400) < 1400) & (np.abs(bare["y_nm"] - 2400) < 1400)
    occupancy = 4 * np.pi * 1.3**2 * middle.sum() / (28**2 * shape[0])
    error = np.hypot(bare["uncertainty_x_nm"], bare["uncertainty_y_nm"]) / np.sqrt(2) / PIXEL_NM
    typical = np.exp(np.log(error[middle]).mean())
    law = 30.0 * occupancy**2 * typical**2 / (1.3 * error[middle])
    # places and errors are uneven, and rows below 0.5 count as well
    assert np.median(growth[middle] / law) == pytest.approx(1.0, rel=0.3)
    assert growth[bare["x_nm"] > 6500].max() < 0.02
    assert np.array_equal(wide["uncertainty_photons"], bare["uncertainty_photons"])


def test_the_allowance_follows_its_law_where_everything_is_even() -> None:
    """One blink per pixel of a field; the errors of one differ from those of all the others."""
    size, sigma_px, weight, crowding = 60, 1.3, 0.01, 33.0
    row, column = (index.ravel() for index in np.indices((size, size)))
    error = np.tile([0.2, 0.2, 40.0], (size**2, 1))
    odd = (size // 2) * size + size // 2
    error[odd] = [0.03, 0.07, 10.0]
    rows = (np.arange(size**2), np.full(size**2, weight))
    wide = _with_wrong_choices(error, (row, column), rows, (size, size), sigma_px, crowding)
    occupancy = 4 * np.pi * sigma_px**2 * weight
    lateral = np.sqrt((0.03**2 + 0.07**2) / 2)
    for blink, u in ((odd, lateral), (odd + 20, 0.2)):
        growth = crowding * occupancy**2 * 0.2**2 / (u * sigma_px)
        # the odd one itself is 2 % of what lies around it
        np.testing.assert_allclose((wide[blink] / error[blink]) ** 2 - 1, growth, rtol=0.08)
    none = _with_wrong_choices(error, (row, column), rows, (size, size), sigma_px, 0.0)
    assert np.array_equal(none, error)
