"""Linking finds the blinks that were put in; a blink's row is the weighted mean of its frames."""

from __future__ import annotations

import numpy as np
import pytest

from hdsmlm.config.postprocessing import LinkConfig
from hdsmlm.errors import TableError
from hdsmlm.postprocessing.linking import blink_table, link_blinks
from hdsmlm.records.emitters import Emitters


def simulated(seed: int, n_blinks: int = 400, field_nm: float = 20_000.0) -> tuple[Emitters, ...]:
    """Return localizations of blinks of 1 to 6 frames with known identity and precision."""
    rng = np.random.default_rng(seed)
    length = rng.integers(1, 7, n_blinks)
    truth = np.repeat(np.arange(n_blinks), length)
    begin = rng.integers(0, 200, n_blinks)
    frame = np.repeat(begin, length) + np.concatenate([np.arange(n) for n in length])
    centre = rng.uniform(0, field_nm, (n_blinks, 2))
    sigma = rng.uniform(5, 25, (len(truth), 2))
    position = centre[truth] + rng.normal(0, sigma)
    table = Emitters(
        {
            "frame": frame,
            "x_nm": position[:, 0],
            "y_nm": position[:, 1],
            "uncertainty_x_nm": sigma[:, 0],
            "uncertainty_y_nm": sigma[:, 1],
            "photons": rng.uniform(300, 900, len(truth)),
            "flags": rng.choice([0, 2, 4], len(truth)),
            "emitter_id": truth,
        }
    )
    order = rng.permutation(len(truth))
    return table.select(order), Emitters(
        {"frame": begin, "x_nm": centre[:, 0], "y_nm": centre[:, 1]}
    )


def same_partition(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of the rows whose blink holds exactly the same rows in both."""
    pairs, index, counts = np.unique(
        np.stack([first, second]), axis=1, return_inverse=True, return_counts=True
    )
    size_first = np.bincount(first)[pairs[0]]
    size_second = np.bincount(second)[pairs[1]]
    whole = (counts == size_first) & (counts == size_second)
    return float(whole[index.ravel()].mean())


@pytest.mark.parametrize("config", [LinkConfig(), LinkConfig(radius_nm=110.0)])
def test_blinks_are_found_again(config: LinkConfig) -> None:
    table, _ = simulated(1)
    linked = link_blinks(table, config)
    assert (linked["x_nm"] == table["x_nm"]).all()
    # Beyond 3.5 standard errors in two dimensions lie 0.2 % of the pairs.
    assert same_partition(linked["blink_id"], table["emitter_id"]) > 0.97


def test_the_order_of_rows_does_not_matter() -> None:
    table, _ = simulated(2)
    linked = link_blinks(table, LinkConfig())
    order = np.random.default_rng(0).permutation(len(table))
    assert (
        link_blinks(table.select(order), LinkConfig())["blink_id"] == linked["blink_id"][order]
    ).all()


def test_dark_frames() -> None:
    table = Emitters({"frame": [0, 1, 3, 6], "x_nm": [5, 6, 5, 4], "y_nm": [1, 1, 1, 1]})
    for dark, blinks in ((0, [0, 0, 1, 2]), (1, [0, 0, 0, 1]), (2, [0, 0, 0, 0])):
        config = LinkConfig(radius_nm=10, max_dark_frames=dark)
        assert link_blinks(table, config)["blink_id"].tolist() == blinks


def test_two_neighbours_are_never_one_blink_in_a_frame() -> None:
    table = Emitters(
        {"frame": [0, 0, 1, 1, 2], "x_nm": [0, 30, 8, 29, 12], "y_nm": [0, 0, 0, 0, 0]}
    )
    linked = link_blinks(table, LinkConfig(radius_nm=40))
    assert linked["blink_id"].tolist() == [0, 1, 0, 1, 0]


def test_mean_position_uncertainty_and_sums() -> None:
    table, truth = simulated(3, n_blinks=3000, field_nm=3e5)
    table = table.with_columns(blink_id=table["emitter_id"])
    blinks = blink_table(table)
    assert blinks["photons"].sum() == pytest.approx(table["photons"].sum())
    assert blinks["n_frames"].sum() == len(table)
    assert (blinks["duration_frames"] == blinks["n_frames"]).all()
    z = (blinks["x_nm"] - truth["x_nm"][blinks["blink_id"]]) / blinks["uncertainty_x_nm"]
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert abs(z.std() - 1) < 4 / np.sqrt(2 * len(z))
    row = int(np.argmax(blinks["n_frames"]))
    own = table.select(table["blink_id"] == blinks["blink_id"][row])
    assert blinks["flags"][row] == np.bitwise_or.reduce(own["flags"])
    weights = own["uncertainty_x_nm"] ** -2
    assert blinks["x_nm"][row] == pytest.approx(np.average(own["x_nm"], weights=weights))
    assert blinks["frame"][row] == own["frame"].min()


def test_a_shared_position_keeps_its_uncertainty() -> None:
    table = Emitters(
        {
            "frame": [0, 1, 2, 5],
            "x_nm": [70.1, 70.1, 70.1, 10.0],
            "y_nm": [3.3, 3.3, 3.3, 5.0],
            "uncertainty_x_nm": [4.0, 4.0, 4.0, 9.0],
            "uncertainty_y_nm": [5.0, 5.0, 5.0, 9.0],
            "blink_id": [7, 7, 7, 9],
        }
    )
    blinks = blink_table(table)
    assert blinks["x_nm"].tolist() == [70.1, 10.0]
    assert np.allclose(blinks["uncertainty_x_nm"], [4.0, 9.0])
    assert np.allclose(blinks["uncertainty_y_nm"], [5.0, 9.0])


def test_positions_without_uncertainties_are_weighted_by_photons() -> None:
    table = Emitters(
        {
            "frame": [0, 1],
            "x_nm": [0.0, 10.0],
            "y_nm": [0.0, 0.0],
            "photons": [100.0, 300.0],
            "blink_id": [1, 1],
        }
    )
    blinks = blink_table(table)
    assert blinks["x_nm"].tolist() == [7.5]
    assert "uncertainty_x_nm" not in blinks


def test_bad_uncertainties_are_no_exception() -> None:
    table, _ = simulated(4, n_blinks=50)
    sigma = table["uncertainty_x_nm"].copy()
    sigma[:5] = [np.nan, np.inf, 0.0, -1.0, np.nan]
    linked = link_blinks(table.with_columns(uncertainty_x_nm=sigma), LinkConfig())
    assert np.isfinite(blink_table(linked)["x_nm"]).all()
    with pytest.raises(TableError, match="none of them"):
        link_blinks(table.with_columns(uncertainty_x_nm=np.full(len(table), np.nan)), LinkConfig())


def test_what_is_missing_is_named() -> None:
    table = Emitters({"frame": [0, 1], "x_nm": [5, 6], "y_nm": [1, 1]})
    with pytest.raises(TableError, match="--radius-nm"):
        link_blinks(table, LinkConfig())
    assert len(link_blinks(Emitters.empty(), LinkConfig(radius_nm=5))) == 0
