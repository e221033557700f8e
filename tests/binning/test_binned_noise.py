"""Light and noise of sums: levels, variances and backgrounds against theory."""

from __future__ import annotations

import numpy as np
import pytest

from hdsmlm.binning.adding import SparseMovie, add_sequences, sum_read_variance_e2
from hdsmlm.binning.background import BackgroundMaps
from hdsmlm.binning.orientation import N_ORIENTATIONS, turned, turned_emitters
from hdsmlm.binning.plan import PlanRules, Summand
from hdsmlm.config.camera import EmccdConfig, IdealConfig, ScmosConfig
from hdsmlm.imaging.build import build_camera
from hdsmlm.imaging.psf import GaussianPsf
from hdsmlm.pipelines.sums import camera_of_sums
from hdsmlm.records.emitters import Emitters

CAMERAS = {
    "emccd": EmccdConfig(spurious_charge_e=0.05),
    "scmos": ScmosConfig(read_noise_e=1.6, dark_e=0.3),
    "ideal": IdealConfig(),
}
P_NM, BACKGROUND, SHAPE = 100.0, 20.0, (24, 24)


def table(frame=(), x_px=(), y_px=(), blink=None) -> Emitters:
    frame = np.asarray(frame, np.int64)
    blink = np.asarray(blink if blink is not None else np.arange(len(frame)), np.int64)
    return Emitters(
        {
            "frame": frame,
            "x_nm": np.asarray(x_px, float) * P_NM,
            "y_nm": np.asarray(y_px, float) * P_NM,
            "photons": np.full(len(frame), 900.0),
            "blink_id": blink,
        }
    )


def sparse_movie(photons, candidates, sound=None) -> SparseMovie:
    def read(start, stop):
        return photons[start:stop]

    maps = BackgroundMaps(read, len(photons), candidates, 1.3, P_NM, len(photons), 3.0)
    sound = np.ones(len(candidates), bool) if sound is None else sound
    return SparseMovie(read, maps, candidates, sound, P_NM)


def standard_errors(values) -> tuple[float, float]:
    """Standard errors of mean and variance of independent values."""
    deviation = values - values.mean()
    variance = float(np.mean(deviation**2))
    fourth = float(np.mean(deviation**4))
    return np.sqrt(variance / values.size), np.sqrt((fourth - variance**2) / values.size)


@pytest.mark.parametrize("kind", CAMERAS)
@pytest.mark.parametrize("kept", [1.0, 3.0])
def test_mean_and_variance_of_a_binned_background_follow_theory(kind, kept) -> None:
    n, length = 5, 100
    camera = build_camera(CAMERAS[kind], SHAPE)
    light = np.full((n * length, *SHAPE), BACKGROUND)
    photons = camera.to_photons(camera.sample(light, np.random.default_rng(7)))
    rules = PlanRules(n * length, *SHAPE, n, length, 1)
    summands = tuple(Summand(k * length) for k in range(n))
    total = add_sequences(sparse_movie(photons, table()), summands, rules, kept)
    mean_error, variance_error = standard_errors(total.photons)
    # the map is the mean of the same frames: the sum's mean is b times the measured background
    assert abs(total.background.mean() - kept * BACKGROUND) < 4 * kept / n * mean_error
    assert abs(total.photons.mean() - kept * BACKGROUND) < 4 * mean_error
    qe = camera.quantum_efficiency
    electrons = camera.excess_noise_factor2 * (qe * BACKGROUND + camera.dark_e)
    theory = n * (electrons + float(np.median(camera.input_read_variance_e2))) / qe**2
    assert abs(total.photons.var() - theory) < 4 * variance_error
    # a camera with the stated read noise is as bright and as noisy
    read = sum_read_variance_e2(camera, BACKGROUND, n, kept)
    likewise = build_camera(camera_of_sums(CAMERAS[kind], camera, read), SHAPE)
    dark, one = (float(np.median(likewise.mean_adu(v))) for v in (0.0, 1.0))
    stated = float(np.median(likewise.variance_adu(kept * BACKGROUND))) / (one - dark) ** 2
    assert abs(total.photons.var() - stated) < 4 * variance_error
    back = likewise.to_photons(likewise.mean_adu(total.photons))
    np.testing.assert_allclose(back, total.photons, atol=1e-6)
    assert likewise.mean_adu(total.photons).min() > 0


