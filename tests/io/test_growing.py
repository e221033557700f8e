"""A movie that is being written is read as far as it goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from hdsmlm.errors import MovieError
from hdsmlm.io.movies.growing import GrowingMovie

FRAMES = np.arange(12 * 6 * 5, dtype=np.uint16).reshape(12, 6, 5)


def _write(path: Path, frames: np.ndarray) -> None:
    tifffile.imwrite(path, frames, photometric="minisblack")


def test_a_file_grows(tmp_path: Path) -> None:
    path = tmp_path / "movie.tif"
    movie = GrowingMovie(path)
    assert movie.look() == 0
    path.write_bytes(b"")
    assert movie.look() == 0
    with tifffile.TiffWriter(path) as writer:
        for count, frame in enumerate(FRAMES, start=1):
            writer.write(frame, photometric="minisblack", contiguous=False)
            writer.filehandle.flush()
            assert count - 1 <= movie.look() <= count
            if movie.n_frames:
                assert np.array_equal(movie.read(0, movie.n_frames), FRAMES[: movie.n_frames])
    assert movie.look() == len(FRAMES)
    assert np.array_equal(movie.read(3, 9), FRAMES[3:9])
    movie.close()


def test_a_file_cut_anywhere_gives_its_whole_frames(tmp_path: Path) -> None:
    whole = tmp_path / "whole.tif"
    with tifffile.TiffWriter(whole) as writer:
        for frame in FRAMES:
            writer.write(frame, photometric="minisblack", contiguous=False, metadata=None)
    data = whole.read_bytes()
    path = tmp_path / "movie.tif"
    movie = GrowingMovie(path)
    counts = []
    for size in range(8, len(data) + 1, 97):
        path.write_bytes(data[:size])
        counts.append(movie.look())
        if counts[-1]:
            assert np.array_equal(movie.read(0, counts[-1]), FRAMES[: counts[-1]])
    assert counts == sorted(counts)
    assert counts[-1] >= len(FRAMES) - 1
    movie.close()


def test_a_folder_fills_in_natural_order(tmp_path: Path) -> None:
    movie = GrowingMovie(tmp_path)
    assert movie.look() == 0
    _write(tmp_path / "part2.tif", FRAMES[:4])
    assert movie.look() == 4
    _write(tmp_path / "part10.tif", FRAMES[4:8])
    (tmp_path / "part11.tif").write_bytes(b"II*\0")  # its writer has only begun
    _write(tmp_path / "part12.tif", FRAMES[8:])
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "part13.tif").symlink_to(tmp_path / "part12.tif")
    assert movie.look() == 8
    (tmp_path / "part11.tif").unlink()
    assert movie.look() == 12
    assert np.array_equal(movie.read(2, 11), FRAMES[2:11])
    with pytest.raises(MovieError, match="not there yet"):
        movie.read(8, 13)
    movie.close()


def test_frames_must_be_alike_and_stay(tmp_path: Path) -> None:
    movie = GrowingMovie(tmp_path)
    _write(tmp_path / "a1.tif", FRAMES[:2])
    _write(tmp_path / "a2.tif", FRAMES[2:4])
    assert movie.look() == 4
    _write(tmp_path / "a1.tif", FRAMES[:3])
    with pytest.raises(MovieError, match="changed after frames behind it"):
        movie.look()
    other = GrowingMovie(tmp_path)
    _write(tmp_path / "a3.tif", FRAMES[:, :4])
    with pytest.raises(MovieError, match="must be alike"):
        other.look()
    movie.close()
    other.close()
