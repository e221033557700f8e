"""Camera calibrations in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from hdsmlm.errors import ConfigError, MovieError
from hdsmlm.io.calibration import read_camera_map, read_camera_maps


def stack(shape: tuple[int, int] = (5, 7)) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([rng.normal(0, 1, shape), rng.uniform(3, 9, shape), rng.uniform(0.4, 1, shape)])


def test_maps_are_turned_and_named(tmp_path: Path) -> None:
    maps = stack()
    np.save(tmp_path / "c.npy", maps)
    found = read_camera_maps(tmp_path / "c.npy")
    np.testing.assert_array_equal(found.offset_adu, maps[0].T)
    np.testing.assert_array_equal(found.variance_adu2, maps[1].T)
    np.testing.assert_array_equal(found.gain_e_per_adu, maps[2].T)
    np.testing.assert_allclose(found.gain_adu_per_e, 1 / maps[2].T)
    straight = read_camera_maps(tmp_path / "c.npy", transpose=False)
    np.testing.assert_array_equal(straight.offset_adu, maps[0])


@pytest.mark.parametrize(
    ("maps", "word"),
    [
        (stack()[:2], "three maps"),
        (stack()[0], "three maps"),
        (-stack(), "variance >= 0"),
        (stack() * [[[1]], [[1]], [[0]]], "gain > 0"),
        (stack() * np.nan, "finite"),
    ],
)
def test_maps_that_cannot_be_used(tmp_path: Path, maps: np.ndarray, word: str) -> None:
    np.save(tmp_path / "c.npy", maps)
    with pytest.raises(MovieError, match=word):
        read_camera_maps(tmp_path / "c.npy")


def test_files_that_are_no_maps(tmp_path: Path) -> None:
    with pytest.raises(MovieError, match="no such camera calibration"):
        read_camera_maps(tmp_path / "c.npy")
    (tmp_path / "c.npy").write_text("offset variance gain")
    with pytest.raises(MovieError, match="not readable"):
        read_camera_maps(tmp_path / "c.npy")


@pytest.mark.parametrize("name", ["plane.npy", "plane.tif"])
def test_one_plane_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    plane = stack()[0].astype(np.float32)
    if name.endswith("npy"):
        np.save(tmp_path / name, plane)
    else:
        tifffile.imwrite(tmp_path / name, plane)
    np.testing.assert_array_equal(read_camera_map(tmp_path / name), plane)


def test_planes_that_cannot_be_used(tmp_path: Path) -> None:
    for name in ("absent.npy", "absent.tif"):
        with pytest.raises(ConfigError, match=r"absent.*cannot be read"):
            read_camera_map(tmp_path / name)
    np.save(tmp_path / "stack.npy", stack())
    with pytest.raises(ConfigError, match=r"one plane of real numbers"):
        read_camera_map(tmp_path / "stack.npy")
