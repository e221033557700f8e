"""Fisher information and the Cramér-Rao bound."""

import numpy as np
import pytest

from hdsmlm.config.psf import AstigmaticPsfConfig, DiffractionPsfConfig, GaussianPsfConfig
from hdsmlm.imaging.background import Background, smooth_field
from hdsmlm.imaging.build import build_psf
from hdsmlm.imaging.camera import EmccdCamera, IdealCamera, ScmosCamera
from hdsmlm.imaging.fisher import (
    EmitterModel,
    cramer_rao_bound,
    expected_photons,
    fisher_information,
    photon_gradients,
)
from hdsmlm.imaging.psf import GaussianPsf
from hdsmlm.imaging.snr import background_snr

SHAPE = (15, 16)
IDEAL = IdealCamera(1.0, 1.0, 0.0)
EMCCD = EmccdCamera(0.9, 300.0, 60.0, 0.002, 20.0, 100.0)
PAIR = EmitterModel(
    np.array([[7.2, 6.9, 30.0], [9.4, 8.1, -160.0]]), np.array([1500.0, 700.0]), 12.0
)


def _bound(n_photons: float, background: float, camera=IDEAL, sigma: float = 1.3) -> float:
    model = EmitterModel(np.array([[8.0, 7.5, 0.0]]), np.array([n_photons]), background)
    return float(cramer_rao_bound(model, GaussianPsf(sigma), camera, SHAPE).x_px[0])


@pytest.mark.parametrize(
    "config", [GaussianPsfConfig(), AstigmaticPsfConfig(), DiffractionPsfConfig()]
)
def test_gradients_are_those_of_finite_differences(config):
    psf = build_psf(config)
    gradients = photon_gradients(PAIR, psf, SHAPE)
    axes = 3 if psf.is_3d else 2
    numeric = []
    for axis in range(axes):
        step = 1e-2 if axis == 2 else 1e-4
        for i in range(2):
            shift = np.zeros((2, 3))
            shift[i, axis] = step
            ends = [
                expected_photons(EmitterModel(p, PAIR.photons, 12.0), psf, SHAPE)
                for p in (PAIR.position + shift, PAIR.position - shift)
            ]
            numeric.append((ends[0] - ends[1]) / (2 * step))
    np.testing.assert_allclose(gradients[: 2 * axes], numeric, atol=1e-3)
    more = EmitterModel(PAIR.position, PAIR.photons + np.array([1, 0]), 12.0)
    change = expected_photons(more, psf, SHAPE) - expected_photons(PAIR, psf, SHAPE)
    np.testing.assert_allclose(gradients[2 * axes], change, atol=1e-9)


def test_information_is_the_curvature_of_the_expected_likelihood():
    """I = -E[d²/dθ² log L] for Poisson; the expectation of log L is m0·log m - m at truth m0."""
    psf = GaussianPsf(1.3)
    truth = expected_photons(PAIR, psf, SHAPE)

    def likelihood(shift_x: float, shift_background: float) -> float:
        position = PAIR.position.copy()
        position[0, 0] += shift_x
        moved = EmitterModel(position, PAIR.photons, PAIR.background + shift_background)
        mean = expected_photons(moved, psf, SHAPE)
        return float((truth * np.log(mean) - mean).sum())

    information = fisher_information(PAIR, psf, IDEAL, SHAPE)
    e = 1e-3
    centre = likelihood(0, 0)
    curvature_x = (likelihood(e, 0) + likelihood(-e, 0) - 2 * centre) / e**2
    mixed = likelihood(e, e) - likelihood(e, -e) - likelihood(-e, e) + likelihood(-e, -e)
    assert information[0, 0] == pytest.approx(-curvature_x, rel=1e-4)
    assert information[0, -1] == pytest.approx(-mixed / (4 * e**2), rel=1e-3)
    np.testing.assert_allclose(information, information.T)


@pytest.mark.parametrize(("n_photons", "background"), [(300, 5), (1000, 20), (5000, 50)])
def test_one_emitter_has_the_bound_of_the_known_formula(n_photons, background):
    """Rieger & Stallinga, ChemPhysChem 15, 664 (2014): within 4 % of s²/N·(1 + 4t + sqrt(...))."""
    variance = 1.3**2 + 1 / 12
    t = 2 * np.pi * variance * background / n_photons
    known = np.sqrt(variance / n_photons * (1 + 4 * t + np.sqrt(2 * t / (1 + 4 * t))))
    assert _bound(n_photons, background) == pytest.approx(known, rel=0.04)


def test_without_background_the_bound_is_sigma_over_root_n():
    assert _bound(1000, 1e-4) == pytest.approx(np.sqrt((1.3**2 + 1 / 12) / 1000), rel=0.01)


def test_excess_noise_costs_a_factor_of_root_two():
    quiet = EmccdCamera(1.0, 300.0, 0.0, 0.0, 20.0, 100.0)
    assert _bound(1000, 10, quiet) == pytest.approx(np.sqrt(2) * _bound(1000, 10), rel=1e-9)


