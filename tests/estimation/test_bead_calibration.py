"""Bead stacks of a known PSF: is it found again, and is every wrong stack refused?"""

import json
from itertools import pairwise

import numpy as np
import pytest
import tifffile
import yaml

from hdsmlm.config.base import parse_section
from hdsmlm.config.bead_calibration import BeadCalibrationConfig
from hdsmlm.config.psf import AstigmaticPsfConfig, SplinePsfConfig
from hdsmlm.errors import ConfigError, MovieError
from hdsmlm.estimation.astigmatism import fit_astigmatism
from hdsmlm.estimation.bead_alignment import register
from hdsmlm.estimation.bead_model import bspline, bspline_slope
from hdsmlm.estimation.bead_planes import fit_planes
from hdsmlm.estimation.beads import cut_beads, find_beads
from hdsmlm.imaging.build import build_psf
from hdsmlm.imaging.psf import AstigmaticPsf
from hdsmlm.pipelines.calibrate_psf import calibrate_psf, measure_psf

TRUTH = AstigmaticPsf(1.3, 250, 400)
STEP_NM = 40.0
PLANES = 31
PIXEL_NM = 110.0
CONFIG = BeadCalibrationConfig(
    z_step_nm=STEP_NM, pixel_size_nm=PIXEL_NM, radius_px=9, fit_radius_px=8
)
# x, y in pixels, plane of focus
BEADS = np.array(
    [
        [16.2, 17.9, 14.6],
        [47.7, 15.1, 15.2],
        [80.4, 18.5, 15.9],
        [15.6, 50.3, 15.0],
        [48.1, 52.8, 14.3],
        [79.9, 49.6, 15.4],
        [30.5, 81.2, 15.1],
    ]
)


def draw_stack(beads, photons=40000.0, seed=3, planes=PLANES):
    """Grey values: 2 per photon on 100, with 8 background photons per pixel."""
    rng = np.random.default_rng(seed)
    expected = np.full((planes, 96, 96), 8.0)
    plane = np.arange(planes)
    for x, y, focus in beads:
        z_nm = (plane - focus) * STEP_NM
        place = np.column_stack([np.full(planes, x), np.full(planes, y), z_nm])
        TRUTH.add_to(expected, plane, place, np.full(planes, photons))
    return (100 + 2 * rng.poisson(expected)).astype(np.uint16)


@pytest.fixture(scope="module")
def stack():
    return draw_stack(BEADS)


@pytest.fixture(scope="module")
def result(stack):
    return measure_psf([stack], CONFIG, PIXEL_NM)


def test_spline_reproduces_the_psf(result):
    rng = np.random.default_rng(5)
    x, y, z = rng.uniform(9, 10, 60), rng.uniform(9, 10, 60), rng.uniform(-400, 400, 60)
    found, true = (psf.images(x, y, z, (19, 19)).share for psf in (result.psf, TRUTH))
    assert np.abs(found - true).max() < 0.02 * true.max()
    scale = (found * true).sum() / np.square(true).sum()
    assert scale == pytest.approx(1, abs=0.01)
    relative = np.sqrt(np.square(found - true).mean() / np.square(true).mean())
    assert relative < 0.01


def test_beads_lie_where_they_were_put(result):
    found = np.array(
        [
            [p.column + 0.5 + x, p.row + 0.5 + y, z]
            for p, x, y, z in zip(
                result.volumes.places,
                result.model.beads.x_px,
                result.model.beads.y_px,
                result.model.beads.z_planes,
                strict=True,
            )
        ]
    )
    nearest = np.hypot(*(found[:, None, :2] - BEADS[:, :2]).T).argmin(axis=0)
    assert sorted(nearest) == list(range(len(BEADS)))
    error = found - BEADS[nearest]
    np.testing.assert_allclose(error[:, :2], 0, atol=0.03)
    np.testing.assert_allclose(error[:, 2] * STEP_NM, 0, atol=6)


