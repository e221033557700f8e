"""Scenes: determinism, density, truth that agrees with the pixels."""

import numpy as np
import pytest

from hdsmlm.config.simulation import SimulationConfig
from hdsmlm.errors import ConfigError
from hdsmlm.imaging.build import build_camera
from hdsmlm.imaging.psf import GaussianPsf
from hdsmlm.simulation.conditions import Conditions
from hdsmlm.simulation.recording import Recording
from hdsmlm.simulation.scene import SceneSampler
from hdsmlm.simulation.structures import STRUCTURES, Field, build_structure

UNIFORM = {"uniform": 1, "curves": 0, "rings": 0, "clusters": 0, "mesh": 0}
GAUSSIAN = {"gaussian": 1, "astigmatic": 0, "diffraction": 0}
IDEAL = {"emccd": 0, "scmos": 0, "ideal": 1}
FLAT = {"photons": 10.0, "structure": 0.0, "bleached_share": 0.0}
PLAIN = {
    "density_per_um2": 2.0,
    "pixel_size_nm": 100.0,
    "sigma_px": 1.3,
    "sigma_spread": 0.0,
    "photons": 1000.0,
    "cameras": IDEAL,
    "psfs": GAUSSIAN,
    "structures": UNIFORM,
    "background": FLAT,
}


def _sampler(shape=(5, 64, 64), **values) -> SceneSampler:
    return SceneSampler(SimulationConfig(**{**PLAIN, **values}), shape)


def test_a_scene_depends_on_seed_and_index_alone():
    config = SimulationConfig()
    first = SceneSampler(config, (5, 32, 48)).draw(3, 11)
    other = SceneSampler(config, (5, 32, 48))
    other.draw(3, 4)
    again = other.draw(3, 11)
    np.testing.assert_array_equal(first.frames, again.frames)
    for name in first.emitters.names:
        np.testing.assert_array_equal(first.emitters[name], again.emitters[name])
    assert first.parameters == again.parameters
    assert (SceneSampler(config, (5, 32, 48)).draw(3, 12).frames != first.frames).any()
    assert (SceneSampler(config, (5, 32, 48)).draw(4, 11).frames != first.frames).any()


