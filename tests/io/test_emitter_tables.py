"""Emitter tables: exact round trip, the layouts of others, and tables that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdsmlm.errors import OutputError, TableError
from hdsmlm.io.tables import read_table, write_table
from hdsmlm.io.tables.headers import native_header, split_header
from hdsmlm.records.columns import COLUMNS
from hdsmlm.records.emitters import Emitters

REAL_NUMBERS = st.floats(-1e7, 1e7, allow_nan=False).map(lambda value: value + 0.0)


@st.composite
def tables(draw: st.DrawFn) -> Emitters:
    """Any number of rows with any of the registered columns."""
    n = draw(st.integers(0, 12))
    optional = [name for name in COLUMNS if name not in ("frame", "x_nm", "y_nm")]
    names = draw(st.lists(st.sampled_from(optional), unique=True))
    columns = {}
    for name in ("frame", "x_nm", "y_nm", *names):
        if COLUMNS[name].dtype.startswith("int"):
            limit = 2**31 - 2 if COLUMNS[name].dtype == "int32" else 2**53
            values = st.integers(0, limit)
        else:
            values = REAL_NUMBERS
        columns[name] = draw(st.lists(values, min_size=n, max_size=n))
    return Emitters(columns)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(table=tables())
def test_round_trip(tmp_path: Path, table: Emitters) -> None:
    path = tmp_path / "emitters.csv"
    write_table(table, path)
    back = read_table(path, first_frame=1)
    assert back.names == table.names
    assert len(back) == len(table)
    for name in table.names:
        if COLUMNS[name].dtype.startswith("int"):
            np.testing.assert_array_equal(back[name], table[name])
        elif COLUMNS[name].unit == "nm":
            np.testing.assert_allclose(back[name], table[name], rtol=0, atol=1.1e-4 / 2)
        else:
            np.testing.assert_allclose(back[name], table[name], rtol=1e-8)


def test_the_file_looks_like_thunderstorm(tmp_path: Path) -> None:
    path = tmp_path / "emitters.csv"
    write_table(
        Emitters(
            {
                "frame": [0, 4],
                "x_nm": [50.0, 1234.56789],
                "y_nm": [0.0, 2.5],
                "z_nm": [-10.0, 0.25],
                "photons": [900, 1],
                "background": [10, 11.5],
                "sigma_nm": [130, 130],
                "count_class": [1, 3],
                "emitter_id": [7, 8],
            }
        ),
        path,
    )
    assert path.read_text().splitlines() == [
        "id,frame,x [nm],y [nm],z [nm],intensity [photon],offset [photon],sigma [nm],emitter_id,"
        "count_class",
        "1,1,50.0,0.0,-10.0,900.0,10.0,130.0,7,1",
        "2,5,1234.5679,2.5,0.25,1.0,11.5,130.0,8,3",
    ]


def test_every_column_has_a_header_of_its_own() -> None:
    headers = [native_header(name) for name in COLUMNS]
    assert len({split_header(header)[0] for header in headers}) == len(COLUMNS)
    for name, column in COLUMNS.items():
        unit = split_header(native_header(name))[1]
        assert bool(unit) == bool(column.unit)


def test_a_million_rows_do_not_need_a_loop(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    n = 50_000
    table = Emitters(
        {"frame": np.sort(rng.integers(0, 900, n)), "x_nm": rng.random(n), "y_nm": rng.random(n)}
    )
    write_table(table, tmp_path / "a.csv")
    np.testing.assert_allclose(read_table(tmp_path / "a.csv")["x_nm"], table["x_nm"], atol=1e-4)


LAYOUTS = {
    "thunderstorm 2d": (
        '"id","frame","x [nm]","y [nm]","sigma [nm]","intensity [photon]","offset [photon]",'
        '"bkgstd [photon]","uncertainty_xy [nm]"\n1,3,150.5,20.25,120,900,11,3.5,9\n'
    ),
    "thunderstorm 3d": (
        '"frame","x [nm]","y [nm]","z [nm]","sigma1 [nm]","sigma2 [nm]","intensity [photon]",'
        '"offset [photon]"\n3,150.5,20.25,-4,120,130,900,11\n'
    ),
    "older thunderstorm": "frame,x,y,intensity,offset\n3,150.5,20.25,900,11\n",
    "quoted once more": '"id,""frame"",""x [nm]"",""y [nm]"""\n7.0,3.0,150.5,20.25\n',
    "challenge truth": ("Ground-truth,frame,xnano,ynano,znano,intensity\n1,3,150.5,20.25,-4,900\n"),
    "parentheses and capitals": (
        "No,Frame,Emitter,x (nm),y (nm),sigma (nm),Intensity (photons),Offset (photons)\n"
        "1,3,25,150.5,20.25,120,900,11\n"
    ),
    "semicolon": "Frame;X [nm];Y [nm]\n3;150.5;20.25\n",
    "tab": "frame\tPosition X [nm]\tPosition Y [nm]\tNumber Photons\n3\t150.5\t20.25\t900\n",
    "micrometres": "frame,x [um],y [µm]\n3,0.1505,0.02025\n",
    "pixels": "frame,x [px],y_px\n3,1.505,0.2025\n",
    "byte order mark and CRLF": "\ufeffframe,x,y\r\n3,150.5,20.25\r\n",
    "text in columns that are not read": "label,frame,x,y\nabc,3,150.5,20.25\n",
    "spaces": "frame , x [nm] , y [nm]\n3,150.5,20.25\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_others(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(LAYOUTS[layout], encoding="utf-8", newline="")
    table = read_table(path, pixel_size_nm=100.0)
    assert table["frame"].tolist() == [2]
    assert table["x_nm"][0] == pytest.approx(150.5, abs=1e-9)
    assert table["y_nm"][0] == pytest.approx(20.25, abs=1e-9)
    for name, value in (("photons", 900), ("background", 11), ("z_nm", -4), ("sigma_nm", 120)):
        if name in table:
            assert table[name].tolist() == [value]
    header = LAYOUTS[layout].splitlines()[0].lower()
    assert ("photons" in table) == ("intensity" in header or "photons" in header)
    assert ("z_nm" in table) == ("z" in header)