def test_z_of_single_planes_has_a_small_bias(result):
    assert result.accuracy.held_out
    residual = result.accuracy.in_middle()
    standard_error = residual.std() / np.sqrt(len(residual))
    assert abs(residual.mean()) < 1 + 4 * standard_error
    assert residual.std() < 5
    assert abs(result.accuracy.worst_bias_nm()) < 4
    edges = np.linspace(-350, 350, 6)
    stage, all_residuals = result.accuracy.stage_nm, result.accuracy.residual_nm
    for low, high in pairwise(edges):
        part = all_residuals[(stage >= low) & (stage < high)]
        assert abs(part.mean()) < 3 + 4 * part.std() / np.sqrt(len(part))


def test_astigmatic_curve_is_found_again(result):
    fit = fit_astigmatism(result.psf)
    assert fit.config.sigma_px == pytest.approx(1.3, rel=0.03)
    assert fit.config.focus_offset_nm == pytest.approx(250, rel=0.05)
    assert fit.config.focal_depth_nm == pytest.approx(400, rel=0.05)
    assert fit.rms_px < 0.05
    assert abs(fit.middle_nm) < 10
    mirrored = AstigmaticPsfConfig(focus_offset_nm=-250)
    x, y = build_psf(mirrored).sigmas_px(-250.0)
    assert x < y


def test_sign_of_astigmatism_follows_the_stack(stack):
    turned = measure_psf([stack[:, :64].transpose(0, 2, 1)], CONFIG, PIXEL_NM)
    assert turned.astigmatism.config.focus_offset_nm == pytest.approx(-250, rel=0.05)


def test_several_stacks_make_one_psf(stack, result):
    both = measure_psf([stack, draw_stack(BEADS[:2], seed=9)], CONFIG, PIXEL_NM)
    assert len(both.volumes.places) == len(BEADS) + 2
    assert {p.stack for p in both.volumes.places} == {0, 1}
    places = (9.4, 9.7, 120.0, (19, 19))
    np.testing.assert_allclose(
        both.psf.images(*places).share, result.psf.images(*places).share, atol=2e-3
    )


def test_unfit_beads_are_put_aside_with_a_reason(stack):
    rng = np.random.default_rng(2)
    unfit = np.array([[4.0, 75.0, 15.0], [62.0, 78.0, 15.0], [74.0, 80.0, 15.0]])
    crowd = draw_stack(np.vstack([BEADS[:6], unfit]))
    reasons = [p.rejected for p in find_beads(crowd, CONFIG)]
    assert reasons.count("too close to the border") == 1
    assert reasons.count("another bead is too close") == 2
    assert reasons.count("") == 6
    doublet = draw_stack(np.vstack([BEADS[:6], [[60.0, 80.0, 15.0], [62.6, 81.0, 11.0]]]))
    put_aside = {p.rejected for p in measure_psf([doublet], CONFIG, PIXEL_NM).places}
    assert put_aside == {"", "shape differs from the others"}
    bright = np.where(stack > 3000, np.uint16(65535), stack)
    assert "saturated" in {p.rejected for p in find_beads(bright, CONFIG)}
    assert not find_beads(rng.poisson(100, (PLANES, 60, 60)).astype(np.uint16), CONFIG)


def test_registration_is_below_a_tenth_of_a_pixel(stack):
    volumes = cut_beads([stack], find_beads(stack, CONFIG), 9)
    beads = register(volumes.adu)
    columns = np.array([p.column + 0.5 for p in volumes.places]) + beads.x_px
    nearest = [np.abs(BEADS[:, 0] - c).argmin() for c in columns]
    error = columns - BEADS[nearest, 0]
    assert np.abs(error - error.mean()).max() < 0.1


def test_noise_free_plane_gives_back_its_place(result):
    images = result.psf.images([8.3, 8.9], [8.8, 8.1], [-210.0, 330.0], (17, 17)).share
    fits = fit_planes(result.psf, 5000 * images + 20, 15.0)
    np.testing.assert_allclose(fits.x_px, [8.3, 8.9], atol=1e-3)
    np.testing.assert_allclose(fits.y_px, [8.8, 8.1], atol=1e-3)
    np.testing.assert_allclose(fits.z_nm, [-210, 330], atol=0.2)
    np.testing.assert_allclose(fits.signal, 5000, rtol=1e-3)
    np.testing.assert_allclose(fits.background, 20, rtol=1e-2)


