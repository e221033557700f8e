"""The fixed test set stays what it is, and its cases are what they say."""

import numpy as np
import pytest

from hdsmlm.config.simulation import SimulationConfig
from hdsmlm.config.test_set import TestSetConfig
from hdsmlm.pipelines.test_set import scene_number, simulation_of_case
from hdsmlm.simulation.scene import SceneSampler

CONFIG = TestSetConfig()


def _scene(case, shape=CONFIG.shape, index=0):
    sampler = SceneSampler(simulation_of_case(case, CONFIG), shape)
    return sampler.draw(CONFIG.seed, scene_number(case, index))


@pytest.mark.parametrize(
    ("name", "rows", "photons", "grey"),
    [
        ("emccd 2/µm²", 6439, 1509387.6161, 661.499097),
        ("scmos 1/µm²", 3304, 2579977.4112, 163.293771),
    ],
)
def test_scenes_are_the_published_ones(name, rows, photons, grey):
    """Golden numbers, made by this test's own code on the day the first scores were published.

    A change here changes the benchmark: publish new scores with it.
    """
    case = next(case for case in CONFIG.headline if case.name == name)
    scene = _scene(case)
    assert len(scene.emitters) == rows
    assert scene.emitters["photons"].sum() == pytest.approx(photons, rel=1e-6)
    assert scene.frames.mean(dtype=float) == pytest.approx(grey, rel=1e-6)


def test_no_case_depends_on_the_simulators_defaults():
    """Every field that a case does not set is written out in the test set's own ranges."""
    written = CONFIG.microscopes.model_fields_set
    by_case = {"density_per_um2", "pixel_size_nm", "sigma_px", "photons", "cameras", "psfs"}
    assert written | by_case | {"structures"} >= set(SimulationConfig.model_fields)
    for name in ("emccd", "scmos", "photophysics", "background"):
        section = getattr(CONFIG.microscopes, name)
        given_by_case = {"photophysics": {"mean_on_frames"}, "background": {"photons"}}
        assert section.model_fields_set | given_by_case.get(name, set()) == set(
            type(section).model_fields
        )


@pytest.mark.parametrize("case", CONFIG.headline[:4], ids=lambda case: case.name)
def test_density_and_camera_are_as_named(case):
    counts = []
    area_um2 = 128 * 128 * (CONFIG.pixel_size_nm / 1000) ** 2
    for index in range(6):
        scene = _scene(case, (5, 128, 128), index)
        assert scene.parameters["camera"]["kind"] == case.camera
        assert scene.pixel_size_nm == CONFIG.pixel_size_nm
        counts.append(len(scene.emitters) / 5 / area_um2)
    # Blinks last some frames: about as many independent counts as scenes times two.
    error = np.sqrt(case.density_per_um2 / area_um2 / 12)
    assert np.mean(counts) == pytest.approx(case.density_per_um2, abs=4 * error)


def test_scenes_of_different_cases_differ():
    numbers = {
        scene_number(case, k) for case in (*CONFIG.headline, *CONFIG.reference) for k in range(64)
    }
    assert len(numbers) == 64 * (len(CONFIG.headline) + len(CONFIG.reference))