def test_emitters_keep_their_light() -> None:
    rng = np.random.default_rng(2)
    light = np.full((40, *SHAPE), BACKGROUND)
    frame = np.repeat(np.arange(4), 3)
    place = rng.uniform(6, 18, (12, 2))
    psf = GaussianPsf(1.3)
    psf.add_to(light, frame, np.column_stack([place, np.zeros(12)]), np.full(12, 900.0))
    movie = sparse_movie(light, table(frame, *place.T))
    rules = PlanRules(40, *SHAPE, 4, 1, 1)
    total = add_sequences(movie, tuple(Summand(k) for k in range(4)), rules)
    # PSF tails outside the mask raise the map by far less than a photon per pixel
    assert abs((total.photons - BACKGROUND).sum() - 12 * 900) < 0.02 * 12 * 900


@pytest.mark.parametrize("kind", ["emccd", "ideal"])
def test_background_beside_spots_is_unbiased_where_a_median_is_not(kind) -> None:
    camera, level, frames = build_camera(CAMERAS[kind], SHAPE), 4.3, 300
    light = np.full((frames, *SHAPE), level)
    on = np.arange(0, frames, 4)
    place = np.tile([12.2, 11.7, 0.0], (len(on), 1))
    GaussianPsf(1.3).add_to(light, on, place, np.full(len(on), 900.0))
    photons = camera.to_photons(camera.sample(light, np.random.default_rng(11)))
    candidates = table(on, place[:, 0], place[:, 1])
    middle = sparse_movie(photons, candidates).backgrounds.at(0)[8:16, 8:16]
    off = np.setdiff1d(np.arange(frames), on)
    error = photons[off].std() / np.sqrt(len(off) * 64)
    assert abs(middle.mean() - level) < 4 * error
    median = np.median(photons[:, 8:16, 8:16], axis=0).mean()
    assert abs(median - level) > 4 * error


@pytest.mark.parametrize("orientation", range(N_ORIENTATIONS))
def test_turned_emitters_lie_where_the_turned_picture_has_them(orientation) -> None:
    rng = np.random.default_rng(orientation)
    shape, place = (20, 29), rng.uniform(4, 16, (5, 2))
    psf = GaussianPsf(1.3)

    def picture(x_px, y_px, shape):
        canvas = np.zeros((1, *shape))
        where = np.column_stack([x_px, y_px, np.zeros(5)])
        psf.add_to(canvas, np.zeros(5, np.int64), where, np.full(5, 500.0))
        return canvas

    straight = table(np.zeros(5), *place.T)
    moved = turned_emitters(straight, orientation, (shape[0] * P_NM, shape[1] * P_NM))
    expected = turned(picture(*place.T, shape), orientation)
    found = picture(moved["x_nm"] / P_NM, moved["y_nm"] / P_NM, expected.shape[1:])
    np.testing.assert_allclose(found, expected, atol=1e-6 * 500)


def test_truth_is_the_union_and_ids_are_distinct() -> None:
    frame = np.array([0, 1, 1, 10, 11, 20])
    x, y = np.array([3.0, 3.0, 9.0, 5.0, 5.0, 8.0]), np.array([4.0, 4.0, 2.0, 7.0, 7.0, 6.0])
    sound = np.array([1, 1, 0, 1, 1, 1], bool)
    movie = sparse_movie(np.zeros((30, *SHAPE)), table(frame, x, y, [0, 0, 1, 2, 2, 3]), sound)
    rules = PlanRules(30, *SHAPE, 3, 2, 2)
    total = add_sequences(movie, (Summand(0), Summand(10), Summand(20)), rules, first_id=40)
    assert sorted(total.emitters["frame"]) == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(total.emitters["x_nm"] / P_NM, x)
    np.testing.assert_array_equal(total.sound, sound)
    assert list(total.emitters["blink_id"]) == [40, 40, 41, 42, 42, 43]


def test_cut_outs_move_emitters_with_the_picture() -> None:
    light = np.zeros((3, *SHAPE))
    where = np.array([[10.3, 13.8, 0.0]])
    GaussianPsf(1.3).add_to(light, np.array([1]), where, np.array([900.0]))
    movie = sparse_movie(light, table([1, 1], [10.3, 1.0], [13.8, 1.0]))
    rules = PlanRules(3, *SHAPE, 1, 3, 1, crop_px=16)
    for orientation in range(N_ORIENTATIONS):
        total = add_sequences(movie, (Summand(0, 5, 3, orientation),), rules)
        assert len(total.emitters) == 1  # the other one is outside
        brightest = np.unravel_index(total.photons[1].argmax(), (16, 16))
        nearest = (total.emitters["y_nm"][0] // P_NM, total.emitters["x_nm"][0] // P_NM)
        assert brightest == nearest
