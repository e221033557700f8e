"""Sums of sparse sequences: mean, noise, labels."""

from __future__ import annotations

import numpy as np
import pytest

from hdsmlm.binning.adding import SparseMovie, add_sequences, sum_read_variance_e2
from hdsmlm.binning.background import BackgroundMaps
from hdsmlm.binning.plan import PlanRules, Summand
from hdsmlm.config.camera import EmccdConfig, IdealConfig, ScmosConfig
from hdsmlm.imaging.build import build_camera
from hdsmlm.imaging.psf import GaussianPsf
from hdsmlm.pipelines.sums import camera_of_sums
from hdsmlm.records.emitters import Emitters

P_NM = 100.0
SHAPE = (48, 40)
BACKGROUND = 15.0
CAMERAS = {
    "emccd": EmccdConfig(),
    "scmos": ScmosConfig(read_noise_e=1.8),
    "ideal": IdealConfig(quantum_efficiency=0.8),
}


def table(rows: list[tuple[int, float, float, int]]) -> Emitters:
    """Return candidates (frame, x_nm, y_nm, blink_id)."""
    frame, x, y, blink = (np.array(column) for column in zip(*rows, strict=True))
    return Emitters(
        {
            "frame": frame,
            "x_nm": x,
            "y_nm": y,
            "photons": np.full(len(frame), 900.0),
            "emitter_id": blink,
            "blink_id": blink,
        }
    ).sorted()


def movie_of(kind: str, n_frames: int, candidates: Emitters, light: np.ndarray | None = None):
    """Return a recorded sparse movie of constant background (and light), and its camera."""
    camera = build_camera(CAMERAS[kind], SHAPE)
    photons = np.full((n_frames, *SHAPE), BACKGROUND)
    if light is not None:
        photons += light
    adu = camera.sample(photons, np.random.default_rng(4))
    read = lambda start, stop: camera.to_photons(adu[start:stop])  # noqa: E731
    maps = BackgroundMaps(read, n_frames, candidates, 1.3, P_NM, n_frames, 4.0)
    return SparseMovie(read, maps, candidates, np.ones(len(candidates), bool), P_NM), camera


@pytest.mark.parametrize("kind", sorted(CAMERAS))
@pytest.mark.parametrize("kept", [1.0, 2.5])
def test_background_of_a_sum_has_the_mean_and_variance_of_the_theory(kind, kept):
    n, length = 5, 4
    sparse, camera = movie_of(kind, 400, table([(0, 450.0, 450.0, 0)]))
    rules = PlanRules(400, *SHAPE, n, length, 10)
    sums = []
    for first in range(0, 380, 20):  # every frame once: independent sums
        summands = tuple(Summand(first + k * length) for k in range(n))
        sums.append(add_sequences(sparse, summands, rules, kept).photons)
    stack = np.concatenate(sums)
    count = stack.size
    qe, f2, dark = camera.quantum_efficiency, camera.excess_noise_factor2, camera.dark_e
    read_e2 = float(np.median(camera.input_read_variance_e2))
    # The sum of n variances, in photons².
    theory = n * (f2 * (qe * BACKGROUND + dark) + read_e2) / qe**2
    error = theory * np.sqrt(2.2 / count)  # little more than the Gaussian 2/n
    # The background map itself is a mean over 400 frames, smoothed: its own noise is negligible.
    assert stack.mean() == pytest.approx(kept * BACKGROUND, abs=4 * np.sqrt(theory / count) + 0.15)
    assert stack.var() == pytest.approx(theory, abs=4 * error + 0.01 * theory)
    # And the camera of the sums describes both.
    variance_e2 = sum_read_variance_e2(camera, BACKGROUND, n, kept)
    seen = build_camera(camera_of_sums(CAMERAS[kind], camera, variance_e2), SHAPE)
    gain = float(np.mean(seen.mean_adu(1.0)) - np.mean(seen.mean_adu(0.0)))
    said = float(np.mean(seen.variance_adu(kept * BACKGROUND))) / gain**2
    assert said == pytest.approx(theory, rel=1e-6)


