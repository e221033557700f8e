"""Moves on the set of blinks: what belongs together is joined, what does not is cut."""

from __future__ import annotations

import numpy as np
import pytest
from blink_scenes import movie_of, redrawn, state_of

from hdsmlm.config.spacetime import SpaceTimeConfig
from hdsmlm.fitting.spacetime import Detections
from hdsmlm.imaging.psf import GaussianPsf

PSF = GaussianPsf(1.3)
SHAPE = (12, 24, 24)


def blinks_of(rows) -> list[tuple[int, int, float]]:
    """(first frame, last frame, x in px) of each blink, by first frame and x."""
    found = []
    for blink in np.unique(rows["blink_id"]):
        own = rows.select(rows["blink_id"] == blink)
        assert np.ptp(own["x_nm"]) == 0  # one place
        found.append(
            (int(own["frame"].min()), int(own["frame"].max()), float(own["x_nm"][0] / 100))
        )
    return sorted(found)


def test_two_halves_are_joined() -> None:
    scene = movie_of(PSF, np.array([[12.3, 11.8, 0]]), np.array([[3, 8]]), 2000.0, SHAPE, seed=1)
    # the detections jump by more than the linking radius between frames 5 and 6
    shift = np.where(scene.found.frame < 6, -0.3, 0.4)
    apart = Detections(scene.found.frame, np.full(6, 12.3) + shift, np.full(6, 11.8))
    rows = type(scene)(**{**scene.__dict__, "found": apart}).fit()
    ((first, last, x),) = blinks_of(rows)
    assert (first, last) == (3, 8)
    assert x == pytest.approx(12.3, abs=0.15)


def test_a_wrong_link_is_cut() -> None:
    """One molecule goes dark when another, 1.1 px away, lights up."""
    places = np.array([[11.5, 12, 0], [12.6, 12, 0]])
    scene = movie_of(PSF, places, np.array([[2, 5], [6, 9]]), 3000.0, SHAPE, seed=2)
    config = SpaceTimeConfig(link_radius_px=2.0)
    assert state_of(scene, config).n == 1  # linked as one
    (one, two) = blinks_of(scene.fit(config))
    assert one[:2] == (2, 5)
    assert two[:2] == (6, 9)
    assert one[2] == pytest.approx(11.5, abs=0.15)
    assert two[2] == pytest.approx(12.6, abs=0.15)


def test_overlapping_blinks_keep_their_identity_when_one_switches() -> None:
    """Frames 2-6 and 5-9, 2 px apart: shared frames show a mixture."""
    places = np.array([[11.0, 12, 0], [13.0, 12, 0]])
    scene = movie_of(PSF, places, np.array([[2, 6], [5, 9]]), 3000.0, SHAPE, seed=3)
    (one, two) = blinks_of(scene.fit())
    assert (one[:2], two[:2]) == ((2, 6), (5, 9))
    assert one[2] == pytest.approx(11.0, abs=0.15)
    assert two[2] == pytest.approx(13.0, abs=0.15)


def test_missed_frames_and_missed_blinks_are_found_and_false_ones_dropped() -> None:
    places = np.array([[8.2, 8.7, 0], [16.4, 16.1, 0]])
    scene = movie_of(PSF, places, np.array([[2, 7], [4, 6]]), 2000.0, SHAPE, seed=4)
    found = Detections(  # two frames of the first, none of the second, two where nothing is
        np.array([1, 4, 5, 9]), np.array([19.5, 8.2, 8.2, 4.5]), np.array([4.5, 8.7, 8.7, 19.5])
    )
    rows = type(scene)(**{**scene.__dict__, "found": found}).fit()
    (one, two) = blinks_of(rows)
    assert (one[:2], two[:2]) == ((2, 7), (4, 6))
    assert (rows["probability"] > 0.9).all()


def test_noise_alone_gives_hardly_any_blink() -> None:
    nothing = movie_of(PSF, np.empty((0, 3)), np.empty((0, 2), int), 1.0, (12, 48, 48), seed=5)
    state = state_of(nothing)
    assert state.n == 0
    for _ in range(3):
        state.refine(3, 1.0, 1e-3)
        state.change_blinks(births=True, exchanges=True)
    np.testing.assert_allclose(state.window.model, redrawn(state), atol=1e-9, rtol=0)
    rows = nothing.fit()
    assert len(rows) <= 2
    assert {"blink_id", "uncertainty_x_nm", "flags", "photons"} <= set(rows.names)
