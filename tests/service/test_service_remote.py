"""``--server`` on the command line, against the real program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from hdsmlm.errors import ConfigError, OutputError
from hdsmlm.io.tables import read_table

CAMERA = {
    "camera": {"kind": "ideal"},
    "psf": {"kind": "gaussian", "sigma_px": 1.3},
    "pixel_size_nm": 100.0,
}


def _run(*words: object) -> str:
    from hdsmlm.cli.main import app

    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_localize_and_predict_on_a_server(program: Any, movie_file: Path, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{program.site.port}"
    camera = tmp_path / "camera.yaml"
    camera.write_text(yaml.safe_dump(CAMERA))
    out, blinks = tmp_path / "cell.csv", tmp_path / "blinks.csv"
    said = _run(
        "localize", movie_file, "--out", out, "--blinks", blinks, "--camera", camera,
        "--frames", "0:16", "--server", address,
    )  # fmt: skip
    table = read_table(out)
    assert f"{len(table)} in 16 frames" in said
    assert table["frame"].max() < 16
    assert 0 < len(read_table(blinks)) <= len(table)
    with pytest.raises(OutputError, match="exists"):
        _run("localize", movie_file, "--out", out, "--server", address)
    folder = tmp_path / "predicted"
    _run(
        "predict", movie_file, "--out", folder, "--pixel-size-nm", 100, "--overlays", 1,
        "--frames", ":16", "--count-map", "none", "--server", address,
    )  # fmt: skip
    assert {"emitters.csv", "summary.json", "summary.txt"} <= {p.name for p in folder.iterdir()}
    assert len(list((folder / "overlays").iterdir())) == 1


def test_what_only_this_machine_has_is_refused(movie_file: Path, tmp_path: Path) -> None:
    address = "http://127.0.0.1:9"
    for words, message in (
        (["--threads", "2"], "--threads does not go"),
        (["--model", str(tmp_path)], "folder of this machine"),
    ):
        with pytest.raises(ConfigError, match=message):
            _run("localize", movie_file, "--out", tmp_path / "a.csv", "--server", address, *words)
    camera = tmp_path / "maps.yaml"
    for name in ("gain", "offset", "variance"):
        (tmp_path / f"{name}.npy").touch()
    maps = {f"{name}_map": f"{name}.npy" for name in ("gain", "offset", "variance")}
    camera.write_text(yaml.safe_dump({"camera": {"kind": "scmos", **maps}}))
    with pytest.raises(ConfigError, match="file of this machine"):
        _run(
            "localize", movie_file, "--out", tmp_path / "a.csv", "--server", address,
            "--camera", camera,
        )  # fmt: skip
    assert not (tmp_path / "a.csv").exists()
