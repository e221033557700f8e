"""Units of expected count: what goes in comes out, once, in its place, on any tiling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from hdsmlm.config.prediction import DecodingConfig
from hdsmlm.inference.decode import COLUMNS, Units, decode, peel_units
from hdsmlm.records.count_map import expected_count

CONFIG = DecodingConfig()


def spot(shape: tuple[int, int], x_px: float, y_px: float, sigma_px: float) -> np.ndarray:
    """A unit of mass as a position posterior: a Gaussian integrated over the pixels."""
    height, width = shape
    along_y = np.diff(ndtr((np.arange(height + 1) - y_px) / sigma_px))
    along_x = np.diff(ndtr((np.arange(width + 1) - x_px) / sigma_px))
    return np.outer(along_y, along_x)


def scene(
    seed: int, *, n: int = 40, size: int = 48, sigma_px: float = 0.4
) -> tuple[np.ndarray, np.ndarray]:
    """Return true positions (n, 2) as x, y and the map of expected counts."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, size, (n, 2))
    return xy, sum(spot((size, size), x, y, sigma_px) for x, y in xy)


def as_probabilities(expected: np.ndarray) -> np.ndarray:
    """Class probabilities with the given expected counts between 0 and 3."""
    low = np.floor(np.minimum(expected, 2.999)).astype(int)
    part = np.clip(expected - low, 0, 1)
    probabilities = np.zeros((4, *expected.shape))
    np.put_along_axis(probabilities, low[None], 1 - part[None], 0)
    np.put_along_axis(probabilities, low[None] + 1, part[None], 0)
    return probabilities[None].astype(np.float32)


def order(units: Units) -> list[tuple[float, float, float]]:
    rows = zip(units.y_px.round(6), units.x_px.round(6), units.mass.round(6), strict=True)
    return sorted((float(y), float(x), float(mass)) for y, x, mass in rows)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 5), (7, 11), (19, 29), (19, 0)])
def test_a_certain_emitter_lies_at_its_pixels_centre(row: int, column: int) -> None:
    expected = np.zeros((20, 30))
    expected[row, column] = 1
    assert order(peel_units(expected, CONFIG)) == [(row + 0.5, column + 0.5, 1.0)]


@pytest.mark.parametrize("distance", [(0, 1), (1, 1), (0, 2), (1, 2), (2, 2), (0, 3), (3, 3)])
def test_two_certain_emitters_stay_two(distance: tuple[int, int]) -> None:
    expected = np.zeros((20, 20))
    expected[8, 9] = expected[8 + distance[0], 9 + distance[1]] = 1
    wanted = [(8.5, 9.5, 1.0), (8.5 + distance[0], 9.5 + distance[1], 1.0)]
    np.testing.assert_allclose(order(peel_units(expected, CONFIG)), wanted, atol=0.02)


@pytest.mark.parametrize("count", [2, 3])
def test_several_in_one_pixel_are_several(count: int) -> None:
    expected = np.zeros((9, 9))
    expected[4, 4] = count
    assert order(peel_units(expected, CONFIG)) == [(4.5, 4.5, 1.0)] * count


@settings(max_examples=50, deadline=None)
@given(x_px=st.floats(4, 12), y_px=st.floats(4, 12), sigma_px=st.floats(0.05, 0.7))
def test_spread_mass_of_one_emitter_is_one_emitter_in_its_place(
    x_px: float, y_px: float, sigma_px: float
) -> None:
    units = peel_units(spot((16, 16), x_px, y_px, sigma_px), CONFIG)
    assert len(units.mass) == 1
    # A posterior inside one pixel says no more than the pixel: half a pixel.
    assert abs(units.x_px[0] - x_px) <= 0.51
    assert abs(units.y_px[0] - y_px) <= 0.51
    if sigma_px > 0.35:
        assert np.hypot(units.x_px[0] - x_px, units.y_px[0] - y_px) < 0.12


def test_spread_pair_is_resolved_with_little_pull_towards_each_other() -> None:
    expected = spot((20, 20), 8.5, 10.2, 0.5) + spot((20, 20), 11.0, 10.2, 0.5)
    units = peel_units(expected, CONFIG)
    found = np.sort(units.x_px)
    np.testing.assert_allclose(found, [8.5, 11.0], atol=0.15)
    np.testing.assert_allclose(units.y_px, 10.2, atol=0.15)


def test_exchange_moves_pairs_apart() -> None:
    """What the first peel takes from its neighbour is given back."""
    expected = spot((20, 20), 8.6, 10.5, 0.6) + spot((20, 20), 10.5, 10.5, 0.6)
    gaps = []
    for rounds in (0, 2):
        config = DecodingConfig(exchange_rounds=rounds)
        units = peel_units(expected, config)
        assert len(units.mass) == 2
        gaps.append(abs(np.ptp(units.x_px) - 1.9))
    assert gaps[1] <= gaps[0]


@pytest.mark.parametrize(
    ("mass", "n"), [(0.3, 0), (0.49, 0), (0.51, 1), (1.0, 1), (1.45, 1), (1.6, 2)]
)
def test_the_threshold_is_on_the_mass_of_a_unit(mass: float, n: int) -> None:
    units = peel_units(mass * spot((16, 16), 8.0, 8.0, 0.3), CONFIG)
    assert len(units.mass) == n


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), sigma_px=st.floats(0.1, 1.2), threshold=st.floats(0.2, 0.9))
def test_units_take_no_more_than_there_is(seed: int, sigma_px: float, threshold: float) -> None:
    _, expected = scene(seed, sigma_px=sigma_px)
    config = DecodingConfig(threshold=threshold, floor=0.0)
    units = peel_units(expected, config)
    assert units.mass.sum() <= expected.sum() + 1e-9
    assert np.all(units.mass >= threshold - 1e-9)
    assert np.all(units.mass <= 1)
    assert np.all((units.x_px >= 0) & (units.x_px <= 48) & (units.y_px >= 0) & (units.y_px <= 48))


