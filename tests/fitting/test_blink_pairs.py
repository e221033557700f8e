"""Two emitters, or two detections of one, in the same frame: the light stays in the table."""

from __future__ import annotations

import numpy as np
import pytest

from hdsmlm.config.spacetime import SpaceTimeConfig
from hdsmlm.fitting.blink_table import blink_rows
from hdsmlm.fitting.likelihood import PoissonData
from hdsmlm.fitting.psf_kernels import fittable_psf
from hdsmlm.fitting.spacetime import Detections, fit_window
from hdsmlm.imaging.psf import GaussianPsf
from hdsmlm.records.emitters import Emitters

PSF = GaussianPsf(1.3)
SHAPE = (6, 32, 32)
FRAME = 2


def _rows(truth_x: list[float], photons: float, found_x: list[float], seed: int) -> Emitters:
    expected = np.full(SHAPE, 10.0)
    x = np.array(truth_x)
    share = PSF.images(x, np.full(len(x), 16.1), np.zeros(len(x)), SHAPE[1:]).share
    expected[FRAME] += photons * share.sum(axis=0)
    counts = np.random.default_rng(seed).poisson(expected).astype(np.float32)
    data = PoissonData(counts, np.zeros(SHAPE[1:], np.float32), 1.0)
    n = len(found_x)
    detections = Detections(np.full(n, FRAME), np.array(found_x), np.full(n, 16.1))
    psf = fittable_psf(PSF)
    config = SpaceTimeConfig()
    fit = fit_window(data, psf, detections, config)
    return blink_rows(fit, psf, 100.0, config.min_probability)


@pytest.mark.parametrize("apart_px", [0.6, 1.0, 1.5])
@pytest.mark.parametrize("photons", [1000.0, 5000.0])
def test_a_doubly_detected_emitter_gives_one_row_with_its_light(
    apart_px: float, photons: float
) -> None:
    found = [16.0 - apart_px / 2, 16.0 + apart_px / 2]
    tables = [_rows([16.0], photons, found, seed) for seed in range(10)]
    assert np.mean([len(table) == 1 for table in tables]) >= 0.9
    light = np.mean([table["photons"].sum() for table in tables])
    assert light == pytest.approx(photons, rel=0.05)


@pytest.mark.parametrize("apart_px", [0.6, 0.9, 1.2, 1.6])
@pytest.mark.parametrize("photons", [1000.0, 5000.0])
def test_two_near_emitters_never_vanish(apart_px: float, photons: float) -> None:
    places = [16.0 - apart_px / 2, 16.0 + apart_px / 2]
    tables = [_rows(places, photons, places, seed) for seed in range(10)]
    assert all(len(table) >= 1 for table in tables)


def test_two_emitters_two_widths_apart_are_two_rows() -> None:
    places = [16.0 - 1.3, 16.0 + 1.3]
    tables = [_rows(places, 3000.0, places, seed) for seed in range(10)]
    assert [len(table) for table in tables] == [2] * 10
    light = np.mean([table["photons"].sum() for table in tables])
    assert light == pytest.approx(6000.0, rel=0.03)
