"""The Cramér-Rao bound of blinks that last for several frames."""

import numpy as np
import pytest

from hdsmlm.imaging.camera import EmccdCamera, IdealCamera
from hdsmlm.imaging.fisher import EmitterModel, cramer_rao_bound
from hdsmlm.imaging.fisher_blinks import BlinkRun, lateral_bound_px, place_bound
from hdsmlm.imaging.psf import AstigmaticPsf, GaussianPsf

PSF = GaussianPsf(1.3)
CAMERA = EmccdCamera(0.9, 300.0, 60.0, 0.002, 20.0, 100.0)
SHAPE = (15, 16)


def _run(frame, blink, places, photons, background=12.0) -> BlinkRun:
    blink = np.asarray(blink)
    position = np.array([(*places[b], 0.0) for b in blink])
    photons = np.broadcast_to(np.asarray(photons, float), blink.shape)
    return BlinkRun(np.asarray(frame), blink, position, photons, np.full(len(blink), background))


def _dense(density: float, photons: float, rng: np.random.Generator, size: int = 32) -> BlinkRun:
    """Nine frames of emitters on for 2 frames on average, uniform in a field of 100 nm pixels."""
    per_frame = density * (size / 10) ** 2
    n = rng.poisson(per_frame / 2.95 * 30)  # a blink touches 2.95 frames for more than 0.02
    start = rng.uniform(-21, 9, n)
    stop = start + rng.exponential(2.0, n)
    place = rng.uniform(0, size, (n, 2))
    frame, blink = np.nonzero(
        (start[None] < np.arange(1, 10)[:, None]) & (stop[None] > np.arange(9)[:, None])
    )
    share = np.minimum(stop[blink], frame + 1) - np.maximum(start[blink], frame)
    listed = share > 0.02
    frame, blink, share = frame[listed], blink[listed], share[listed]
    rate = photons * np.exp(0.3 * rng.standard_normal(n))
    position = np.column_stack([place[blink], np.zeros(len(blink))])
    return BlinkRun(frame, blink, position, rate[blink] * share, np.full(len(blink), 20.0))


def test_blinks_of_one_frame_have_the_bound_of_that_frame():
    places = [(7.2, 6.9), (9.4, 8.1), (4.0, 11.0)]
    run = _run([0, 0, 0], [0, 1, 2], places, [1500.0, 700.0, 400.0])
    known = cramer_rao_bound(EmitterModel(run.position, run.photons, 12.0), PSF, CAMERA, SHAPE)
    np.testing.assert_allclose(
        lateral_bound_px(run, PSF, CAMERA, SHAPE), np.hypot(known.x_px, known.y_px), rtol=1e-9
    )


@pytest.mark.parametrize("n", [2, 5, 9])
def test_equal_frames_add_their_information(n):
    run = _run(np.arange(n), np.zeros(n, int), [(7.3, 7.6)], 1000.0)
    joint = lateral_bound_px(run, PSF, CAMERA, SHAPE)
    alone = lateral_bound_px(run.as_single_frames(), PSF, CAMERA, SHAPE)
    np.testing.assert_allclose(joint, alone / np.sqrt(n), rtol=1e-9)


def test_a_frame_in_which_the_neighbour_is_dark_tells_them_apart():
    places = [(7.0, 7.5), (7.6, 7.5)]
    both = lateral_bound_px(_run([0, 0, 1, 1], [0, 1, 0, 1], places, 1000.0), PSF, CAMERA, SHAPE)
    switched = lateral_bound_px(_run([0, 0, 1], [0, 1, 0], places, 1000.0), PSF, CAMERA, SHAPE)
    alone = lateral_bound_px(_run([0], [0], places, 1000.0), PSF, CAMERA, SHAPE)
    assert switched[0] < alone[0] < both[0] / 3
    assert switched[1] < both[1] / 2  # it is never alone itself


def test_a_second_look_never_hurts_and_a_neighbour_never_helps():
    rng = np.random.default_rng(5)
    run = _dense(3.0, 1000.0, rng, size=16)
    shape = (16, 16)
    joint = lateral_bound_px(run, PSF, CAMERA, shape)
    frames = lateral_bound_px(run.as_single_frames(), PSF, CAMERA, shape)
    assert (joint <= frames * (1 + 1e-6)).all()
    one = run.blink == run.blink[0]
    alone = BlinkRun(*(getattr(run, name)[one] for name in run.__dataclass_fields__))
    assert lateral_bound_px(alone, PSF, CAMERA, shape)[0] <= joint[0]


def test_emitters_that_are_always_on_together_at_one_place_have_no_bound():
    run = _run([0, 0, 1, 1], [0, 1, 0, 1], [(7.0, 7.5), (7.0, 7.5)], 1000.0)
    ideal = IdealCamera(1.0, 1.0, 0.0)
    assert (lateral_bound_px(run, PSF, ideal, SHAPE) > 1e3).all()


def test_the_gain_in_dense_fields_is_that_of_the_known_table():
    """Median lateral bound, nm: 1000 photons at 2/µm²: 30 frame by frame, 12 in space-time.

    5000 photons at 4/µm²: 18 and 5.3. Within a quarter, for another draw of a smaller field.
    """
    rng = np.random.default_rng(3)
    for density, photons, frame_nm, joint_nm in ((2.0, 1e3, 30.0, 12.0), (4.0, 5e3, 18.0, 5.3)):
        run = _dense(density, photons, rng)
        inside = ((run.position[:, :2] > 4) & (run.position[:, :2] < 28)).all(axis=1)
        frames = lateral_bound_px(run.as_single_frames(), PSF, CAMERA, (32, 32))[inside]
        joint = lateral_bound_px(run, PSF, CAMERA, (32, 32))[inside]
        assert 100 * np.median(frames) == pytest.approx(frame_nm, rel=0.25)
        assert 100 * np.median(joint) == pytest.approx(joint_nm, rel=0.25)


@pytest.mark.parametrize("n", [1, 4])
def test_depth_is_one_more_axis_of_the_place(n):
    psf = AstigmaticPsf(1.3, 250.0, 400.0)
    places = [(7.2, 6.9), (9.4, 8.1)]
    run = _run(np.repeat(np.arange(n), 2), [0, 1] * n, places, [1500.0, 700.0] * n)
    run.position[:, 2] = [120.0, -60.0] * n
    bound = place_bound(run, psf, CAMERA, SHAPE)
    one = EmitterModel(run.position[:2], run.photons[:2], 12.0)
    known = cramer_rao_bound(one, psf, CAMERA, SHAPE)
    expected = np.column_stack([known.x_px, known.y_px, known.z_nm]) / np.sqrt(n)
    np.testing.assert_allclose(bound, np.tile(expected, (n, 1)), rtol=1e-9)
    lateral = lateral_bound_px(run, psf, CAMERA, SHAPE)
    np.testing.assert_allclose(lateral, np.hypot(*bound[:, :2].T))
