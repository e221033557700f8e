"""Layer tuples: the half pixel, features, lazy frames; none of it needs napari itself."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdsmlm.errors import ConfigError, TableError
from hdsmlm.io.count_maps import CountMapFile, open_count_map_writer
from hdsmlm.io.movies import ArrayMovie
from hdsmlm.io.tables import TableInfo, write_table
from hdsmlm.napari_plugin import readers
from hdsmlm.napari_plugin.layers import (
    Placement,
    count_map_layers,
    movie_layer,
    placement_of,
    points_layer,
)
from hdsmlm.napari_plugin.lazy import LazyMovie, LazyStack
from hdsmlm.napari_plugin.samples import PIXEL_SIZE_NM, simulated_movie
from hdsmlm.records.count_map import expected_count
from hdsmlm.records.emitters import Emitters

TABLE = Emitters(
    {
        "frame": [0, 3],
        "x_nm": [50.0, 1250.0],
        "y_nm": [250.0, 100.0],
        "photons": [100.0, 900.0],
        "uncertainty_x_nm": [3.0, 6.0],
        "uncertainty_y_nm": [4.0, 8.0],
    }
)

# A busy machine is slow at times; that is no fault of what is tested.
LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def world(layer: Any) -> np.ndarray:
    """Return where napari shows the points of a layer tuple."""
    data, arguments, kind = layer
    assert kind == "points"
    return data * arguments["scale"] + arguments["translate"]


def probabilities(t: int = 4, y: int = 5, x: int = 6) -> np.ndarray:
    raw = np.random.default_rng(5).random((t, 4, y, x)).astype(np.float32)
    return raw / raw.sum(axis=1, keepdims=True)


def count_map(folder: Path, first_frame: int = 0, kind: str = "tif") -> Path:
    path = folder / f"count_map.{kind}"
    block = probabilities()
    with open_count_map_writer(path, 4, 5, 6, first_frame=first_frame) as writer:
        writer.append(block)
    return path


def test_centre_of_the_first_pixel_is_the_origin_of_the_world() -> None:
    assert world(points_layer(TABLE, "t", 100.0))[0].tolist() == [0.0, 2.0, 0.0]


@LOADED
@given(
    x_nm=st.floats(0, 1e5),
    pixel_nm=st.floats(20, 500),
    scale=st.floats(0.01, 100),
    shift=st.floats(-1e3, 1e3),
)
def test_a_point_lies_in_the_pixel_that_holds_it_whatever_the_scale(
    x_nm: float, pixel_nm: float, scale: float, shift: float
) -> None:
    """World to index of the image, rounded as napari does, is floor(x / p)."""
    place = Placement((1.0, scale, scale), (0.0, shift, shift))
    table = Emitters({"frame": [2], "x_nm": [x_nm], "y_nm": [0.5 * pixel_nm]})
    t, y, x = world(points_layer(table, "t", pixel_nm, place))[0]
    assert (t, y) == (2.0, pytest.approx(shift, abs=1e-6))
    index = (x - shift) / scale
    assert index == pytest.approx(x_nm / pixel_nm - 0.5, abs=1e-4)


def test_features_hold_every_column_and_the_lateral_uncertainty() -> None:
    _, arguments, _ = points_layer(TABLE, "t", 100.0)
    table = arguments["features"]
    assert {"frame", "photons", "uncertainty_x_nm", "x_nm"} <= set(table)
    assert table["uncertainty_nm"] == pytest.approx(np.sqrt([12.5, 50.0]))
    assert arguments["border_color"] == "photons"


def test_a_table_of_one_brightness_or_without_photons_has_one_colour() -> None:
    bare = Emitters({"frame": [0], "x_nm": [1.0], "y_nm": [1.0]})
    for table in (bare, TABLE.with_columns(photons=[7.0, 7.0]), TABLE.select(np.array([0]))):
        assert points_layer(table, "t", 100.0)[1]["border_color"] == "orange"


def test_count_map_layers_hold_the_classes_and_begin_at_their_frame(tmp_path: Path) -> None:
    block = probabilities()
    with CountMapFile(count_map(tmp_path, first_frame=7)) as file:
        layers = count_map_layers(file)
        names = [arguments["name"] for _, arguments, _ in layers]
        assert names == ["P(0)", "P(1)", "P(2)", "P(3+)", "expected count"]
        for k in range(4):
            np.testing.assert_array_equal(np.asarray(layers[k][0]), block[:, k])
        np.testing.assert_allclose(layers[4][0][2], expected_count(block)[2])
        assert all(arguments["translate"][0] == 7 for _, arguments, _ in layers)
        assert [arguments["visible"] for _, arguments, _ in layers] == [False] * 4 + [True]


@LOADED
@given(st.data())
def test_a_lazy_stack_is_indexed_like_the_array(data: st.DataObject) -> None:
    array = np.arange(5 * 3 * 4).reshape(5, 3, 4)
    stack = LazyStack(lambda start, stop: array[start:stop], array.shape, array.dtype)
    span = st.slices(5)
    time = data.draw(st.one_of(st.integers(-5, 4), span))
    rest = data.draw(st.lists(st.one_of(st.integers(-3, 2), st.slices(3)), max_size=2))
    key = (time, *rest)
    np.testing.assert_array_equal(stack[key], array[key])
    np.testing.assert_array_equal(stack[time], array[time])
    np.testing.assert_array_equal(stack[[3, 1, 1]], array[[3, 1, 1]])
    np.testing.assert_array_equal(stack[..., 0], array[..., 0])


def test_a_movie_layer_reads_only_the_frames_that_are_shown() -> None:
    asked: list[tuple[int, int]] = []

    class Counting(ArrayMovie):
        def _read(self, start: int, stop: int) -> np.ndarray:
            asked.append((start, stop))
            return super()._read(start, stop)

    frames = np.arange(400 * 4 * 5, dtype=np.uint16).reshape(400, 4, 5)
    data, arguments, _ = movie_layer(Counting(frames, pixel_size_nm=110))
    assert isinstance(data, LazyMovie)
    low, high = arguments["contrast_limits"]
    assert frames.min() <= low < high <= frames.max()
    assert arguments["metadata"]["pixel_size_nm"] == 110
    np.testing.assert_array_equal(data[17], frames[17])
    assert sum(stop - start for start, stop in asked) == 4


def test_a_flat_movie_still_has_a_range_of_grey_values() -> None:
    low, high = movie_layer(ArrayMovie(np.full((3, 4, 4), 9, np.uint8)))[1]["contrast_limits"]
    assert low < high


def image(**changes: Any) -> SimpleNamespace:
    plain = {
        "name": "m",
        "ndim": 3,
        "rgb": False,
        "rotate": np.eye(3),
        "shear": np.zeros(3),
        "scale": np.ones(3),
        "translate": np.zeros(3),
        "units": ("pixel",) * 3,
        "affine": SimpleNamespace(linear_matrix=np.eye(3), translate=np.zeros(3)),
    }
    return SimpleNamespace(**(plain | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ndim": 4}, "4 axes"),
        ({"rgb": True}, "colours"),
        ({"rotate": np.eye(3)[::-1]}, "turned"),
        ({"shear": np.ones(3)}, "sheared"),
    ],
)
def test_layers_without_a_straight_movie_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        placement_of(image(**changes))


# ---------------------------------------------------------------- readers


def result_folder(folder: Path) -> Path:
    folder.mkdir()
    write_table(TABLE, folder / "emitters.csv")
    (folder / "summary.json").write_text(json.dumps({"view": {"pixel_size_nm": 125.0}}))
    count_map(folder)
    return folder


def test_tables_tell_their_pixel_size(tmp_path: Path) -> None:
    path = tmp_path / "table.hdf5"
    write_table(TABLE, path, info=TableInfo(pixel_size_nm=125.0, n_frames=4, height=9, width=20))
    read = readers.table_reader(str(path))
    assert read is not None
    (layer,) = read(str(path))
    np.testing.assert_allclose(world(layer)[:, 2], TABLE["x_nm"] / 125.0 - 0.5, atol=1e-4)


def test_a_csv_without_pixel_size_is_shown_in_nm(tmp_path: Path) -> None:
    path = tmp_path / "loose.csv"
    write_table(TABLE, path)
    read = readers.table_reader([str(path)])
    assert read is not None
    ((data, arguments, _),) = read([str(path)])
    assert "scale" not in arguments
    assert arguments["metadata"]["pixel_size_nm"] is None
    np.testing.assert_allclose(data[:, 2], TABLE["x_nm"])


def test_folder_of_predict(tmp_path: Path) -> None:
    folder = result_folder(tmp_path / "result")
    read = readers.folder_reader(str(folder))
    assert read is not None
    layers = read(str(folder))
    assert [kind for _, _, kind in layers] == ["image"] * 5 + ["points"]
    np.testing.assert_allclose(world(layers[-1])[:, 1], TABLE["y_nm"] / 125.0 - 0.5)


def test_folder_of_simulate(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "truth.csv")
    tifffile.imwrite(
        tmp_path / "movie.tif", np.zeros((4, 5, 16), np.uint16), photometric="minisblack"
    )
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump({"pixel_size_nm": 80.0}))
    read = readers.folder_reader(str(tmp_path))
    assert read is not None
    movie, truth = read(str(tmp_path))
    assert movie[0].shape == (4, 5, 16)
    assert movie[1]["metadata"]["pixel_size_nm"] == 80.0
    np.testing.assert_allclose(world(truth)[:, 2], TABLE["x_nm"] / 80.0 - 0.5)


def test_folder_of_localize(tmp_path: Path) -> None:
    info = TableInfo(pixel_size_nm=100.0, n_frames=4, height=9, width=20)
    write_table(TABLE, tmp_path / "table.hdf5", info=info)
    write_table(TABLE, tmp_path / "blinks.csv", info=info)
    write_table(TABLE, tmp_path / "of_someone_else.csv")
    read = readers.folder_reader(str(tmp_path))
    assert read is not None
    names = [arguments["name"] for _, arguments, _ in read(str(tmp_path))]
    assert names == ["blinks", "table"]


def test_zarr_count_map(tmp_path: Path) -> None:
    pytest.importorskip("zarr", reason="zarr count maps need the extra io")
    path = count_map(tmp_path, kind="zarr")
    read = readers.folder_reader(str(path))
    assert read is not None
    assert len(read(str(path))) == 5


def test_what_is_of_others_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("name,age\nA,3\n")
    tifffile.imwrite(
        tmp_path / "count_map_of_people.tif",
        np.zeros((4, 5, 16), np.uint16),
        photometric="minisblack",
    )
    assert readers.table_reader(str(tmp_path / "notes.csv")) is None
    assert readers.table_reader(str(tmp_path / "absent.csv")) is None
    assert readers.count_map_reader(str(tmp_path / "count_map_of_people.tif")) is None
    assert readers.folder_reader(str(tmp_path)) is None
    assert readers.folder_reader([str(tmp_path), str(tmp_path)]) is None


def test_an_empty_table_says_so(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    write_table(TABLE.select(np.zeros(2, bool)), path)
    read = readers.table_reader(str(path))
    assert read is not None
    with pytest.raises(TableError, match="no rows"):
        read(str(path))


def test_sample_is_a_movie_with_truth_in_its_pixels() -> None:
    (movie, _, _), truth = simulated_movie()
    t, y, x = world(truth).T
    assert movie.shape == (64, 64, 64)
    assert PIXEL_SIZE_NM == 100.0
    assert t.max() < 64
    assert -0.5 <= y.min() <= y.max() <= 63.5
    assert -0.5 <= x.min() <= x.max() <= 63.5
    # Light lies where the truth says: brighter there than in the median pixel of its frame.
    bright = truth[1]["features"]["photons"] > 500
    picked = np.asarray(movie)[t[bright].astype(int), np.rint(y[bright]).astype(int),
                               np.rint(x[bright]).astype(int)]  # fmt: skip
    medians = np.median(np.asarray(movie), axis=(1, 2))[t[bright].astype(int)]
    assert np.mean(picked > medians) > 0.95
