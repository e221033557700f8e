"""Groups: bounded, the same for any order of rows, made by what is near alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdsmlm.fitting.groups import GroupRules, Groups, group_emitters

RULES = GroupRules(link_px=4.0, max_size=5, half_px=4, support_px=6.5)
SHAPE = (40, 44)


def scene(seed: int, n: int, frames: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, frames, n), rng.uniform(0, 44, n), rng.uniform(0, 40, n)


def members(groups: Groups) -> list[tuple[int, ...]]:
    ends = zip(groups.start[:-1], groups.start[1:], strict=True)
    return [tuple(sorted(groups.order[a:b].tolist())) for a, b in ends]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(0, 120))
def test_groups_are_a_bounded_partition_and_neighbours_differ_in_colour(seed: int, n: int) -> None:
    frame, x, y = scene(seed, n)
    groups = group_emitters(frame, x, y, SHAPE, RULES)
    assert sorted(groups.order.tolist()) == list(range(n))
    assert all(1 <= len(group) <= RULES.max_size for group in members(groups))
    of = np.empty(n, int)
    of[groups.order] = np.repeat(np.arange(len(groups)), np.diff(groups.start))
    for g, rows in enumerate(members(groups)):
        assert set(frame[list(rows)]) == {groups.frame[g]}
        y0, y1, x0, x1 = groups.box[g]
        for row in rows:
            assert y0 <= int(y[row]) < y1
            assert x0 <= int(x[row]) < x1
        near = groups.neighbours[groups.neighbour_start[g] : groups.neighbour_start[g + 1]]
        for other in groups.order[near]:
            assert frame[other] == groups.frame[g]
            assert of[other] != g
            assert groups.colour[of[other]] != groups.colour[g]
        reach = RULES.half_px + 1 + RULES.support_px
        apart = np.maximum(np.abs(x[:, None] - x[list(rows)]), np.abs(y[:, None] - y[list(rows)]))
        wanted = (apart < reach).any(axis=1) & (frame == groups.frame[g]) & (of != g)
        assert set(groups.order[near]) == set(np.flatnonzero(wanted))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_groups_do_not_depend_on_the_order_of_rows_nor_on_other_frames(seed: int) -> None:
    frame, x, y = scene(seed, 100)
    groups = members(group_emitters(frame, x, y, SHAPE, RULES))
    mixed = np.random.default_rng(seed).permutation(100)
    again = members(group_emitters(frame[mixed], x[mixed], y[mixed], SHAPE, RULES))
    assert [tuple(sorted(mixed[list(rows)])) for rows in again] == groups
    one = np.flatnonzero(frame == 1)
    alone = members(group_emitters(frame[one], x[one], y[one], SHAPE, RULES))
    wanted = [rows for rows in groups if frame[rows[0]] == 1]
    assert [tuple(one[list(rows)].tolist()) for rows in alone] == wanted


def test_without_a_cut_groups_are_the_connected_components() -> None:
    uncut = GroupRules(4.0, 200, 4, 6.5)
    frame, x, y = scene(3, 120, frames=1)
    label = np.arange(120)
    near = np.hypot(x[:, None] - x, y[:, None] - y) < 4.0
    for _ in range(120):
        label = np.where(near, label, 1000).min(axis=1)
    wanted = {tuple(np.flatnonzero(label == value)) for value in set(label)}
    assert set(members(group_emitters(frame, x, y, SHAPE, uncut))) == wanted


def test_a_cut_keeps_the_closest_together() -> None:
    x = np.array([10.0, 11.0, 14.0, 15.0])
    rules = GroupRules(4.0, 2, 4, 6.5)
    groups = group_emitters(np.zeros(4, int), x, np.full(4, 9.0), SHAPE, rules)
    assert members(groups) == [(0, 1), (2, 3)]


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_and_one_are_grouped(n: int) -> None:
    groups = group_emitters(np.zeros(n, int), np.full(n, 3.0), np.full(n, 3.0), SHAPE, RULES)
    assert len(groups) == n
    assert groups.box.tolist() == [[0, 8, 0, 8]][:n]