def test_camera_counts_are_no_photons(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("frame,x,y,intensity [ADU]\n1,2,3,4\n")
    assert read_table(path).names == ("frame", "x_nm", "y_nm")


def test_a_frame_0_means_that_frames_count_from_0(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("frame,x,y\n0,2,3\n5,2,3\n")
    assert read_table(path)["frame"].tolist() == [0, 5]
    with pytest.raises(TableError, match="frames begin at 0"):
        read_table(path, first_frame=1)
    path.write_text("frame,x,y\n2,2,3\n5,2,3\n")
    assert read_table(path)["frame"].tolist() == [1, 4]
    assert read_table(path, first_frame=0)["frame"].tolist() == [2, 5]
    path.write_text("frame,x,y\n-1,2,3\n")
    with pytest.raises(TableError, match="frames begin at -1"):
        read_table(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("empty", "headers")),
        ("\n\n", ("empty",)),
        ("a,b,c\n1,2,3\n", ("'frame', 'x [nm]', 'y [nm]'", "'a', 'b', 'c'")),
        ("frame,x\n1,2\n", ("'y [nm]'", "'frame', 'x'")),
        ("1,2,3\n4,5,6\n", ("only numbers", "headers")),
        ("frame,x,y\n1,2,3\n2,nan,4\n3,,5\n", ("'x'", "2 rows", "line 3")),
        ("frame,x,y\n1,2,inf\n", ("'y'", "line 2")),
        ("frame,x,y\n,2,3\n", ("'frame'", "line 2")),
        ("frame,x,y\n1.5,2,3\n", ("whole numbers", "1.5")),
        ("frame,x,y\n1,two,3\n", ("cannot be read as numbers", "two")),
        ("frame,x,y\n1,2,3,4,5\n", ("cannot be read as numbers",)),
        ("frame,x [px],y [px]\n1,2,3\n", ("pixels", "pixel size")),
        ("frame,x [parsec],y\n1,2,3\n", ("parsec", "nm")),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TableError) as caught:
        read_table(path)
    for word in ("bad.csv", *words):
        assert word in str(caught.value)


def test_a_table_without_rows_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("frame,x [nm],y [nm]\n")
    assert len(read_table(path)) == 0
    path.write_text("frame,x [nm],y [nm]")
    assert len(read_table(path)) == 0


def test_missing_files_and_unknown_extensions(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such table"):
        read_table(tmp_path / "a.csv")
    with pytest.raises(TableError, match=r"'\.xlsx' are not supported; written are: picasso"):
        write_table(Emitters.empty(), tmp_path / "a.xlsx")


def test_positions_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="x_nm"):
        write_table(Emitters({"frame": [0], "x_nm": [np.nan], "y_nm": [0]}), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def test_nan_in_other_columns_survives(tmp_path: Path) -> None:
    table = Emitters({"frame": [0, 1], "x_nm": [1, 2], "y_nm": [1, 2], "snr": [np.nan, 3]})
    write_table(table, tmp_path / "a.csv")
    np.testing.assert_array_equal(read_table(tmp_path / "a.csv")["snr"], [np.nan, 3])


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_table(Emitters.empty(), tmp_path / "file" / "a.csv")
