"""Neighbours exchange the frames at their ends where the posterior rises, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from blink_scenes import Scene, blink_scene, movie_of, redrawn, state_of

from hdsmlm.fitting.blink_exchange import exchange
from hdsmlm.fitting.psf_kernels import X
from hdsmlm.fitting.spacetime import Detections, _State
from hdsmlm.imaging.psf import AstigmaticPsf, GaussianPsf

PSF = GaussianPsf(1.3)
SHAPE = (12, 24, 24)
LEFT, RIGHT = 11.4, 12.7


def two_blinks(true_spans, spans, photons: float = 3000.0, seed: int = 0) -> Scene:
    """Two neighbours, and detections as if they were on in ``spans``."""
    places = np.array([[LEFT, 12.0, 0], [RIGHT, 12.0, 0]])
    scene = movie_of(PSF, places, np.array(true_spans), photons, SHAPE, seed=seed)
    frame = np.concatenate([np.arange(first, last + 1) for first, last in spans])
    x = np.repeat([LEFT, RIGHT], [last - first + 1 for first, last in spans])
    order = np.lexsort((x, frame))
    found = Detections(frame[order], x[order], np.full(len(x), 12.0))
    return type(scene)(**{**scene.__dict__, "found": found})


def settle(state: _State) -> None:
    for _ in range(6):
        state.refine(20, 1.0, 1e-3)
        state.renew_background()


def exchanged(state: _State) -> int:
    """Settle, make exchanges, settle again; return how many were made."""
    settle(state)
    made = exchange(state.window, state.blinks, state._near_pairs(), state.odds(), state.now)
    settle(state)
    return made


def spans_of(state: _State) -> list[tuple[int, int]]:
    blinks = state.blinks
    order = np.argsort(blinks.place[: state.n, X])
    return [(int(blinks.first[j]), int(blinks.last[j])) for j in order]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("true_spans", "start"),
    [
        ([(2, 4), (5, 8)], [(2, 5), (6, 8)]),  # the first frame of the right one was given away
        ([(2, 5), (6, 8)], [(2, 4), (5, 8)]),  # the last one of the left
        ([(2, 6), (5, 8)], [(2, 5), (5, 8)]),  # the right one has the light of both in frame 6
        ([(2, 6), (4, 9)], [(2, 6), (6, 9)]),
    ],
)
def test_a_frame_comes_to_whom_it_belongs(true_spans, start, seed: int) -> None:
    state = state_of(two_blinks(true_spans, start, seed=seed))
    assert state.n == 2
    assert spans_of(state) == start
    for _ in range(2):
        exchanged(state)
    assert spans_of(state) == true_spans
    places = np.sort(state.blinks.place[:2, X])
    np.testing.assert_allclose(places, [LEFT, RIGHT], atol=0.15)
    np.testing.assert_allclose(state.window.model, redrawn(state), rtol=1e-9)


@pytest.mark.parametrize("psf", [PSF, AstigmaticPsf(1.3, 250.0, 400.0)])
def test_trials_leave_no_trace(psf) -> None:
    """Where all is right nothing is exchanged, and the model is what it was."""
    state = state_of(blink_scene(psf, seed=3, density=0.01))
    for _ in range(3):  # what pays is made first
        exchanged(state)
    pairs = state._near_pairs()
    state.blinks.judged[:] = 0
    before = state.window.model.copy()
    blinks = [getattr(state.blinks, name).copy() for name in ("place", "photons", "first", "last")]
    if exchange(state.window, state.blinks, pairs, state.odds(), state.now):
        pytest.fail("exchanges do not come to an end")
    assert len(pairs) > 3
    np.testing.assert_allclose(state.window.model, before, rtol=1e-9)
    for name, old in zip(("place", "photons", "first", "last"), blinks, strict=True):
        np.testing.assert_array_equal(getattr(state.blinks, name), old)


def test_faint_frames_are_not_shared_without_reason() -> None:
    """A blink that is off gets no share of a neighbour's light but by the luck of the noise."""
    gone_wrong = 0
    for seed in range(12):
        truth = [(2, 5), (4, 9)]
        state = state_of(two_blinks(truth, truth, photons=800.0, seed=seed))
        exchanged(state)
        gone_wrong += spans_of(state) != truth
    assert gone_wrong <= 2
