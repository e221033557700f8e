"""Patches of blinks are as large as their light asks for."""

from __future__ import annotations

import numpy as np
import pytest
from blink_scenes import PIXEL_NM, movie_of, state_of

from hdsmlm.config.spacetime import SpaceTimeConfig
from hdsmlm.fitting.blink_table import blink_rows
from hdsmlm.fitting.psf_kernels import fittable_psf
from hdsmlm.fitting.spacetime import fit_window
from hdsmlm.imaging.camera import IdealCamera
from hdsmlm.imaging.psf import AstigmaticPsf, GaussianPsf, Psf

IDEAL = IdealCamera(0.9, 1.0, 100.0)


def apart(psf: Psf, photons: float, background: float, z_range_nm: float = 0.0):
    """Blinks of two frames far from each other."""
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(np.arange(14, 76, 15), np.arange(14, 76, 15)), -1).reshape(-1, 2)
    places, spans = [], []
    for first in range(0, 18, 3):
        place = np.column_stack([grid, np.zeros(len(grid))])
        places.append(place + rng.uniform(-1, 1, place.shape) * [0.5, 0.5, z_range_nm])
        spans.append(np.tile([first, first + 1], (len(grid), 1)))
    return movie_of(
        psf, np.concatenate(places), np.concatenate(spans), photons, (20, 90, 90),
        camera=IDEAL, background=background, seed=3,
    )  # fmt: skip


def test_patches_grow_with_the_light_outside() -> None:
    psf = GaussianPsf(1.3)
    halves = [
        state_of(apart(psf, photons, background)).window.half
        for photons, background in ((300.0, 20.0), (1000.0, 20.0), (30_000.0, 5.0))
    ]
    assert halves == [4, 4, 6]
    assert halves[-1] > 4 * 1.3


@pytest.mark.parametrize(
    ("psf", "photons", "z_range_nm"),
    [
        (GaussianPsf(1.3), 30_000.0, 0.0),
        (AstigmaticPsf(1.3, 250.0, 400.0), 10_000.0, 500.0),
    ],
    ids=["2d", "3d"],
)
def test_bright_blinks_have_no_satellites_and_reach_their_errors(
    psf: Psf, photons: float, z_range_nm: float
) -> None:
    scene = apart(psf, photons, 5.0, z_range_nm)
    fittable = fittable_psf(psf)
    fit = fit_window(scene.data, fittable, scene.found, SpaceTimeConfig())
    rows = blink_rows(fit, fittable, PIXEL_NM, 0.3)
    assert len(rows) <= 1.01 * 2 * len(scene.places)
    for axis, column in (("x", 0), ("y", 1), *([("z", 2)] if z_range_nm else [])):
        unit = 1.0 if axis == "z" else PIXEL_NM
        true = scene.places[:, column] * unit
        distance = np.hypot(
            rows["x_nm"][:, None] / PIXEL_NM - scene.places[:, 0],
            rows["y_nm"][:, None] / PIXEL_NM - scene.places[:, 1],
        ) + 100 * (np.abs(rows["frame"][:, None] - scene.first - 0.5) > 0.6)
        own = distance.argmin(axis=1)
        error = rows[f"{axis}_nm"] - true[own]
        near = distance.min(axis=1) < 1
        z_score = (error / rows[f"uncertainty_{axis}_nm"])[near]
        assert z_score.std() == pytest.approx(1.0, abs=0.12)
