"""FRC and NeNA against what follows from the model that the data were drawn from."""

from __future__ import annotations

import numpy as np
import pytest

from hdsmlm.config.postprocessing import FrcConfig, NenaConfig
from hdsmlm.errors import TableError
from hdsmlm.postprocessing.frc import fourier_ring_correlation
from hdsmlm.postprocessing.nena import nearest_neighbour_precision
from hdsmlm.records.emitters import Emitters


def scattered(mean: float, sigma_nm: float, seed: int) -> Emitters:
    """Return molecules at random, each localized Poisson(mean) times with a known precision."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 3000, (1500, 2))
    molecule = np.repeat(np.arange(1500), rng.poisson(mean, 1500))
    position = centre[molecule] + rng.normal(0, sigma_nm, (len(molecule), 2))
    frame = rng.integers(0, 2000, len(molecule))
    return Emitters({"frame": frame, "x_nm": position[:, 0], "y_nm": position[:, 1]})


@pytest.mark.parametrize(("mean", "sigma_nm", "block"), [(20.0, 10.0, 0), (10.0, 15.0, 1)])
def test_frc_of_molecules_at_random(mean: float, sigma_nm: float, block: int) -> None:
    # White positions: FRC = (Q/2) h / (1 + (Q/2) h) with h = exp(-4π²σ²q²), so that it is 1/7
    # where h = 1/(3Q).
    expected = 2 * np.pi * sigma_nm / np.sqrt(np.log(3 * mean))
    config = FrcConfig(pixel_size_nm=3.0, block_frames=block, repeats=2)
    result = fourier_ring_correlation(scattered(mean, sigma_nm, 1), config)
    assert result.resolution_nm == pytest.approx(expected, rel=0.04)
    assert result.notes == ()
    q = result.frequency_per_nm
    signal = mean / 2 * np.exp(-((2 * np.pi * sigma_nm * q) ** 2))
    middle = (q > 0.2 / sigma_nm / 2 / np.pi) & (q < 0.08)
    difference = (result.correlation - signal / (1 + signal))[middle]
    assert abs(difference.mean()) < 0.01


def test_frc_is_the_same_with_the_same_seed_and_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    table = scattered(20.0, 10.0, 2)
    config = FrcConfig(block_frames=0, repeats=2, seed=7)
    first = fourier_ring_correlation(table, config)
    assert fourier_ring_correlation(table, config).resolution_nm == first.resolution_nm
    monkeypatch.setattr("hdsmlm.postprocessing.frc._TILE_PX", 300)
    tiled = fourier_ring_correlation(table, config)
    assert len(tiled.correlation) < len(first.correlation)
    assert tiled.resolution_nm == pytest.approx(first.resolution_nm, rel=0.05)


def test_frc_tells_when_there_is_nothing_to_correlate() -> None:
    rng = np.random.default_rng(3)
    position = rng.uniform(0, 3000, (5000, 2))
    table = Emitters(
        {"frame": rng.integers(0, 900, 5000), "x_nm": position[:, 0], "y_nm": position[:, 1]}
    )
    result = fourier_ring_correlation(table, FrcConfig(block_frames=0, repeats=1))
    assert np.isnan(result.resolution_nm)
    assert result.notes
    with pytest.raises(TableError, match="--block-frames"):
        fourier_ring_correlation(table, FrcConfig())
    with pytest.raises(TableError, match="too few"):
        fourier_ring_correlation(table.select(np.arange(20)), FrcConfig())
    with pytest.raises(TableError, match="--pixel-size-nm"):
        fourier_ring_correlation(table, FrcConfig(pixel_size_nm=100.0))


def blinking(sigma_nm: float, density_per_um2: float, seed: int) -> Emitters:
    """Return blinks of mean two frames at random places, localized frame by frame."""
    rng = np.random.default_rng(seed)
    frames, side_um = 300, 6.4
    begin = rng.integers(0, frames, int(density_per_um2 * side_um**2 * frames / 2))
    length = rng.geometric(0.5, len(begin))
    blink = np.repeat(np.arange(len(begin)), length)
    frame = begin[blink] + np.concatenate([np.arange(n) for n in length])
    centre = rng.uniform(0, 1000 * side_um, (len(begin), 2))
    position = centre[blink] + rng.normal(0, sigma_nm, (len(blink), 2))
    return Emitters({"frame": frame, "x_nm": position[:, 0], "y_nm": position[:, 1]})


@pytest.mark.parametrize(
    ("sigma_nm", "density"), [(8.0, 0.3), (15.0, 0.3), (15.0, 6.0), (30.0, 2.0)]
)
def test_nena_finds_the_precision(sigma_nm: float, density: float) -> None:
    result = nearest_neighbour_precision(blinking(sigma_nm, density, 4), NenaConfig())
    assert abs(result.precision_nm - sigma_nm) < max(4 * result.standard_error_nm, 0.03 * sigma_nm)
    assert result.notes == ()
    width = result.distance_nm[1] - result.distance_nm[0]
    assert result.density_per_nm.sum() * width == pytest.approx(1.0)


def test_nena_says_what_it_cannot_use() -> None:
    table = blinking(10.0, 1.0, 5)
    _, first = np.unique(table["frame"], return_index=True)
    with pytest.raises(TableError, match="at least 200"):
        nearest_neighbour_precision(table.select(first[:50]), NenaConfig())
    shared = table.with_columns(x_nm=np.round(table["x_nm"], -3), y_nm=np.round(table["y_nm"], -3))
    with pytest.raises(TableError, match="jointly"):
        nearest_neighbour_precision(shared, NenaConfig())
    rng = np.random.default_rng(6)
    alone = Emitters(
        {
            "frame": np.repeat(np.arange(300), 20),
            "x_nm": rng.uniform(0, 6400, 6000),
            "y_nm": rng.uniform(0, 6400, 6000),
        }
    )
    assert "not the precision" in nearest_neighbour_precision(alone, NenaConfig()).notes[0]
