"""Tables of other programs are read by content, in their units, from their origin."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from table_files import (
    FRAME,
    MAKERS,
    PHOTONS,
    PIXEL_NM,
    X_NM,
    Y_NM,
    make_decode,
    make_elyra,
    make_insight3,
    make_nanoimager,
    make_picasso,
    make_rapidstorm,
    make_smap,
    make_smap_csv,
    make_smlm,
    make_storm_analysis,
)

from hdsmlm.errors import TableError
from hdsmlm.io.tables import FORMATS, read_table, read_table_info
from hdsmlm.io.tables.registry import format_of


@pytest.mark.parametrize("case", MAKERS)
@pytest.mark.parametrize("misleading", [False, True])
def test_the_same_emitters_from_every_program(tmp_path: Path, case: str, misleading: bool) -> None:
    """The kind is known by content, so a wrong suffix does no harm."""
    name, kind, make, first_row = MAKERS[case]
    path = tmp_path / ("a.dat" if misleading else name)
    make(path)
    assert format_of(path).name == kind
    needed = PIXEL_NM if case == "smap csv" else None
    table = read_table(path, pixel_size_nm=needed)
    np.testing.assert_allclose(table["x_nm"], X_NM, atol=1e-3)
    np.testing.assert_allclose(table["y_nm"], Y_NM, atol=1e-3)
    assert table["frame"].tolist() == FRAME.tolist()
    assert np.floor(table["x_nm"][0] / PIXEL_NM) == 2
    assert np.floor(table["y_nm"][0] / PIXEL_NM) == 1
    if kind != "rapidstorm":  # camera counts are no photons
        np.testing.assert_allclose(table["photons"], PHOTONS)
    for column, value in first_row.items():
        assert table[column][0] == pytest.approx(value, rel=1e-5), column
    named = read_table(path, kind, needed)
    assert named.names == table.names


def test_every_kind_of_table_is_made_here() -> None:
    made = {kind for _, kind, _, _ in MAKERS.values()} | {"thunderstorm", "parquet"}
    assert made == {form.name for form in FORMATS}


def test_what_the_files_say_of_their_movie(tmp_path: Path) -> None:
    for make, name in ((make_picasso, "a.hdf5"), (make_storm_analysis, "b.hdf5")):
        make(tmp_path / name)
    first = read_table_info(tmp_path / "a.hdf5")
    assert (first.pixel_size_nm, first.n_frames, first.height, first.width) == (100, 5, 16, 32)
    second = read_table_info(tmp_path / "b.hdf5")
    assert (second.pixel_size_nm, second.n_frames, second.height, second.width) == (100, 5, 20, 40)
    make_smap(tmp_path / "c.mat")
    third = read_table_info(tmp_path / "c.mat")
    assert (third.pixel_size_nm, third.n_frames) == (100, 9)
    make_decode(tmp_path / "d.h5")
    assert read_table_info(tmp_path / "d.h5").pixel_size_nm == 100
    make_elyra(tmp_path / "e.txt")
    assert read_table_info(tmp_path / "e.txt").pixel_size_nm is None


def test_a_given_pixel_size_goes_before_that_of_the_file(tmp_path: Path) -> None:
    make_picasso(tmp_path / "a.hdf5")
    table = read_table(tmp_path / "a.hdf5", pixel_size_nm=200)
    np.testing.assert_allclose(table["x_nm"], 2 * X_NM, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.hdf5", lambda path: make_picasso(path, with_yaml=False)),
        ("b.hdf5", lambda path: make_storm_analysis(path, pixel_size=False)),
        ("c.bin", lambda path: make_insight3(path, settings=False)),
        ("d.csv", make_smap_csv),
        ("e.smlm", lambda path: make_smlm(path, unit="pixel")),
        ("f.txt", lambda path: make_rapidstorm(path, [("Position-0-0", "pixel")])),
        ("g.csv", lambda path: path.write_text("frame,x [px],y [px]\n1,2,3\n")),
    ],
)
def test_pixels_without_a_size_name_the_option(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(tmp_path / name)
    with pytest.raises(TableError, match="--pixel-size-nm") as caught:
        read_table(tmp_path / name)
    assert name in str(caught.value)


def test_frames_that_the_format_counts_from_0_stay(tmp_path: Path) -> None:
    """The rule is that of the program; a table that begins late is not shifted."""
    make_nanoimager(tmp_path / "a.csv", first=2)
    assert read_table(tmp_path / "a.csv")["frame"].tolist() == [4]
    assert read_table(tmp_path / "a.csv", first_frame=1)["frame"].tolist() == [3]


def change(path: Path, edit: Callable[[Any], None]) -> None:
    with h5py.File(path, "r+") as file:
        edit(file)


def drop_x(file: Any) -> None:
    records = file["locs"][:]
    del file["locs"]
    file["locs"] = np.asarray(records[["frame", "y", "photons"]].tolist(), dtype=[
        ("frame", "<u4"), ("y", "<f4"), ("photons", "<f4")])  # fmt: skip


def set_nan(file: Any) -> None:
    records = file["locs"][:]
    records["y"][1] = np.nan
    file["locs"][:] = records


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (drop_x, ("x_nm", "missing")),
        (set_nan, ("'y'", "1 rows without a finite number", "row 1")),
        (lambda file: file.move("locs", "others"), ("not with the layout", "others", "known")),
    ],
)
def test_native_tables_that_cannot_be_used(
    tmp_path: Path, edit: Callable[[Any], None], words: tuple[str, ...]
) -> None:
    path = tmp_path / "bad.hdf5"
    make_picasso(path)
    change(path, edit)
    with pytest.raises(TableError) as caught:
        read_table(path)
    for word in ("bad.hdf5", *words):
        assert word in str(caught.value)


BINARY = [case for case, (name, *_) in MAKERS.items() if not name.endswith((".csv", ".txt"))]


@pytest.mark.parametrize("case", BINARY)
@pytest.mark.parametrize("kept", [0.3, 0.6])
def test_a_binary_file_that_is_cut_off_says_so(tmp_path: Path, case: str, kept: float) -> None:
    name, _, make, _ = MAKERS[case]
    make(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / f"cut_{name}").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(TableError, match=f"cut_{name}"):
        read_table(tmp_path / f"cut_{name}", pixel_size_nm=100)


class _Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["table.csv", "table.hdf5", "table.pt", "table.parquet"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_in_disguise_is_never_loaded(tmp_path: Path, name: str, protocol: int) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(_Trap(tmp_path / "sprung"), protocol))
    with pytest.raises(TableError, match=name):
        read_table(tmp_path / name)
    np.save(tmp_path / "trap.npy", np.array([_Trap(tmp_path / "sprung")]), allow_pickle=True)
    with pytest.raises(TableError, match="NumPy array"):
        read_table(tmp_path / "trap.npy")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps([1]), ("pickle", "never loaded")),
        (b"PK\x03\x04nothing", ("archive",)),
        (b"II*\x00" + bytes(40), ("TIFF", "movie")),
        (b"\x1f\x8b" + bytes(40), ("gzip", "unpack")),
        (b"\x00\x01\x02" * 30, ("not that of a table", "known: picasso")),
        (b"PAR1" + bytes(60), ("Parquet", "damaged")),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), ("truncated or damaged",)),
        (b"MATLAB 5.0 MAT-file" + bytes(200), ("MATLAB",)),
        (b"M425", ("ends within its header",)),
        (b"# <localizations><field", ("XML", "damaged")),
        (b"# DECODE EmitterSet\n# {}\n", ("four lines",)),
    ],
)
def test_strange_files(tmp_path: Path, content: bytes, words: tuple[str, ...]) -> None:
    path = tmp_path / "strange.csv"
    path.write_bytes(content)
    with pytest.raises(TableError) as caught:
        read_table(path, pixel_size_nm=100)
    for word in ("strange.csv", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: make_smlm(path, rows=10**9), ("cut off", "1000000000 rows")),
        (lambda path: make_smlm(path, tables=2), ("2 tables", "one was wanted")),
        (lambda path: make_smlm(path, unit="parsec"), ("parsec", "nm")),
        (lambda path: make_insight3(path, status=0), ("not closed", "status 0")),
    ],
)
def test_files_that_contradict_themselves(
    tmp_path: Path, make: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    make(tmp_path / "bad")
    with pytest.raises(TableError) as caught:
        read_table(tmp_path / "bad")
    for word in ("bad", *words):
        assert word in str(caught.value)


def test_smap_tables_of_several_movies(tmp_path: Path) -> None:
    path = tmp_path / "a_sml.mat"
    make_smap(path)
    with h5py.File(path, "r+") as file:
        file["saveloc/loc/filenumber"] = np.array([[1.0, 1.0, 2.0]])
    with pytest.raises(TableError, match="2 movies"):
        read_table(path)


STARTS = (b"", b"\x89HDF\r\n\x1a\n", b"PAR1", b"M425", b"PK\x03\x04", b"MATLAB 5.0 MAT-file",
          b"# <localizations", b"# DECODE EmitterSet\n", b"frame,x,y\n", b"xnm,ynm,frame\n",
          b"Index\tFirst Frame\tPosition X [nm]\tPosition Y [nm]\n",
          b"Channel,Frame,X (nm),Y (nm)\n")  # fmt: skip


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=300))
def test_no_content_leads_to_another_error(tmp_path: Path, start: bytes, rest: bytes) -> None:
    (tmp_path / "any").write_bytes(start + rest)
    with suppress(TableError):
        read_table(tmp_path / "any", pixel_size_nm=100)
        read_table_info(tmp_path / "any")


def test_metadata_of_another_shape(tmp_path: Path) -> None:
    for meta in ("7", "[1]", "null", '{"xy_unit": "px", "px_size": "wide"}'):
        (tmp_path / "a.csv").write_text(f"# DECODE EmitterSet\n# {{}}\n# {meta}\nx,y,frame_ix\n")
        with pytest.raises(TableError, match=r"a\.csv"):
            read_table(tmp_path / "a.csv")


def test_frames_beyond_any_count(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("frame,x,y\n1e12,2,3\n")
    with pytest.raises(TableError, match="beyond any count"):
        read_table(tmp_path / "a.csv")
    pl.DataFrame({"frame": [0, -3], "x_nm": [1.0, 2.0], "y_nm": [1.0, 2.0]}).write_parquet(
        tmp_path / "a.parquet"
    )
    with pytest.raises(TableError, match="--first-frame"):
        read_table(tmp_path / "a.parquet")
