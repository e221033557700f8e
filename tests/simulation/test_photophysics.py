"""Blink statistics."""

import numpy as np
import pytest

from hdsmlm.simulation.photophysics import Photophysics, draw_blinks, emissions


def _physics(on=2.0, off=15.0, blinks=3.0, fraction=0.0) -> Photophysics:
    return Photophysics(on, off, blinks, fraction)


def _within(sample, expected, spread=None):
    spread = np.std(sample) if spread is None else spread
    assert abs(np.mean(sample) - expected) < 4 * spread / np.sqrt(len(sample))


def test_on_times_are_exponential():
    blinks = draw_blinks(_physics(), 20.0, (32, 300), np.inf, np.random.default_rng(0))
    on = blinks.stop - blinks.start
    _within(on, 2.0)
    _within(on > 2.0, np.exp(-1))


def test_molecules_blink_a_geometric_number_of_times():
    blinks = draw_blinks(_physics(), 20.0, (32, 300), np.inf, np.random.default_rng(1))
    _, counts = np.unique(blinks.molecule, return_counts=True)
    _within(counts, 3.0)
    _within(counts == 1, 1 / 3)


def test_dark_times_are_exponential():
    blinks = draw_blinks(_physics(), 20.0, (32, 400), np.inf, np.random.default_rng(2))
    order = np.lexsort((blinks.start, blinks.molecule))
    same = np.diff(blinks.molecule[order]) == 0
    dark = (blinks.start[order][1:] - blinks.stop[order][:-1])[same]
    assert dark.min() > 0
    _within(dark, 15.0)


def test_blinks_start_at_the_rate_asked_for_from_the_first_frame_on():
    """The steady state holds at time 0: as many are on in the first frames as later."""
    n_on, expected = [], 25.0 * 2.0
    for seed in range(60):
        blinks = draw_blinks(_physics(), 25.0, (0, 40), 40.0, np.random.default_rng(seed))
        n_on.append(
            [np.sum((blinks.start <= t) & (blinks.stop > t)) for t in (0.0, 3.0, 10.0, 39.0)]
        )
    for column in np.array(n_on, dtype=float).T:
        _within(column, expected, spread=np.sqrt(expected))


@pytest.mark.parametrize(("on", "fraction"), [(0.7, 0.02), (2.0, 0.0), (2.0, 0.3), (6.0, 0.1)])
def test_frames_per_blink_is_the_closed_form(on, fraction):
    physics = _physics(on=on, blinks=1.0, fraction=fraction)
    blinks = draw_blinks(physics, 60.0, (32, 232), np.inf, np.random.default_rng(4))
    rows = emissions(blinks, 0, 1000)
    listed = rows.fraction >= fraction
    counts = np.bincount(rows.blink[listed], minlength=len(blinks.start))
    _within(counts, physics.listed_frames_per_blink())


def test_fractions_add_up_to_the_on_time_and_the_ends_are_dimmer():
    blinks = draw_blinks(_physics(), 10.0, (0, 64), np.inf, np.random.default_rng(5))
    rows = emissions(blinks, 0, 10_000)
    assert rows.fraction.min() >= 0
    assert rows.fraction.max() <= 1 + 1e-12
    total = np.bincount(rows.blink, rows.fraction, minlength=len(blinks.start))
    np.testing.assert_allclose(total, blinks.stop - blinks.start, atol=1e-9)
    inner = (rows.frame > np.floor(blinks.start[rows.blink])) & (
        rows.frame < np.floor(blinks.stop[rows.blink])
    )
    np.testing.assert_allclose(rows.fraction[inner], 1)


def test_pieces_of_a_blink_are_those_of_the_whole():
    blinks = draw_blinks(_physics(on=6), 5.0, (0, 64), np.inf, np.random.default_rng(6))
    whole = emissions(blinks, 0, 60)
    parts = [emissions(blinks, a, a + 7) for a in range(0, 56, 7)] + [emissions(blinks, 56, 60)]
    for name in ("frame", "fraction", "blink"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert sorted(joined.tolist()) == sorted(getattr(whole, name).tolist())


def test_no_molecules_is_no_error():
    blinks = draw_blinks(_physics(), 1e-9, (32, 64), np.inf, np.random.default_rng(0))
    assert len(emissions(blinks, 0, 10).frame) == 0