def test_the_global_generator_is_neither_used_nor_changed():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    _sampler().draw(0, 0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_every_default_scene_is_sound():
    sampler = SceneSampler(SimulationConfig(), (5, 48, 64))
    kinds = set()
    for index in range(40):
        scene = sampler.draw(1, index)
        e, p = scene.emitters, scene.pixel_size_nm
        kinds |= {scene.parameters[key]["kind"] for key in ("camera", "psf")}
        assert scene.frames.dtype == np.uint16
        assert scene.frames.shape == (5, 48, 64)
        assert set(e.names) == {
            *("frame", "x_nm", "y_nm", "z_nm", "photons", "background", "sigma_nm", "snr"),
            *("emitter_id", "blink_id"),
        }
        assert ((e["frame"] >= 0) & (e["frame"] < 5)).all()
        assert ((e["x_nm"] >= 0) & (e["x_nm"] < 64 * p)).all()
        assert ((e["y_nm"] >= 0) & (e["y_nm"] < 48 * p)).all()
        assert (e["photons"] > 0).all()
        assert (e["snr"] > 0).all()
        assert (e["background"] > 0).all()
        assert (np.abs(e["z_nm"]) <= 500).all()
        assert np.isfinite(e["snr"]).all()
    assert kinds == {"emccd", "scmos", "ideal", "gaussian", "astigmatic", "diffraction"}


@pytest.mark.parametrize("density", [0.3, 2.0, 6.0])
def test_density_reached_is_the_density_asked_for(density):
    """Counts of blinks are Poisson; a blink is listed in several frames, so errors are by scene."""
    sampler = _sampler((5, 96, 96), density_per_um2=density)
    counts = [len(sampler.draw(0, i).emitters) for i in range(40)]
    reached = np.array(counts) / (9.6**2 * 5)
    assert abs(reached.mean() - density) < 4 * reached.std() / np.sqrt(len(reached))
    assert reached.std() / np.sqrt(len(reached)) < 0.05 * density + 0.01


@pytest.mark.parametrize("kind", ["curves", "rings", "clusters", "mesh"])
def test_structures_keep_the_mean_density_and_make_it_uneven(kind):
    weights = dict.fromkeys(UNIFORM, 0) | {kind: 1}
    options = {"structured_share": 0.8, "max_local_density_per_um2": 1000.0}
    sampler = _sampler((5, 96, 96), structures=weights, **options)
    reached, unevenness = [], []
    for index in range(30):
        e = sampler.draw(2, index).emitters
        reached.append(len(e) / (9.6**2 * 5))
        blinks = np.unique(e["blink_id"], return_index=True)[1]
        cells = np.histogram2d(
            e["x_nm"][blinks], e["y_nm"][blinks], bins=24, range=[[0, 9600], [0, 9600]]
        )[0]
        unevenness.append(cells.var() / cells.mean())
    assert abs(np.mean(reached) - 2.0) < 4 * np.std(reached) / np.sqrt(30)
    assert np.mean(unevenness) > 1.15  # 1 for molecules at random places


def test_the_density_on_a_structure_is_bounded():
    field, rng = Field(96, 96, 4.0, 100.0), np.random.default_rng(0)
    for kind in ("curves", "clusters", "rings", "mesh"):
        free = build_structure(kind, 0.9, field, 1e9, np.random.default_rng(1))
        bound = build_structure(kind, 0.9, field, 1.5, np.random.default_rng(1))
        assert free.share == 0.9
        assert 0 < bound.share < 0.9
        assert bound.draw(100, rng).shape == (100, 3)


def test_every_structure_is_in_the_configuration():
    from hdsmlm.config.simulation import StructureWeights

    assert set(STRUCTURES) == set(StructureWeights.model_fields)


def test_the_pixels_are_poisson_around_what_the_truth_predicts():
    """Ideal camera: residual mean 0 and variance 1 within 4 standard errors, away from the edge."""
    sampler = _sampler((4, 64, 64), photophysics={"min_fraction": 0.0, "mean_on_frames": 2.0})
    residuals = []
    for index in range(6):
        scene = sampler.draw(5, index)
        e = scene.emitters
        for frame in range(4):
            one = e.select(e["frame"] == frame)
            images = GaussianPsf(1.3).images(
                one["x_nm"] / 100, one["y_nm"] / 100, one["z_nm"], (64, 64)
            )
            expected = np.einsum("n,nyx->yx", one["photons"], images.share) + 10.0
            drawn = scene.frames[frame] - 100.0
            residuals.append(((drawn - expected) / np.sqrt(expected))[8:-8, 8:-8].ravel())
    residual = np.concatenate(residuals)
    assert abs(residual.mean()) < 4 / np.sqrt(len(residual))
    squares = np.square(residual)
    assert abs(squares.mean() - 1) < 4 * squares.std() / np.sqrt(len(residual))


def test_light_of_molecules_outside_leaks_in():
    """The mean at the border equals the mean inside: nothing is lost at the edge."""
    sampler = _sampler((5, 64, 64), photons=500.0)
    frames = np.concatenate([sampler.draw(6, i).frames for i in range(40)]).astype(float)
    scenes = frames.reshape(40, 5, 64, 64)
    edge = np.concatenate([scenes[:, :, 0], scenes[:, :, -1]], axis=2).mean(axis=(1, 2))
    core = scenes[:, :, 20:44, 20:44].mean(axis=(1, 2, 3))
    difference = edge - core
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(40)
    assert core.mean() > 110 + 4


def test_photon_rates_are_log_normal_between_molecules():
    options = {"rate_spread": 0.4, "mean_on_frames": 6.0, "blinks_per_molecule": 1.0}
    sampler = _sampler((5, 96, 96), photophysics=options)
    logs = []
    for index in range(10):
        e = sampler.draw(7, index).emitters
        middle = e.select(e["frame"] == 2)
        before = np.isin(middle["blink_id"], e["blink_id"][e["frame"] == 1])
        after = np.isin(middle["blink_id"], e["blink_id"][e["frame"] == 3])
        logs.append(np.log(middle["photons"][before & after] / 1000.0))
    logs = np.concatenate(logs)
    assert abs(logs.mean()) < 4 * 0.4 / np.sqrt(len(logs))
    assert abs(logs.std() - 0.4) < 4 * 0.4 / np.sqrt(2 * len(logs))


def test_snr_column_is_that_of_the_drawn_pixels():
    """Empty pixels of a recording scatter by the noise in the SNR's denominator."""
    config = {"cameras": {"emccd": 1, "scmos": 0, "ideal": 0}, "density_per_um2": 0.01}
    scene = _sampler((40, 64, 64), **config).draw(8, 0)
    camera = build_camera(Conditions.model_validate(scene.parameters).camera, (64, 64))
    dark = np.ones((40, 64, 64), bool)
    e = scene.emitters
    for t, x, y in zip(e["frame"], e["x_nm"] / 100, e["y_nm"] / 100, strict=True):
        dark[t, max(int(y) - 8, 0) : int(y) + 9, max(int(x) - 8, 0) : int(x) + 9] = False
    dark[:, :8] = dark[:, -8:] = dark[:, :, :8] = dark[:, :, -8:] = False
    values = scene.frames[dark].astype(float)
    expected = float(camera.variance_adu(10.0))
    squares = np.square(values - float(camera.mean_adu(10.0)))
    assert abs(squares.mean() - expected) < 4 * squares.std() / np.sqrt(len(values)) + 1 / 12


def test_brightest_pixel_and_snr_agree():
    scene = _sampler(density_per_um2=0.3).draw(9, 0)
    e = scene.emitters
    share = e["snr"] * np.sqrt(10.0) / e["photons"]  # ideal camera: SNR = N·h*/sqrt(b)
    assert share.max() < 0.0934  # a centred emitter of sigma 1.3 px
    assert share.min() > 0.07


@pytest.mark.parametrize("shape", [(0, 64, 64), (5, 64), (5, 64, -1)])
def test_impossible_shapes_are_refused(shape):
    with pytest.raises(ConfigError, match="shape"):
        SceneSampler(SimulationConfig(), shape)


def test_recording_does_not_depend_on_the_pieces_it_is_read_in():
    scene = _sampler((2, 32, 32), cameras={"emccd": 1, "scmos": 1, "ideal": 0}).draw(3, 3)
    conditions = Conditions.model_validate(scene.parameters)
    whole = Recording(conditions, (32, 32), (1, 2)).read(75)
    for step in (1, 7, 32):
        recording = Recording(conditions, (32, 32), (1, 2))
        parts = [recording.read(min(step, 75 - a)) for a in range(0, 75, step)]
        np.testing.assert_array_equal(np.concatenate([p[0] for p in parts]), whole[0])
        for name in whole[1].names:
            joined = np.concatenate([p[1][name] for p in parts])
            np.testing.assert_array_equal(joined, whole[1][name])


def test_blinks_cross_the_blocks_of_a_movie_at_constant_density():
    conditions = Conditions.model_validate(
        _sampler((2, 48, 48), photophysics={"mean_on_frames": 4.0}).draw(3, 3).parameters
    )
    counts = np.zeros((30, 96))
    for seed in range(30):
        _, e = Recording(conditions, (48, 48), (seed,)).read(96)
        counts[seed] = np.bincount(e["frame"], minlength=96)
    density = counts / 4.8**2
    for window in (slice(0, 4), slice(28, 36), slice(60, 68), slice(92, 96)):
        per_run = density[:, window].mean(axis=1)
        assert abs(per_run.mean() - 2.0) < 4 * per_run.std() / np.sqrt(30)
