"""The commands on tables: files, messages, exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hdsmlm.cli import main
from hdsmlm.io.tables import read_table, write_table
from hdsmlm.records.emitters import Emitters


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    blink = np.repeat(np.arange(1500), 2)
    centre = np.column_stack([rng.uniform(0, 3000, 1500), rng.choice([500.0, 900.0], 1500)])
    position = centre[blink] + rng.normal(0, 8, (3000, 2))
    emitters = Emitters(
        {
            "frame": np.repeat(rng.integers(0, 500, 1500), 2) + np.tile([0, 1], 1500),
            "x_nm": position[:, 0],
            "y_nm": position[:, 1],
            "photons": rng.exponential(800, 3000),
            "uncertainty_x_nm": np.full(3000, 8.0),
            "uncertainty_y_nm": np.full(3000, 8.0),
            "flags": rng.choice([0, 4], 3000),
        }
    )
    path = tmp_path / "table.csv"
    write_table(emitters, path)
    return path


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["hdsmlm", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main.run()
    return (int(stop.value.code or 0), *capsys.readouterr())


def test_every_command_writes_its_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], table: Path
) -> None:
    folder = table.parent

    def run(*arguments: object) -> str:
        code, out, err = call(monkeypatch, capsys, *arguments)
        assert code == 0, err
        return out

    rows = read_table(table)
    out = run("filter", table, "flags == 0 and photons > 300", "--out", folder / "kept.csv")
    kept = read_table(folder / "kept.csv")
    assert (kept["photons"] > 300).all()
    assert f"{len(kept)} of 3000 rows kept" in out

    run("link", table, "--out", folder / "blinks.csv", "--localizations", folder / "all.csv")
    blinks = read_table(folder / "blinks.csv")
    assert 1300 < len(blinks) < 1700
    assert blinks["photons"].sum() == pytest.approx(rows["photons"].sum(), rel=1e-6)
    assert len(np.unique(read_table(folder / "all.csv")["blink_id"])) == len(blinks)
    out = run("link", folder / "all.csv", "--out", folder / "same.csv", "--max-dark-frames", 0)
    assert "those of the table" in out
    assert len(read_table(folder / "same.csv")) == len(blinks)

    run("drift", table, "--out", folder / "still.csv", "--max-drift-nm", 100)
    shift = read_table(table)["x_nm"] - read_table(folder / "still.csv")["x_nm"]
    assert np.abs(shift).max() < 60
    assert (folder / "still.drift.png").exists()
    drift = folder / "still.drift.csv"
    run("drift", table, "--out", folder / "applied.csv", "--apply", drift)
    again = read_table(folder / "applied.csv")["x_nm"]
    assert np.allclose(again, read_table(folder / "still.csv")["x_nm"], atol=2e-4)

    out = run("frc", folder / "blinks.csv", "--block-frames", 20, "--out", folder / "frc.json")
    numbers = json.loads((folder / "frc.json").read_text())
    assert f"{numbers['resolution_nm']:.1f} ±" in out
    assert numbers["provenance"]["stage"] == "frc"

    out = run("nena", table, "--out", folder / "nena.png", "--out", folder / "nena.csv")
    assert float(out.split()[2]) == pytest.approx(8.0, rel=0.1)
    assert (folder / "nena.png").stat().st_size > 1000

    files = [folder / "a.png", folder / "a.tif"]
    options = ("--region-nm", "0:3000,300:1100", "--colour-by", "frame")
    out = run("render", table, "--out", files[0], "--out", files[1], *options)
    assert "300 x 80 pixels of 10 nm" in out
    assert all(path.exists() for path in files)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["filter", "TABLE", "fotons > 3", "--out", "x.csv"], "did you mean 'photons'?"),
        (["filter", "TABLE", "photons > 1e9", "--out", "x.csv"], "none of the 3000 rows"),
        (["filter", "TABLE", "photons > 3", "--out", "TABLE"], "is the table that is read"),
        (["filter", "none.csv", "photons > 3", "--out", "x.csv"], "no such table"),
        (["link", "TABLE", "--out", "x.csv", "--radius-nm", "-3"], "radius_nm"),
        (["drift", "TABLE", "--out", "x.csv", "--segments", "60"], "too few"),
        (["drift", "TABLE", "--out", "x.csv", "--method", "magic"], "method"),
        (["drift", "TABLE", "--out", "x.csv", "--apply", "TABLE"], "a drift was wanted"),
        (["frc", "TABLE", "--out", "x.jpg"], ".png or .csv or .json"),
        (["nena", "TABLE", "--max-distance-nm", "0.01"], "at least 200"),
        (["render", "TABLE", "--out", "x.png", "--region-nm", "3"], "x0:x1,y0:y1"),
        (["render", "TABLE", "--out", "x.png", "--colour-by", "z_nm"], "no column 'z_nm'"),
        (["render", "TABLE", "--out", "old.png"], "--overwrite"),
    ],
)
def test_bad_requests_end_with_a_message_and_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    table: Path,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(table.parent)
    Path("old.png").write_bytes(b"")
    before = sorted(path.name for path in table.parent.iterdir())
    code, _, err = call(
        monkeypatch, capsys, *(str(table) if word == "TABLE" else word for word in arguments)
    )
    assert code == 2
    assert words in err
    assert sorted(path.name for path in table.parent.iterdir()) == before
