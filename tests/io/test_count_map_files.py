"""Count maps: exact, labelled for Fiji, written whole or not at all, with bounded memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from numpy.typing import NDArray

from hdsmlm.errors import MissingExtraError, MovieError, OutputError
from hdsmlm.io.count_maps import (
    CountMapFile,
    TiffCountMapWriter,
    open_count_map_writer,
    read_count_map,
)


def probabilities(n_frames: int = 6, height: int = 9, width: int = 11) -> NDArray[np.float32]:
    scores = np.random.default_rng(8).normal(0, 2, (n_frames, 4, height, width))
    weights = np.exp(scores)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


MAP = probabilities()


@pytest.fixture(params=[".tif", ".zarr"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == ".zarr":
        pytest.importorskip("zarr")
    return tmp_path / f"map{request.param}"


def write(path: Path, data: NDArray[np.float32] = MAP, chunk: int = 4) -> None:
    with open_count_map_writer(path, len(data), *data.shape[2:]) as writer:
        for start in range(0, len(data), chunk):
            writer.append(data[start : start + chunk])


@pytest.mark.parametrize("chunk", [1, 4, 6])
def test_round_trip_is_exact(path: Path, chunk: int) -> None:
    write(path, chunk=chunk)
    np.testing.assert_array_equal(read_count_map(path), MAP)
    np.testing.assert_array_equal(read_count_map(path, 2, 5), MAP[2:5])
    with CountMapFile(path) as file:
        assert file.shape == MAP.shape
        np.testing.assert_array_equal(file.read(5, 6), MAP[5:6])
        with pytest.raises(MovieError, match="has 6"):
            file.read(5, 7)


def test_chunks_do_not_change_the_bytes(tmp_path: Path) -> None:
    for name, chunk in (("a", 1), ("b", 6)):
        write(tmp_path / f"{name}.tif", chunk=chunk)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize("bigtiff", [False, True])
def test_programs_see_four_channels_over_time(tmp_path: Path, bigtiff: bool) -> None:
    """tifffile and, by ImageJ's own description, Fiji."""
    path = tmp_path / "map.tif"
    with TiffCountMapWriter(path, MAP.shape, bigtiff=bigtiff) as writer:
        writer.append(MAP)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_bigtiff == bigtiff
        assert tif.is_imagej
        assert len(tif.series) == 1
        assert tif.series[0].axes == "TCYX"
        np.testing.assert_array_equal(tif.series[0].asarray(), MAP)
        assert tif.pages.first.compression.name == "ADOBE_DEFLATE"
    np.testing.assert_array_equal(read_count_map(path), MAP)


def test_bigtiff_when_4_gb_may_be_exceeded(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    for n_frames, first_bytes in ((4000, b"II*\0"), (4100, b"II+\0")):
        writer = open_count_map_writer(path, n_frames, 256, 256)
        writer.append(np.zeros((1, 4, 256, 256), np.float32))
        (part,) = tmp_path.iterdir()
        assert part.read_bytes()[:4] == first_bytes
        with pytest.raises(OutputError, match=f"1 of {n_frames} frames"):
            writer.close()


def test_zarr_names_its_dimensions(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    write(tmp_path / "map.zarr")
    array = zarr.open_array(str(tmp_path / "map.zarr"), mode="r")
    assert array.metadata.dimension_names == ("t", "c", "y", "x")
    assert array.chunks == (1, 4, 9, 11)


def test_an_incomplete_map_is_not_kept(path: Path) -> None:
    with (
        pytest.raises(OutputError, match="4 of 6 frames"),
        open_count_map_writer(path, 6, 9, 11) as writer,
    ):
        writer.append(MAP[:4])
    assert not list(path.parent.iterdir())


def test_a_failed_run_leaves_the_old_map(path: Path) -> None:
    write(path)

    def stopped() -> Iterator[NDArray[np.float32]]:
        yield MAP[:4] * 0
        raise KeyboardInterrupt

    def run() -> None:
        with open_count_map_writer(path, 6, 9, 11) as writer:
            for chunk in stopped():
                writer.append(chunk)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    np.testing.assert_array_equal(read_count_map(path), MAP)


def test_a_new_map_replaces_the_old(path: Path) -> None:
    write(path)
    write(path, MAP[::-1][:3])
    np.testing.assert_array_equal(read_count_map(path), MAP[::-1][:3])


def test_closing_twice_does_no_harm(path: Path) -> None:
    writer = open_count_map_writer(path, 6, 9, 11)
    writer.append(MAP)
    writer.close()
    writer.close()
    np.testing.assert_array_equal(read_count_map(path), MAP)


def test_frames_of_another_shape_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="do not fit"), open_count_map_writer(path, 6, 9, 11) as w:
        w.append(MAP[:, :3])
    with pytest.raises(ValueError, match="do not fit"), open_count_map_writer(path, 3, 9, 11) as w:
        w.append(MAP)


def test_a_full_disk_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile.TiffWriter, "write", full)
    with pytest.raises(OutputError, match="disk is full"):
        write(tmp_path / "map.tif")
    assert not list(tmp_path.iterdir())


