"""Cameras' own formats: a file that the library itself reads, and fakes of the libraries."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from movie_files import random_frames

from hdsmlm.errors import MissingExtraError, MovieError, TruncatedMovieError
from hdsmlm.io.movies import open_movie
from hdsmlm.io.movies.vendors import DCIMG_MAGIC, ND2_MAGIC, SIF_MAGIC

FRAMES = random_frames()
HEADS = {"nd2": ND2_MAGIC[0], "dcimg": DCIMG_MAGIC, "sif_parser": SIF_MAGIC}


@pytest.fixture(params=HEADS)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def movie_file(folder: Path, library: str) -> Path:
    """A file that only its first bytes tell apart: the extension says nothing."""
    path = folder / "movie.bin"
    path.write_bytes(HEADS[library] + bytes(100))
    return path


class FakeNd2:
    """The part of ``nd2.ND2File`` that the reader uses."""

    sizes: dict[str, int]
    dtype = FRAMES.dtype
    closed = False

    def __init__(self, path: Path) -> None:
        assert path.is_file()

    def read_frame(self, index: int) -> np.ndarray:
        return FRAMES[index]

    def voxel_size(self) -> SimpleNamespace:
        return SimpleNamespace(x=0.16, y=0.16, z=1.0)

    def close(self) -> None:
        type(self).closed = True


def fake_nd2(monkeypatch: pytest.MonkeyPatch, **sizes: int) -> type[FakeNd2]:
    kind = type("Nd2", (FakeNd2,), {"sizes": {**sizes, "Y": 12, "X": 10}})
    monkeypatch.setitem(sys.modules, "nd2", SimpleNamespace(ND2File=kind))
    return kind


def test_nd2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = fake_nd2(monkeypatch, T=7)
    with open_movie(movie_file(tmp_path, "nd2")) as movie:
        assert movie.info.pixel_size_nm == pytest.approx(160)
        np.testing.assert_array_equal(movie.read(0, 7), FRAMES)
        np.testing.assert_array_equal(movie.read(4, 6), FRAMES[4:6])
        assert movie.read(3, 3).shape == (0, 12, 10)
    assert kind.closed


@pytest.mark.parametrize(
    ("sizes", "word"),
    [
        ({"T": 7, "C": 2}, "axis C"),
        ({"T": 7, "P": 3}, "axis P"),
        ({"T": 7, "S": 3}, "axis S"),
        ({"T": 7, "Z": 2}, "axis Z"),
        ({"T": 0}, "empty"),
    ],
)
def test_nd2_with_more_axes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int], word: str
) -> None:
    kind = fake_nd2(monkeypatch, **sizes)
    with pytest.raises(MovieError, match=word):
        open_movie(movie_file(tmp_path, "nd2"))
    assert kind.closed


def test_nd2_slices_are_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nd2(monkeypatch, Z=7)
    assert open_movie(movie_file(tmp_path, "nd2")).info.n_frames == 7


def test_dcimg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class File:
        shape, dtype = FRAMES.shape, np.uint16

        def __init__(self, path: str) -> None:
            self.path = path

        def __getitem__(self, item: slice) -> np.ndarray:
            return FRAMES[item]

        def close(self) -> None:
            self.path = ""

    monkeypatch.setitem(sys.modules, "dcimg", SimpleNamespace(DCIMGFile=File))
    with open_movie(movie_file(tmp_path, "dcimg")) as movie:
        np.testing.assert_array_equal(movie.read(0, 7), FRAMES)
        np.testing.assert_array_equal(movie.read(2, 5), FRAMES[2:5])


def write_sif(path: Path, frames: np.ndarray) -> Path:
    """A minimal Andor SIF (version 65547) as ``sif_parser`` understands it."""
    count, height, width = frames.shape
    head = b"Andor Technology Multi-Channel File\n65538 1\n"
    head += b"65547 0 0 1 1540956289 -70.0 " + b" " * 10 + b"0 0.03 0.03 0.03 1 \0 "
    head += b"0.03 1e-08 0 1 300.0 0 0 0.0 " + b"0 " * 16 + b"0.0 rest\n"
    head += b"DU897\n512 512 4\nfile \n65538 4\ntext\n65538 " + bytes(8) + b"0.0 0.0\n"
    head += b"65539 calibration\n0 1 0 0\n0 1 0 0\n0\n422\n13\n6.5\n"
    head += b"5\nPixel6\nCounts5\nPixel"
    pixels = width * height
    head += b"65541 1 %d %d 1 %d 1 %d %d\n" % (height, width, count, count * pixels, pixels)
    head += b"65538 1 %d %d 1 1 1 0\n" % (height, width) + b"0\n" * count + b"0\n"
    path.write_bytes(head + frames.astype("<f4").tobytes())
    return path


def test_sif_with_its_library(tmp_path: Path) -> None:
    pytest.importorskip("sif_parser")
    path = write_sif(tmp_path / "a.sif", FRAMES)
    with open_movie(path) as movie:
        assert movie.info.dtype == "float32"
        np.testing.assert_array_equal(movie.read(0, 7), FRAMES.astype("float32"))
        np.testing.assert_array_equal(movie.read(5, 7), FRAMES[5:7])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TruncatedMovieError, match="shorter than its header"):
        open_movie(path)


def test_a_missing_library_names_the_extra(
    tmp_path: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"{library} .*hdsmlm\[io\]"):
        open_movie(movie_file(tmp_path, library))


def test_a_damaged_file_is_one_clear_message(tmp_path: Path, library: str) -> None:
    pytest.importorskip(library)
    with pytest.raises(MovieError, match=r"movie\.bin.*(cannot be read|shorter|empty)"):
        open_movie(movie_file(tmp_path, library))


def test_a_frame_that_the_library_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = fake_nd2(monkeypatch, T=9)
    with open_movie(movie_file(tmp_path, "nd2")) as movie:
        assert movie.read(0, 7).shape == (7, 12, 10)
        with pytest.raises(MovieError, match="frames 6 to 9 cannot be read"):
            movie.read(6, 9)
    assert kind.closed


def test_the_names_that_the_readers_use_exist() -> None:
    """The fakes above stand for these."""
    nd2 = pytest.importorskip("nd2")
    dcimg = pytest.importorskip("dcimg")
    for name in ("sizes", "dtype", "read_frame", "voxel_size", "close"):
        assert hasattr(nd2.ND2File, name)
    for name in ("shape", "dtype", "__getitem__", "close"):
        assert hasattr(dcimg.DCIMGFile, name)
