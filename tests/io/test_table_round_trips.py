"""Kinds of tables that are written: nothing is lost, and pieces equal the whole."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
import yaml

from hdsmlm.errors import OutputError, TableError
from hdsmlm.io.tables import (
    FORMATS,
    TableInfo,
    open_table_writer,
    parquet,
    read_table,
    read_table_info,
    write_table,
)
from hdsmlm.io.tables.port import WritableFormat
from hdsmlm.records.columns import COLUMNS
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.provenance import Provenance

WRITABLE = [form.name for form in FORMATS if isinstance(form, WritableFormat)]
SUFFIX = {form.name: form.suffixes[0] for form in FORMATS}
PIXEL_NM = 117.3
INFO = TableInfo(PIXEL_NM, 90, 24, 32, Provenance("fit", {"seed": 3}, {"movie.tif": "ab12"}))


def whole_table(n: int = 200) -> Emitters:
    """Every column, with numbers that are no short decimals, and a frame that has no row."""
    rng = np.random.default_rng(5)
    columns = {}
    for name, column in COLUMNS.items():
        if column.dtype.startswith("int"):
            columns[name] = rng.integers(0, 2**31 - 2, n)
        else:
            columns[name] = 3000 * rng.random(n)
    columns["frame"] = np.sort(rng.integers(0, 90, n))
    columns["z_nm"] -= 1500
    columns["snr"][1] = np.nan
    return Emitters(columns)


@pytest.mark.parametrize("name", WRITABLE)
def test_nothing_is_lost(tmp_path: Path, name: str) -> None:
    table = whole_table()
    path = tmp_path / f"table{SUFFIX[name]}"
    write_table(table, path, name, INFO)
    back = read_table(path)
    assert back.names == table.names
    tolerance = 1e-4 / 2 + 1e-9 if name == "thunderstorm" else 1e-9
    for column in table.names:
        if COLUMNS[column].unit == "nm" or COLUMNS[column].dtype.startswith("int"):
            np.testing.assert_allclose(back[column], table[column], rtol=0, atol=tolerance)
        else:
            np.testing.assert_allclose(back[column], table[column], rtol=1e-8)
    assert read_table_info(path) == INFO


@pytest.mark.parametrize("name", WRITABLE)
def test_a_few_columns_and_no_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"table{SUFFIX[name]}"
    for n in (0, 3):
        table = Emitters({"frame": [2] * n, "x_nm": [50.0] * n, "y_nm": [0.0] * n})
        write_table(table, path, name, TableInfo(100.0))
        back = read_table(path, first_frame=None if n else 0)
        assert back.names == table.names
        assert back["x_nm"].tolist() == [50.0] * n
        assert back["frame"].tolist() == [2] * n


@pytest.mark.parametrize("name", WRITABLE)
def test_pieces_equal_the_whole(tmp_path: Path, name: str) -> None:
    table = whole_table()
    suffix = SUFFIX[name]
    write_table(table, tmp_path / f"whole{suffix}", name, INFO)
    with open_table_writer(tmp_path / f"pieces{suffix}", table.names, name, INFO) as writer:
        for begin, end in ((0, 0), (0, 71), (71, 72), (72, 200)):
            writer.append(table.select(np.arange(begin, end)))
    whole, pieces = (read_table(tmp_path / f"{part}{suffix}") for part in ("whole", "pieces"))
    for column in whole.names:
        np.testing.assert_array_equal(whole[column], pieces[column])
    assert read_table_info(tmp_path / f"pieces{suffix}") == INFO


@pytest.mark.parametrize("name", WRITABLE)
def test_a_run_that_stops_leaves_the_old_table(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"table{SUFFIX[name]}"
    write_table(whole_table(5), path, name, INFO)
    before = sorted(tmp_path.iterdir())

    def stop_half_way() -> None:
        with open_table_writer(path, ("frame", "x_nm", "y_nm"), name, INFO) as writer:
            writer.append(Emitters({"frame": [0], "x_nm": [1], "y_nm": [1]}))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert sorted(tmp_path.iterdir()) == before
    assert len(read_table(path)) == 5


def test_pieces_that_memory_does_not_hold_become_one_parquet_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "PIECE_ROWS", 30)
    table, path = whole_table(200), tmp_path / "a.parquet"
    orphan = tmp_path / f".a.parquet.pieces.{_free_process_number()}.part"
    orphan.mkdir()
    with open_table_writer(path, table.names, info=INFO) as writer:
        for begin in range(0, 200, 20):
            writer.append(table.select(np.arange(begin, begin + 20)))
        (folder,) = tmp_path.glob(".a.parquet.pieces.*")
        assert len(list(folder.iterdir())) == 5
    found = read_table(path)
    for column in table.names:
        np.testing.assert_array_equal(found[column], table[column])
    assert read_table_info(path) == INFO
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("piece_rows", [50, 10**6])
def test_a_disk_that_takes_no_more_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_rows: int
) -> None:
    resource = pytest.importorskip("resource", reason="limits the size of files")
    monkeypatch.setattr(parquet, "PIECE_ROWS", piece_rows)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
    try:
        with pytest.raises(OutputError, match=r"a\.parquet.*(too large|free)"):
            write_table(whole_table(200), tmp_path / "a.parquet", info=INFO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def _free_process_number() -> int:
    import psutil

    return next(number for number in range(2**22 - 1, 0, -1) if not psutil.pid_exists(number))


def test_the_native_file_is_one_that_picasso_knows(tmp_path: Path) -> None:
    """Fields, order, half pixel and YAML as its documentation has them."""
    path = tmp_path / "locs.hdf5"
    table = Emitters(
        {
            "frame": [0, 8],
            "x_nm": [50.0, 199.0],
            "y_nm": [150.0, 0.0],
            "z_nm": [-20.0, 30.0],
            "photons": [900, 800],
            "background": [10, 11],
            "sigma_nm": [130, 131],
            "uncertainty_x_nm": [5, 6],
            "uncertainty_y_nm": [7, 8],
            "uncertainty_z_nm": [20, 30],
            "blink_id": [4, 5],
        }
    )
    write_table(table, path, info=TableInfo(100.0, provenance=INFO.provenance))
    with h5py.File(path) as file:
        locs = file["locs"][:]
        embedded = json.loads(file["metadata"][()])
    names = "frame x y photons sx sy bg lpx lpy z blink_id lpz"
    assert set(locs.dtype.names) == set(names.split())
    assert list(locs.dtype.names[:10]) == names.split()[:10]
    assert locs["x"].tolist() == [0.0, 1.49]  # the middle of the first pixel is 0
    assert locs["y"].tolist() == [1.0, -0.5]
    assert locs["frame"].tolist() == [0, 8]
    assert locs["lpx"].tolist() == [0.05, 0.06]
    assert locs["z"].tolist() == [-20.0, 30.0]  # nm, unlike x and y
    with (tmp_path / "locs.yaml").open() as stream:
        documents = list(yaml.safe_load_all(stream))
    assert documents == embedded
    movie, step = documents
    assert (movie["Width"], movie["Height"], movie["Frames"], movie["Pixelsize"]) == (2, 2, 9, 100)
    assert set(movie["Estimated from the rows"]) == {"Width", "Height", "Frames"}
    assert step["Provenance"]["stage"] == "fit"
    assert step["Provenance"]["parents"] == {"movie.tif": "ab12"}


def test_native_metadata_inside_the_file_are_enough(tmp_path: Path) -> None:
    write_table(whole_table(), tmp_path / "locs.hdf5", info=INFO)
    (tmp_path / "locs.yaml").unlink()
    assert read_table_info(tmp_path / "locs.hdf5") == INFO


def test_the_yaml_file_of_a_movie_is_not_replaced(tmp_path: Path) -> None:
    movie = tmp_path / "testdata.yaml"  # Picasso keeps the shape of testdata.raw here
    movie.write_text("Width: 32\n")
    with pytest.raises(OutputError, match=r"testdata_locs\.hdf5"):
        write_table(whole_table(), tmp_path / "testdata.hdf5", info=INFO)
    assert movie.read_text() == "Width: 32\n"
    assert list(tmp_path.iterdir()) == [movie]


def test_units_stand_in_the_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(whole_table(), path, info=INFO)
    assert pl.read_parquet(path).columns == list(COLUMNS)
    about = json.loads(pl.read_parquet_metadata(path)["hdsmlm"])
    assert {name: entry["unit"] for name, entry in about["columns"].items()} == {
        name: column.unit for name, column in COLUMNS.items()
    }


def test_parquet_of_others_needs_headers_like_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"frame": [1, 2], "x [px]": [0.5, None], "y [px]": [1.0, 2.0]}).write_parquet(path)
    with pytest.raises(TableError, match="--pixel-size-nm"):
        read_table(path)
    with pytest.raises(TableError, match=r"'x \[px\]' has 1 rows without a finite number"):
        read_table(path, pixel_size_nm=100)
    pl.DataFrame({"frame": [1], "x [px]": [0.5], "y": [7.0], "who": ["a"]}).write_parquet(path)
    table = read_table(path, pixel_size_nm=100)
    assert (table["frame"][0], table["x_nm"][0], table["y_nm"][0]) == (0, 50.0, 7.0)


def test_thunderstorm_reads_one_uncertainty(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    table = Emitters(
        {
            "frame": [0],
            "x_nm": [1],
            "y_nm": [2],
            "uncertainty_x_nm": [3],
            "uncertainty_y_nm": [4],
            "uncertainty_photons": [5],
        }
    )
    write_table(table, path)
    headers, row = path.read_text().splitlines()
    values = dict(zip(headers.split(","), map(float, row.split(",")), strict=True))
    assert values["uncertainty [nm]"] == pytest.approx(np.sqrt(12.5), abs=1e-4)
    assert read_table(path)["uncertainty_y_nm"].tolist() == [4]
    assert read_table(path)["uncertainty_photons"].tolist() == [5]


@pytest.mark.parametrize("header", ["uncertainty [nm]", "uncertainty_xy [nm]", "uncertainty"])
def test_one_uncertainty_serves_x_and_y(tmp_path: Path, header: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'"frame","x [nm]","y [nm]","{header}","uncertainty_z [nm]"\n1,2,3,9,11\n')
    table = read_table(path)
    assert [table[f"uncertainty_{axis}_nm"][0] for axis in "xyz"] == [9, 9, 11]


def test_an_old_sidecar_does_not_stay_beside_new_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_table(whole_table(3), path, info=INFO)
    write_table(whole_table(3), path)
    assert read_table_info(path) == TableInfo()


@pytest.mark.parametrize(
    ("name", "info", "words"),
    [
        ("a.hdf5", TableInfo(), ("positions in pixels", "--pixel-size-nm")),
        ("a.xyz", INFO, ("'.xyz'", "written are", "picasso")),
        ("a", INFO, ("''", "written are")),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, name: str, info: TableInfo, words: tuple[str, ...]
) -> None:
    with pytest.raises(TableError) as caught:
        write_table(whole_table(2), tmp_path / name, info=info)
    for word in words:
        assert word in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_kinds_that_are_only_read(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="'smap' are read, not written"):
        write_table(whole_table(2), tmp_path / "a.mat", "smap")
    with pytest.raises(TableError, match="'nonsense' are not known; known: picasso"):
        write_table(whole_table(2), tmp_path / "a.csv", "nonsense")


@pytest.mark.parametrize("size", [0.0, -100.0, float("nan"), float("inf")])
def test_a_pixel_size_is_a_length(tmp_path: Path, size: float) -> None:
    with pytest.raises(TableError, match="positive number"):
        TableInfo(size)
    (tmp_path / "a.csv").write_text("frame,x,y\n1,2,3\n")
    with pytest.raises(TableError, match="positive number"):
        read_table(tmp_path / "a.csv", pixel_size_nm=size)


@pytest.mark.parametrize("name", WRITABLE)
def test_positions_that_are_not_finite_are_not_written(tmp_path: Path, name: str) -> None:
    bad = Emitters({"frame": [0], "x_nm": [np.nan], "y_nm": [0]})
    with pytest.raises(TableError, match="x_nm"):
        write_table(bad, tmp_path / f"a{SUFFIX[name]}", name, INFO)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WRITABLE)
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_table(whole_table(2), tmp_path / "file" / f"a{SUFFIX[name]}", name, INFO)


def test_names_of_kinds_are_unique_and_writable_suffixes_too() -> None:
    names = [form.name for form in FORMATS]
    assert len(set(names)) == len(names)
    suffixes = [
        suffix
        for name in WRITABLE
        for form in FORMATS
        if form.name == name
        for suffix in form.suffixes
    ]
    assert len(set(suffixes)) == len(suffixes)
    assert WRITABLE == ["picasso", "parquet", "thunderstorm"]
