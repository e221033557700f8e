"""One conformance test for all PSFs, and what is particular to each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import j1

from hdsmlm.config.base import parse_section
from hdsmlm.config.psf import (
    AstigmaticPsfConfig,
    DiffractionPsfConfig,
    GaussianPsfConfig,
)
from hdsmlm.errors import ConfigError
from hdsmlm.imaging.build import build_psf
from hdsmlm.imaging.psf import AstigmaticPsf, GaussianPsf, Psf
from hdsmlm.imaging.spline import SplinePsf, bsplines_from_samples, cells_from_bsplines

SHAPE = (31, 33)
PSFS = {
    "gaussian": build_psf(GaussianPsfConfig(sigma_px=1.3)),
    "narrow": build_psf(GaussianPsfConfig(sigma_px=0.6)),
    "astigmatic": build_psf(AstigmaticPsfConfig()),
    "diffraction": build_psf(DiffractionPsfConfig()),
    "airy": build_psf(DiffractionPsfConfig(numerical_aperture=1.2, max_defocus_nm=0)),
}


def _spline() -> SplinePsf:
    """An astigmatic Gaussian as a spline, whose own numbers the tests below ask for."""
    planes_nm = np.arange(-600.0, 601.0, 50.0)
    samples = PSFS["astigmatic"].images(*np.full((2, len(planes_nm)), 16.5), planes_nm, (33, 33))
    cells = cells_from_bsplines(bsplines_from_samples(samples.share))
    return SplinePsf(cells, -600.0, 50.0, 100.0)


PSFS["spline"] = _spline()
PLACES = [(16.5, 15.5, 0.0), (16.02, 15.93, 120.0), (15.37, 14.61, -310.0)]


@pytest.fixture(params=PSFS.values(), ids=PSFS.keys())
def psf(request: pytest.FixtureRequest) -> Psf:
    return request.param


def test_shares_sum_to_one(psf):
    images = psf.images(*np.array(PLACES).T, SHAPE)
    assert images.share.shape == (3, *SHAPE)
    np.testing.assert_allclose(images.share.sum(axis=(1, 2)), 1, atol=1e-6)
    assert images.share.min() > -1e-6


def test_gradients_are_those_of_finite_differences(psf):
    x, y, z = np.array(PLACES).T
    x, y, z = x + 0.003, y + 0.003, z + 7.0  # off the table's planes
    images = psf.images(x, y, z, SHAPE)

    def difference(step_x, step_y, step_z):
        ahead = psf.images(x + step_x, y + step_y, z + step_z, SHAPE).share
        behind = psf.images(x - step_x, y - step_y, z - step_z, SHAPE).share
        return (ahead - behind) / (2 * max(step_x, step_y, step_z))

    scale = np.abs(images.by_x).max()
    np.testing.assert_allclose(images.by_x, difference(1e-4, 0, 0), atol=1e-6 * scale)
    np.testing.assert_allclose(images.by_y, difference(0, 1e-4, 0), atol=1e-6 * scale)
    depth = max(np.abs(images.by_z).max(), 1e-12)
    np.testing.assert_allclose(images.by_z, difference(0, 0, 1e-2), atol=1e-5 * depth)


def test_centre_of_mass_is_the_position(psf):
    images = psf.images(*np.array(PLACES).T, SHAPE).share
    column, row = np.arange(SHAPE[1]) + 0.5, np.arange(SHAPE[0]) + 0.5
    np.testing.assert_allclose(
        (images * column).sum(axis=(1, 2)), [p[0] for p in PLACES], atol=5e-3
    )
    np.testing.assert_allclose(
        (images * row[:, None]).sum(axis=(1, 2)), [p[1] for p in PLACES], atol=5e-3
    )


def test_shift_by_a_pixel_shifts_the_image(psf):
    here = psf.images(15.3, 14.8, 50.0, SHAPE).share[0]
    there = psf.images(16.3, 14.8, 50.0, SHAPE).share[0]
    np.testing.assert_allclose(there[:, 1:], here[:, :-1], atol=1e-12)


def test_the_simulators_image_is_the_fitters_image(psf):
    frame = np.zeros(len(PLACES), np.int64)
    photons = np.array([100.0, 700.0, 3000.0])
    stack = np.full((2, *SHAPE), 5.0)
    peak = psf.add_to(stack, frame, np.array(PLACES), photons)
    images = psf.images(*np.array(PLACES).T, SHAPE).share
    expected = np.einsum("n,nyx->yx", photons, images) + 5
    np.testing.assert_allclose(stack[0], expected, atol=0.005 * (expected.max() - 5))
    np.testing.assert_array_equal(stack[1], 5)
    own = [images[i, int(p[1]), int(p[0])] for i, p in enumerate(PLACES)]
    np.testing.assert_allclose(peak, own, rtol=0.005)


def test_light_of_an_emitter_outside_leaks_in(psf):
    whole, cut = np.zeros((1, 40, 40)), np.zeros((1, 20, 20))
    photons = np.array([1000.0])
    psf.add_to(whole, np.zeros(1, np.int64), np.array([[9.4, 25.0, 40.0]]), photons)
    psf.add_to(cut, np.zeros(1, np.int64), np.array([[-0.6, 15.0, 40.0]]), photons)
    np.testing.assert_allclose(cut[0], whole[0, 10:30, 10:30], atol=1e-9)
    assert cut.sum() > 100


def test_is_a_psf(psf):
    assert isinstance(psf, Psf)


@settings(max_examples=40, deadline=None)
@given(x=st.floats(-8, 40), y=st.floats(-8, 40), z=st.floats(-900, 900), sigma=st.floats(0.5, 2.5))
def test_no_place_gives_negative_light_or_more_than_was_emitted(x, y, z, sigma):
    for kind in (GaussianPsf(sigma), AstigmaticPsf(sigma, 250, 400), PSFS["diffraction"]):
        stack = np.zeros((1, 24, 30))
        kind.add_to(stack, np.zeros(1, np.int64), np.array([[x, y, z]]), np.array([1.0]))
        assert stack.min() >= -1e-6
        assert stack.sum() <= 1 + 1e-6


def test_gaussian_variance_is_sigma_squared_plus_the_pixels():
    share = GaussianPsf(1.3).images(16.5, 15.5, 0, SHAPE).share[0]
    offset = np.arange(SHAPE[1]) + 0.5 - 16.5
    assert (share * offset**2).sum() == pytest.approx(1.3**2 + 1 / 12, rel=1e-6)


def test_astigmatism_tells_the_sign_of_z():
    psf = AstigmaticPsf(1.3, 250, 400)
    above_x, above_y = psf.sigmas_px(250.0)
    below_x, below_y = psf.sigmas_px(-250.0)
    assert above_x == pytest.approx(1.3)
    assert below_y == pytest.approx(1.3)
    assert above_y == pytest.approx(below_x)
    assert above_y > 1.3 * 1.5
    assert psf.sigmas_px(650.0)[0] == pytest.approx(1.3 * np.sqrt(2))


def test_in_focus_diffraction_is_the_airy_pattern():
    psf = PSFS["airy"]
    config = psf.config
    r_nm = np.linspace(1, 700, 60)
    v = 2 * np.pi * config.numerical_aperture / config.wavelength_nm * r_nm
    airy = np.square(2 * j1(v) / v)
    profile = psf.radial_profile(r_nm, np.zeros(1))[0]
    np.testing.assert_allclose(profile * 4, airy, atol=1e-9)


def test_defocus_spreads_the_light_symmetrically():
    psf = PSFS["diffraction"]
    peak = [psf.images(16.5, 15.5, z, SHAPE).share.max() for z in (0, 200, -200, 400)]
    assert peak[0] > peak[1] > peak[3]
    assert peak[1] == pytest.approx(peak[2])
    assert psf.width_px(0.0) < psf.width_px(300.0) < psf.width_px(500.0)


def test_diffraction_core_has_the_width_of_its_gaussian():
    """0.21·λ/NA, and the pixel of 100 nm adds 1/12 px² of variance."""
    config = DiffractionPsfConfig(numerical_aperture=1.0, wavelength_nm=700, pixel_size_nm=50)
    expected_px = 0.21 * 700 / 1.0 / 50
    assert build_psf(config).width_px(0.0) == pytest.approx(expected_px, rel=0.1)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (GaussianPsfConfig, {"sigma_px": 0}, "sigma_px.*greater than"),
        (AstigmaticPsfConfig, {"focal_depth_nm": 0}, "focal_depth_nm"),
        (DiffractionPsfConfig, {"numerical_aperture": 1.6}, "refractive index"),
        (DiffractionPsfConfig, {"wavelenght_nm": 600}, "did you mean 'wavelength_nm'"),
    ],
)
def test_impossible_values_are_refused(section, values, message):
    with pytest.raises(ConfigError, match=message):
        parse_section(section, values, "psf.yaml")


def test_impossible_psfs_cannot_be_made():
    with pytest.raises(ConfigError, match="sigma_px must be above 0, got 0"):
        GaussianPsf(0)
    with pytest.raises(ConfigError, match="focal_depth_nm"):
        AstigmaticPsf(1.3, 250, 0)
