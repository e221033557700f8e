"""Every movie format passes the same tests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from movie_files import MOVIES, random_frames, spe, tiff_pages, tiff_stack

from hdsmlm.errors import MovieError
from hdsmlm.io.movies import ArrayMovie, open_movie
from hdsmlm.records.movie import MovieReader

FRAMES = random_frames()


@pytest.fixture(params=MOVIES, ids=lambda name: name.replace(" ", "-"))
def movie_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return MOVIES[request.param](tmp_path, FRAMES)


def test_pixels_and_shape_are_exact(movie_path: Path) -> None:
    with open_movie(movie_path) as movie:
        assert isinstance(movie, MovieReader)
        info = movie.info
        assert (info.n_frames, info.height, info.width) == FRAMES.shape
        assert info.dtype == "uint16"
        assert info.paths
        assert all(path.is_file() for path in info.paths)
        frames = movie.read(0, info.n_frames)
        assert frames.dtype == np.uint16
        assert frames.dtype.isnative
        np.testing.assert_array_equal(frames, FRAMES)


def test_any_stretch_can_be_read_in_any_order(movie_path: Path) -> None:
    with open_movie(str(movie_path)) as movie:
        for start, stop in ((5, 7), (0, 1), (3, 6), (6, 7), (2, 2), (0, 7)):
            np.testing.assert_array_equal(movie.read(start, stop), FRAMES[start:stop])


def test_threads_share_a_reader(movie_path: Path) -> None:
    with open_movie(movie_path) as movie, ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(movie.read, k % 6, k % 6 + 1) for k in range(24)]
        for k, job in enumerate(jobs):
            np.testing.assert_array_equal(job.result(), FRAMES[k % 6 : k % 6 + 1])


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 8), (5, 3)])
def test_a_stretch_outside_the_movie_is_refused(movie_path: Path, start: int, stop: int) -> None:
    with open_movie(movie_path) as movie, pytest.raises(MovieError, match="asked for"):
        movie.read(start, stop)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint32", "int32", "float32"])
def test_pixel_types_are_kept(tmp_path: Path, dtype: str) -> None:
    frames = (random_frames().astype(np.int64) % 250 - 120 * (dtype[0] in "if")).astype(dtype)
    paths = [tiff_pages(tmp_path / "a.tif", frames), tiff_stack(tmp_path / "b.tif", frames)]
    if dtype != "int8":
        paths.append(spe(tmp_path / "a.spe", frames))
    for path in paths:
        with open_movie(path) as movie:
            assert movie.info.dtype == dtype
            np.testing.assert_array_equal(movie.read(0, 7), frames)


def test_an_array_is_a_movie() -> None:
    movie = ArrayMovie(FRAMES.astype(">u2"), pixel_size_nm=100.0)
    assert isinstance(movie, MovieReader)
    assert movie.info.pixel_size_nm == 100.0
    assert movie.read(2, 4).dtype.isnative
    np.testing.assert_array_equal(movie.read(2, 4), FRAMES[2:4])
    assert ArrayMovie(FRAMES[0]).info.n_frames == 1


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_memory_stays_bounded_over_a_long_movie(tmp_path: Path, compression: str | None) -> None:
    frame = (np.arange(128 * 128) % 97).astype("uint16").reshape(128, 128)
    path = tiff_pages(tmp_path / "long.tif", [frame] * 2000, compression=compression)
    process = psutil.Process()
    with open_movie(path) as movie:
        movie.read(0, 50)
        before = process.memory_info().rss
        total = sum(int(movie.read(k, k + 50).sum(dtype=np.int64)) for k in range(0, 2000, 50))
        grown = process.memory_info().rss - before
    assert total == 2000 * int(frame.sum(dtype=np.int64))
    assert grown < 16 * 2**20  # the pixels alone are 66 MB