def test_bsplines_sum_to_one_and_have_their_slope():
    t = np.linspace(-0.49, 0.49, 9)[:, None] - np.arange(-3, 4)
    np.testing.assert_allclose(bspline(t).sum(axis=1), 1, atol=1e-12)
    difference = (bspline(t + 1e-5) - bspline(t - 1e-5)) / 2e-5
    np.testing.assert_allclose(bspline_slope(t), difference, atol=1e-8)


def test_stacks_that_cannot_be_used_are_refused(stack):
    broken = stack.astype(np.float32)
    broken[3, 4, 5] = np.nan
    with pytest.raises(MovieError, match="1 values that are NaN"):
        find_beads(broken, CONFIG)
    with pytest.raises(MovieError, match="9 planes or more"):
        find_beads(stack[:5], CONFIG)
    noise = np.random.default_rng(1).poisson(100, (PLANES, 60, 60)).astype(np.uint16)
    with pytest.raises(MovieError, match=r"no usable beads.*none found"):
        measure_psf([noise], CONFIG, PIXEL_NM)
    with pytest.raises(MovieError, match="31 planes; stacks with the same"):
        measure_psf([stack, stack[:20]], CONFIG, PIXEL_NM)
    with pytest.raises(MovieError, match="right --z-step"):
        measure_psf([stack], CONFIG.model_copy(update={"z_step_nm": 1.0}), PIXEL_NM)
    with pytest.raises(ConfigError, match="z_step_nm"):
        parse_section(BeadCalibrationConfig, {"z_step_nm": -10}, "hdsmlm calibrate")


def test_wrong_step_is_noted(stack):
    wrong = CONFIG.model_copy(update={"z_step_nm": 400.0, "z_knot_nm": 400.0})
    notes = measure_psf([stack], wrong, PIXEL_NM).notes
    assert any("is --z-step right?" in note for note in notes)


def test_pipeline_writes_a_calibration_that_can_be_used(stack, tmp_path):
    path = tmp_path / "beads.tif"
    tifffile.imwrite(path, stack)
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="give --pixel-size"):
        calibrate_psf([path], CONFIG.model_copy(update={"pixel_size_nm": None}), out)
    assert not out.exists()
    result = calibrate_psf([path], CONFIG, out)
    for name in ("beads", "slices", "z_accuracy", "astigmatism"):
        assert (out / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    section = parse_section(
        SplinePsfConfig, yaml.safe_load((out / "spline.yaml").read_text()), "spline.yaml"
    )
    psf = build_psf(section, pixel_size_nm=PIXEL_NM)
    np.testing.assert_array_equal(psf.coefficients, result.psf.coefficients)
    assert psf.provenance["stage"] == "calibrate"
    assert psf.provenance["parents"].keys() == {"beads.tif"}
    astigmatic = yaml.safe_load((out / "astigmatic.yaml").read_text())
    assert build_psf(AstigmaticPsfConfig(**astigmatic)).is_3d
    numbers = json.loads((out / "summary.json").read_text())
    assert numbers["beads_used"] == len(BEADS)
    assert "7 beads used" in (out / "summary.txt").read_text()
    with pytest.raises(ConfigError, match="calibrated with pixels of 110 nm"):
        build_psf(section, pixel_size_nm=100.0)


@pytest.mark.shared_data
def test_real_beads_give_back_the_stage(shared_data):
    stack = tifffile.imread(shared_data / "beads" / "beads_astigmatic_151z_10nm.tif")[::3]
    config = BeadCalibrationConfig(z_step_nm=30, pixel_size_nm=100, radius_px=10)
    result = measure_psf([stack], config, 100.0)
    assert len(result.volumes.places) == 6
    residual = result.accuracy.in_middle()
    assert abs(residual.mean()) < 2
    assert residual.std() < 9
    assert result.astigmatism.config.focus_offset_nm < 0