def test_read_noise_counts_as_background():
    """Variance v in every pixel acts as v more background photons (Huang et al. 2013)."""
    scmos = ScmosCamera(1.0, 2.0, 100.0, 6.0 * 4)
    assert _bound(1000, 4, scmos) == pytest.approx(_bound(1000, 10), rel=1e-9)


def test_a_neighbour_never_helps_and_a_close_one_costs_most():
    psf, near, far = GaussianPsf(1.3), [], []
    for distance, store in ((1.0, near), (5.0, far)):
        position = np.array([[7.0, 7.5, 0.0], [7.0 + distance, 7.5, 0.0]])
        model = EmitterModel(position, np.array([1000.0, 1000.0]), 10.0)
        store.append(cramer_rao_bound(model, psf, EMCCD, SHAPE).x_px[0])
    alone = EmitterModel(np.array([[7.0, 7.5, 0.0]]), np.array([1000.0]), 10.0)
    single = cramer_rao_bound(alone, psf, EMCCD, SHAPE).x_px[0]
    assert near[0] > 2 * far[0]
    assert far[0] >= single * (1 - 1e-9)


def test_emitters_at_one_place_have_no_finite_bound():
    position = np.array([[7.0, 7.5, 0.0]] * 2)
    model = EmitterModel(position, np.array([1000.0, 1000.0]), 10.0)
    bound = cramer_rao_bound(model, GaussianPsf(1.3), IDEAL, SHAPE)
    assert bound.x_px[0] > 1e3
    assert np.isfinite(bound.background)


def test_depth_has_a_bound_only_in_3d():
    flat = cramer_rao_bound(PAIR, GaussianPsf(1.3), IDEAL, SHAPE)
    deep = cramer_rao_bound(PAIR, build_psf(AstigmaticPsfConfig()), IDEAL, SHAPE)
    assert np.isnan(flat.z_nm).all()
    assert (deep.z_nm > 1).all()
    assert (deep.z_nm < 200).all()


def _fit(counts, start, psf):
    """Return the maximum-likelihood model of x, y, photons and background by Fisher scoring."""
    model = start
    for _ in range(8):
        mean = expected_photons(model, psf, SHAPE)
        score = (photon_gradients(model, psf, SHAPE) * (counts - mean) / mean).sum(axis=(1, 2))
        step = np.linalg.solve(fisher_information(model, psf, IDEAL, SHAPE), score)
        model = EmitterModel(
            model.position + np.array([[step[0], step[1], 0.0]]),
            model.photons + step[2],
            model.background + step[3],
        )
    return model


def test_maximum_likelihood_reaches_the_bound():
    """Draw and fit all four parameters from a start beside the truth: the scatter is the bound."""
    psf, rng, n = GaussianPsf(1.3), np.random.default_rng(5), 400
    truth = EmitterModel(np.array([[7.8, 7.4, 0.0]]), np.array([2000.0]), 8.0)
    start = EmitterModel(np.array([[8.3, 7.0, 0.0]]), np.array([1500.0]), 12.0)
    mean = expected_photons(truth, psf, SHAPE)
    bound = cramer_rao_bound(truth, psf, IDEAL, SHAPE)
    fits = [_fit(rng.poisson(mean), start, psf) for _ in range(n)]
    pairs = (
        ([fit.position[0, 0] - 7.8 for fit in fits], bound.x_px[0]),
        ([fit.position[0, 1] - 7.4 for fit in fits], bound.y_px[0]),
        ([fit.photons[0] - 2000 for fit in fits], bound.photons[0]),
        ([fit.background - 8 for fit in fits], bound.background),
    )
    for errors, least in pairs:
        z = np.array(errors) / least
        assert abs(z.mean()) < 4 / np.sqrt(n)
        assert abs(z.var() - 1) < 4 * np.sqrt(2 / n)


def test_snr_is_the_formula_in_photo_electrons():
    snr = background_snr([1000.0], [0.1], [20.0], EMCCD)
    by_hand = 1000 * 0.9 * 0.1 / np.sqrt(2 * (0.9 * 20 + 0.002) + (60 / 300) ** 2)
    assert snr[0] == pytest.approx(by_hand, rel=1e-12)
    scmos = ScmosCamera(0.8, 2.0, 100.0, 16.0, 0.1)
    by_hand = 1000 * 0.8 * 0.1 / np.sqrt(0.8 * 20 + 0.1 + 16 / 4)
    assert background_snr([1000.0], [0.1], [20.0], scmos)[0] == pytest.approx(by_hand, rel=1e-12)


def test_background_has_the_mean_asked_for_and_fades():
    field = smooth_field((60, 90), 0.3, 12.0, np.random.default_rng(2))
    assert field.mean() == pytest.approx(1)
    assert field.std() == pytest.approx(0.3, rel=0.15)
    assert field.min() > 0
    assert np.abs(np.diff(field, axis=0)).max() < 0.2
    background = Background(25.0, field, 0.4, 1000.0)
    assert background.photons(0).mean() == pytest.approx(25.0)
    assert background.photons(1000).mean() == pytest.approx(25 * (1 - 0.4 * (1 - np.exp(-1))))
    assert background.photons(10**7).mean() == pytest.approx(15.0)
    np.testing.assert_array_equal(smooth_field((4, 5), 0.0, 9.0, np.random.default_rng(0)), 1)
