"""``hdsmlm convert``: kinds, pixel size, provenance, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from hdsmlm.cli import main
from hdsmlm.errors import OutputError
from hdsmlm.io.tables import read_table, read_table_info
from hdsmlm.pipelines.convert import Conversion, convert_table
from hdsmlm.records.provenance import file_sha256

CSV = "frame,x [nm],y [nm],intensity [photon]\n1,150,250,900\n5,20,30,800\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text(CSV)
    return path


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["hdsmlm", "convert", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main.run()
    return (int(stop.value.code or 0), *capsys.readouterr())


def test_to_the_native_table_and_on(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    native, last = source.with_name("a.hdf5"), source.with_name("b.parquet")
    code, _, err = call(monkeypatch, capsys, source, native)
    assert code == 2
    assert "--pixel-size-nm" in err
    assert not native.exists()
    code, out, _ = call(monkeypatch, capsys, source, native, "--pixel-size", 100)
    assert code == 0
    assert "2 rows with frame, x_nm, y_nm, photons" in " ".join(out.split())
    assert call(monkeypatch, capsys, native, last)[0] == 0  # it knows its pixel size by now
    table, info = read_table(last), read_table_info(last)
    np.testing.assert_allclose(table["x_nm"], [150, 20], atol=1e-9)
    assert table["frame"].tolist() == [0, 4]
    assert (info.pixel_size_nm, info.n_frames) == (100, 5)
    assert info.provenance is not None
    assert info.provenance.stage == "convert"
    assert info.provenance.parents == {"a.hdf5": file_sha256(native)}
    before = info.provenance.config["made_by"]
    assert before["parents"] == {"in.csv": file_sha256(source)}


def test_kinds_may_be_named(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = source.with_name("out.dat")
    arguments = (source, target, "--from", "thunderstorm", "--to", "parquet", "--first-frame", 0)
    assert call(monkeypatch, capsys, *arguments)[0] == 0
    assert read_table(target)["frame"].tolist() == [1, 5]
    code, _, err = call(monkeypatch, capsys, source, target, "--overwrite", "--to", "smap")
    assert code == 2
    assert "read, not written" in err


def test_nothing_is_replaced_unasked(source: Path) -> None:
    target = source.with_name("out.csv")
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists; give another name, or add --overwrite"):
        convert_table(Conversion(source, target))
    assert target.read_text() == "mine"
    assert convert_table(Conversion(source, target, overwrite=True)).n_rows == 2
    with pytest.raises(OutputError, match="is the table that is read"):
        convert_table(Conversion(source, source, overwrite=True))
    assert source.read_text() == CSV