def test_names_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.tif or \.zarr"):
        open_count_map_writer(tmp_path / "map.png", 6, 9, 11)
    (tmp_path / "data.zarr").mkdir()
    (tmp_path / "data.zarr" / "thesis.txt").touch()
    pytest.importorskip("zarr")
    with pytest.raises(OutputError, match="in the way"):
        open_count_map_writer(tmp_path / "data.zarr", 6, 9, 11)


def test_files_that_are_no_count_maps(tmp_path: Path) -> None:
    with pytest.raises(MovieError, match="no such count map"):
        read_count_map(tmp_path / "map.tif")
    tifffile.imwrite(tmp_path / "movie.tif", np.ones((8, 9, 11), "float32"))
    with pytest.raises(MovieError, match="count map of shape"):
        read_count_map(tmp_path / "movie.tif")
    (tmp_path / "notes.tif").write_text("nothing")
    with pytest.raises(MovieError, match="not readable as a count map"):
        read_count_map(tmp_path / "notes.tif")


def test_the_file_knows_its_first_frame(path: Path) -> None:
    with open_count_map_writer(path, 6, 9, 11, first_frame=700) as writer:
        writer.append(MAP)
    with CountMapFile(path) as file:
        assert file.first_frame == 700
        np.testing.assert_array_equal(file.read(0, 6), MAP)
    write(path)
    with CountMapFile(path) as file:
        assert file.first_frame == 0


def test_a_first_frame_does_not_disturb_programs(tmp_path: Path) -> None:
    with open_count_map_writer(tmp_path / "map.tif", 6, 9, 11, first_frame=700) as writer:
        writer.append(MAP)
    with tifffile.TiffFile(tmp_path / "map.tif") as tif:
        assert tif.series[0].axes == "TCYX"
        assert tif.series[0].shape == MAP.shape


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_truncated_map_is_a_clear_error(tmp_path: Path, share: float) -> None:
    path = tmp_path / "map.tif"
    write(path, probabilities(40, 30, 30))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(MovieError, match=r"map\.tif: not readable.*predict the movie again"):
        read_count_map(path)


def test_damaged_pixels_are_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    write(path)
    with tifffile.TiffFile(path) as tif:
        offset, size = tif.pages[9].dataoffsets[0], tif.pages[9].databytecounts[0]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff" * size)
    with CountMapFile(path) as file:
        np.testing.assert_array_equal(file.read(0, 2), MAP[:2])
        with pytest.raises(MovieError, match=r"map\.tif: not readable"):
            file.read(2, 3)


@pytest.mark.parametrize("damage", ["lost", "garbage", "metadata"])
def test_a_damaged_zarr_is_a_clear_error(tmp_path: Path, damage: str) -> None:
    pytest.importorskip("zarr")
    path = tmp_path / "map.zarr"
    write(path)
    chunk = path / "c" / "3" / "0" / "0" / "0"
    if damage == "lost":
        chunk.unlink()
    elif damage == "garbage":
        chunk.write_bytes(b"no chunk")
    else:
        (path / "zarr.json").write_text("{")
    with pytest.raises(MovieError, match=r"map\.zarr: not readable"):
        read_count_map(path)


def test_zarr_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingExtraError, match=r"hdsmlm\[io\]"):
        open_count_map_writer(tmp_path / "map.zarr", 6, 9, 11)
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_map(tmp_path: Path) -> None:
    block = np.full((2, 4, 128, 128), 0.25, np.float32)
    process = psutil.Process()
    with open_count_map_writer(tmp_path / "map.tif", 200, 128, 128) as writer:
        for _ in range(20):
            writer.append(block)
        before = process.memory_info().rss
        for _ in range(80):
            writer.append(block)
        grown = process.memory_info().rss - before
    assert grown < 12 * 2**20  # the maps appended meanwhile are 42 MB