def test_what_is_left_after_peeling_holds_no_further_unit_at_a_peak() -> None:
    """Expected and decoded counts agree when positions are well known."""
    _, expected = scene(3, n=120, sigma_px=0.3)
    units = peel_units(expected, CONFIG)
    assert len(units.mass) == pytest.approx(expected.sum(), rel=0.03)


def test_random_scenes_are_recovered() -> None:
    """At 1.7 emitters per 100 px² and a position known to 0.4 px, nearly all are found in place."""
    from scipy.spatial import cKDTree

    found = near = total = 0
    for seed in range(10):
        xy, expected = scene(seed)
        inside = np.all((xy > 1) & (xy < 47), axis=1)
        units = peel_units(expected, CONFIG)
        distance, _ = cKDTree(np.column_stack((units.x_px, units.y_px))).query(xy[inside])
        near += int((distance < 0.5).sum())
        total += int(inside.sum())
        found += len(units.mass)
    assert near / total > 0.95
    assert found == pytest.approx(400, rel=0.03)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(16, 32))
def test_a_cut_out_decodes_like_the_whole(seed: int, cut: int) -> None:
    _, expected = scene(seed, n=25)
    whole, part = peel_units(expected, CONFIG), peel_units(expected[:, cut:], CONFIG)
    rim = 14  # a chain of touching emitters hands a decision on; here it is shorter than this
    left = [unit for unit in order(whole) if unit[1] > cut + rim]
    right = [(y, round(x + cut, 6), mass) for y, x, mass in order(part) if x > rim]
    np.testing.assert_allclose(np.array(right), np.array(left), atol=1e-9)


def test_turning_a_map_turns_its_emitters() -> None:
    _, expected = scene(11)
    size = expected.shape[0]
    turned = order(peel_units(np.rot90(expected, 2).copy(), CONFIG))
    wanted = sorted(
        (round(size - y, 6), round(size - x, 6), m)
        for y, x, m in order(peel_units(expected, CONFIG))
    )
    np.testing.assert_allclose(turned, wanted, atol=2e-6)


def test_same_input_same_output_bit_by_bit() -> None:
    _, expected = scene(5, n=200)
    first, second = peel_units(expected, CONFIG), peel_units(expected.copy(order="F"), CONFIG)
    for name in ("x_px", "y_px", "mass"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize(
    "config",
    [
        DecodingConfig(radius_px=4.0, kernel_sigma_px=0.2, exchange_sigma_px=0.1),
        DecodingConfig(radius_px=0.5, threshold=0.1),
        DecodingConfig(floor=0.0, exchange_rounds=10),
        DecodingConfig(threshold=0.05),
    ],
)
def test_extreme_settings_work(config: DecodingConfig) -> None:
    _, expected = scene(7, n=150, sigma_px=0.8)
    units = peel_units(expected, config)
    assert np.isfinite([units.x_px, units.y_px, units.mass]).all()
    assert len(units.mass) > 10


def test_the_table_says_frame_place_and_surroundings() -> None:
    expected = np.zeros((2, 20, 20))
    expected[1, 4, 6] = 1.0
    expected[1, 4, 7] = 0.9
    expected[1, 6, 6] = 0.3
    expected[1, 12, 12] = 3.0
    probabilities = np.concatenate([as_probabilities(frame) for frame in expected])
    np.testing.assert_allclose(expected_count(probabilities), expected, atol=1e-6)
    table = decode(probabilities, CONFIG, pixel_size_nm=80.0, first_frame=100)
    assert table.names == COLUMNS
    assert table["frame"].tolist() == [101] * 5
    np.testing.assert_allclose(table["y_nm"], [360, 360, 1000, 1000, 1000], atol=8)
    np.testing.assert_allclose(table["x_nm"][:2], [520, 600], atol=8)
    np.testing.assert_allclose(table["probability"], [1, 0.9, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(table["expected_count"], [2.2, 2.2, 3, 3, 3], atol=1e-6)
    assert table["count_class"].tolist() == [2, 2, 3, 3, 3]


def test_an_empty_map_gives_an_empty_table_with_the_columns() -> None:
    probabilities = as_probabilities(np.zeros((8, 8)))
    table = decode(probabilities, CONFIG, pixel_size_nm=100.0)
    assert len(table) == 0
    assert table.names == COLUMNS


def test_decoding_frame_by_frame_equals_decoding_all() -> None:
    maps = [scene(seed)[1] for seed in range(4)]
    probabilities = np.concatenate([as_probabilities(np.minimum(m, 3)) for m in maps])
    together = decode(probabilities, CONFIG, pixel_size_nm=100.0)
    for frame in range(4):
        alone = decode(
            probabilities[frame : frame + 1], CONFIG, pixel_size_nm=100.0, first_frame=frame
        )
        part = together.select(together["frame"] == frame)
        for name in COLUMNS:
            np.testing.assert_array_equal(part[name], alone[name])


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(t, 4, y, x\)"):
        decode(np.zeros((2, 8, 8, 4)), CONFIG, pixel_size_nm=100.0)