def test_one_summand_is_the_sparse_sequence_itself():
    candidates = table([(3, 450.0, 450.0, 7), (4, 450.0, 450.0, 7)])
    sparse, _ = movie_of("scmos", 20, candidates)
    one = add_sequences(sparse, (Summand(2),), PlanRules(20, *SHAPE, 1, 5, 1))
    np.testing.assert_allclose(one.photons, sparse.read_photons(2, 7))
    assert one.emitters["frame"].tolist() == [1, 2]
    assert len(set(one.emitters["blink_id"].tolist())) == 1


def test_labels_are_the_union_and_blinks_of_different_summands_differ():
    rows = [
        (0, 450.0, 450.0, 1),
        (1, 450.0, 450.0, 1),
        (10, 1450.0, 850.0, 1),
        (11, 250.0, 50.0, 2),
    ]
    sparse, _ = movie_of("ideal", 30, table(rows))
    result = add_sequences(
        sparse, (Summand(0), Summand(10)), PlanRules(30, *SHAPE, 2, 2, 5), 1.0, 40
    )
    order = np.lexsort((result.emitters["x_nm"], result.emitters["frame"]))
    kept = result.emitters.select(order)
    assert kept["frame"].tolist() == [0, 0, 1, 1]
    assert kept["x_nm"].tolist() == [450.0, 1450.0, 250.0, 450.0]
    blink = kept["blink_id"].tolist()
    assert blink[0] == blink[3]
    assert len(set(blink)) == 3
    assert min(blink) == 40


@pytest.mark.parametrize("orientation", range(8))
def test_turned_labels_lie_on_the_turned_light(orientation):
    x_nm, y_nm = 1530.0, 1210.0
    light = np.zeros((1, *SHAPE))
    place = np.array([[x_nm / P_NM, y_nm / P_NM, 0.0]])
    GaussianPsf(1.3).add_to(light, np.zeros(1, np.int64), place, np.array([2e5]))
    sparse, _ = movie_of("ideal", 3, table([(1, x_nm, y_nm, 0)]), light)
    rules = PlanRules(3, *SHAPE, 1, 1, 1, crop_px=24)
    result = add_sequences(sparse, (Summand(1, 3, 5, orientation),), rules)
    bright = result.photons[0] - result.background
    rows, columns = np.indices(bright.shape)
    weight = np.where(bright > 200, bright, 0.0)
    found = [float((weight * (k + 0.5)).sum() / weight.sum() * P_NM) for k in (columns, rows)]
    assert found[0] == pytest.approx(float(result.emitters["x_nm"][0]), abs=5.0)
    assert found[1] == pytest.approx(float(result.emitters["y_nm"][0]), abs=5.0)


@pytest.mark.parametrize("kind", sorted(CAMERAS))
def test_background_beside_spots_is_unbiased(kind):
    rng = np.random.default_rng(2)
    n_frames = 60
    rows, light = [], np.zeros((n_frames, *SHAPE))
    for frame in range(n_frames):
        for k in range(2):
            x, y = rng.uniform(0, SHAPE[1]), rng.uniform(0, SHAPE[0])
            rows.append((frame, x * P_NM, y * P_NM, 2 * frame + k))
    candidates = table(rows)
    place = np.column_stack(
        [candidates["x_nm"] / P_NM, candidates["y_nm"] / P_NM, np.zeros(len(candidates))]
    )
    GaussianPsf(1.3).add_to(
        light, candidates["frame"].astype(np.int64), place, np.full(len(candidates), 900.0)
    )
    sparse, camera = movie_of(kind, n_frames, candidates, light)
    found = sparse.backgrounds.at(0)
    noise = float(np.mean(camera.variance_adu(BACKGROUND)))
    gain = float(np.mean(camera.mean_adu(1.0)) - np.mean(camera.mean_adu(0.0)))
    error = np.sqrt(noise) / gain / np.sqrt(0.8 * n_frames * found.size)
    # 3.5 sigma leave 0.2 % of an emitter's light outside.
    assert found.mean() == pytest.approx(BACKGROUND, abs=4 * error + 0.12)
