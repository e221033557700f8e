"""Bad input ends with one clear message and exit code 2, through the command line."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from hdsmlm.bundle import Bundle
from hdsmlm.cli import main
from hdsmlm.inference import chunk_store
from hdsmlm.pipelines import predict as pipeline


def frames(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(100, 300, shape).astype(np.uint16)


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, frames(8, 24, 24), photometric="minisblack")
    return path


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def is_refused(self, *words: str) -> None:
        messages = [line for line in self.err.splitlines() if line.startswith("error:")]
        assert (self.code, len(messages)) == (2, 1), self.err
        assert "Traceback" not in self.err
        for word in words:
            assert word in messages[0]


@pytest.fixture
def hdsmlm(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_bundle: Bundle,
    tmp_path: Path,
):
    def call(
        movie: Path | str,
        *options: str,
        model: Path | str = tiny_bundle.folder,
        pixel_size_nm: str | None = "100",
    ) -> Outcome:
        arguments = ["hdsmlm", "predict", str(movie), "--model", str(model), *options]
        if "--out" not in options:
            arguments += ["--out", str(tmp_path / "out")]
        if pixel_size_nm is not None:
            arguments += ["--pixel-size-nm", pixel_size_nm]
        monkeypatch.setattr(sys, "argv", [*arguments, "--overlays", "0"])
        try:
            main.run()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Outcome(code, *capsys.readouterr())

    return call


def test_a_good_movie_works(hdsmlm, movie: Path, tmp_path: Path) -> None:
    outcome = hdsmlm(movie, "--frames", "2:6", "--chunk", "3", "--count-map", "none")
    assert outcome.code == 0, outcome.err
    assert "4 frames of 24 x 24 pixels" in outcome.out
    assert (tmp_path / "out" / "emitters.csv").is_file()


def test_rgb(hdsmlm, tmp_path: Path) -> None:
    path = tmp_path / "rgb.tif"
    tifffile.imwrite(path, np.zeros((5, 16, 16, 3), np.uint8), photometric="rgb")
    hdsmlm(path).is_refused("rgb.tif")


def test_nan(hdsmlm, tmp_path: Path) -> None:
    values = frames(6, 16, 16).astype(np.float32)
    values[3, 2, 1] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", values, photometric="minisblack")
    hdsmlm(tmp_path / "nan.tif").is_refused("NaN")


def test_empty_movie(hdsmlm, tmp_path: Path) -> None:
    (tmp_path / "empty.tif").write_bytes(b"")
    hdsmlm(tmp_path / "empty.tif").is_refused("empty.tif")


def test_missing_movie(hdsmlm, tmp_path: Path) -> None:
    hdsmlm(tmp_path / "nowhere.tif").is_refused("nowhere.tif")


def test_truncated_movie_only_on_request(hdsmlm, movie: Path) -> None:
    whole = movie.read_bytes()
    movie.write_bytes(whole[: len(whole) * 3 // 4])
    hdsmlm(movie).is_refused("--allow-truncated")
    outcome = hdsmlm(movie, "--allow-truncated")
    assert outcome.code == 0, outcome.err
    assert "only these are used" in outcome.out


def test_fewer_frames_than_the_window(hdsmlm, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "short.tif", frames(2, 24, 24), photometric="minisblack")
    hdsmlm(tmp_path / "short.tif").is_refused("has 2 frames", "at least 3")


@pytest.mark.parametrize("shape", [(5, 3, 5), (5, 1, 40)])
def test_a_frame_below_the_networks_minimum_is_padded(
    hdsmlm, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    tifffile.imwrite(tmp_path / "small.tif", frames(*shape), photometric="minisblack")
    assert hdsmlm(tmp_path / "small.tif").code == 0
    written = tifffile.TiffFile(tmp_path / "out" / "count_map.tif")
    with written as file:
        assert (len(file.pages), file.pages[0].shape) == (20, shape[1:])


def test_unknown_model(hdsmlm, movie: Path) -> None:
    hdsmlm(movie, model="wofl").is_refused("no model 'wofl'")


def test_corrupt_model(hdsmlm, movie: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in tiny_bundle.folder.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    with (broken / "model.onnx").open("r+b") as stream:
        stream.seek(200)
        stream.write(b"damage")
    hdsmlm(movie, model=broken).is_refused("model.onnx is corrupt")


def test_an_unknown_pixel_size_is_asked_for(hdsmlm, movie: Path, tmp_path: Path) -> None:
    hdsmlm(movie, pixel_size_nm=None).is_refused(
        "movie does not say how wide its pixels are", "--pixel-size-nm"
    )
    assert not (tmp_path / "out").exists()


def test_an_impossible_pixel_size(hdsmlm, movie: Path) -> None:
    hdsmlm(movie, pixel_size_nm="0").is_refused("pixel_size_nm")


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--frames", "9", "first:last"),
        ("--frames", "5:3", "last_frame"),
        ("--frames", "0:999", "0:8"),
        ("--threshold", "2", "threshold"),
        ("--tile", "1", "tile_px"),
        ("--normalization-window", "3", "normalization_window"),
    ],
)
def test_impossible_options(hdsmlm, movie: Path, option: str, value: str, word: str) -> None:
    hdsmlm(movie, option, value).is_refused(word)


def test_bf16_where_there_is_none(hdsmlm, movie: Path) -> None:
    hdsmlm(movie, "--engine", "onnxruntime", "--precision", "bf16").is_refused("openvino")


def test_the_output_is_a_file(hdsmlm, movie: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    hdsmlm(movie, "--out", str(tmp_path / "taken")).is_refused("taken")


def test_unwritable_output(
    hdsmlm, movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    hdsmlm(movie).is_refused("not permitted")


def test_full_disk(hdsmlm, movie: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(chunk_store.np, "savez", full)
        hdsmlm(movie).is_refused("the disk is full")
    assert hdsmlm(movie).code == 0  # with space again, the same command works


def test_a_disk_that_cannot_hold_the_count_map_is_refused_before_work(
    hdsmlm, movie: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda _: Usage)
    hdsmlm(movie).is_refused("GB free", "--count-map none")


def test_ctrl_c_is_exit_130(hdsmlm, movie: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "decode", stop)
        outcome = hdsmlm(movie)
    assert outcome.code == 130
    assert "stopped after 0 of 8 frames" in outcome.err
    assert "same command again" in outcome.err
    assert hdsmlm(movie).code == 0
