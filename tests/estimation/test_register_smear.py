"""Charge that is smeared in a CCD's readout register hides part of the shot noise."""

from __future__ import annotations

import numpy as np
import pytest

from hdsmlm.config.camera import EmccdConfig
from hdsmlm.config.simulation import (
    BackgroundRanges,
    PhotophysicsRanges,
    PsfWeights,
    SimulationConfig,
)
from hdsmlm.estimation.microscope import estimate_microscope
from hdsmlm.io.movies import ArrayMovie
from hdsmlm.simulation.conditions import draw_conditions
from hdsmlm.simulation.recording import Recording

SIGMA_PX = 1.2
CAMERA = EmccdConfig()
GAIN_ADU_PER_E = CAMERA.em_gain / CAMERA.e_per_adu


def smeared_movie(left_behind: float, axis: int, seed: int = 3) -> ArrayMovie:
    """Return a movie in which each pixel leaves a share of its charge to the next one."""
    config = SimulationConfig(
        density_per_um2=0.3,
        pixel_size_nm=100.0,
        sigma_px=SIGMA_PX,
        photons=1000.0,
        min_median_snr=0.0,
        psfs=PsfWeights(gaussian=1.0, astigmatic=0.0, diffraction=0.0),
        photophysics=PhotophysicsRanges(mean_on_frames=2.0),
        background=BackgroundRanges(photons=20.0, structure=0.2),
    )
    conditions = draw_conditions(config, np.random.default_rng(seed))
    conditions = conditions.model_copy(update={"camera": CAMERA})
    frames, _ = Recording(conditions, (96, 96), (seed,)).read(120)
    signal = frames.astype(np.float64) - CAMERA.baseline_adu
    smeared = (1 - left_behind) * signal + left_behind * np.roll(signal, 1, axis=axis)
    adu = np.rint(smeared + CAMERA.baseline_adu)
    return ArrayMovie(np.clip(adu, 0, 65535).astype(np.uint16), pixel_size_nm=100.0)


@pytest.mark.parametrize(("axis", "name"), [(2, "x"), (1, "y")])
def test_gain_and_width_survive_a_smeared_register(axis, name):
    found = estimate_microscope(smeared_movie(0.15, axis), kind="emccd")
    line = found.line
    assert line.smear_axis == name
    # Power at frequency 0 over that at 1/2 of the kernel (1 - e, e): 1 / (1 - 2e)² = 2.04; the
    # stencil's bands are not lines, so that it finds somewhat less.
    assert line.smear == pytest.approx(2.04, rel=0.15)
    assert found.camera.gain_adu_per_e.value == pytest.approx(GAIN_ADU_PER_E, rel=0.15)
    assert found.sigma_px.value == pytest.approx(SIGMA_PX, rel=0.1)
    assert any(f"along {name} share noise" in text for text in found.warnings)


def test_white_noise_is_not_called_smeared():
    found = estimate_microscope(smeared_movie(0.0, 2), kind="emccd")
    assert found.line.smear == 1.0
    assert found.camera.gain_adu_per_e.value == pytest.approx(GAIN_ADU_PER_E, rel=0.1)
