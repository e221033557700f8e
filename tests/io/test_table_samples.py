"""Tables that other programs wrote, beside the project: counts and conventions."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from hdsmlm.io.movies import open_movie
from hdsmlm.io.tables import TableInfo, read_table, read_table_info, write_table
from hdsmlm.io.tables.registry import format_of

pytestmark = pytest.mark.shared_data

SAMPLES = {
    "picasso/testdata_locs.hdf5": ("picasso", 564, 11),
    "picasso/raw_movie_locs.hdf5": ("picasso", 2399, 2),
    "thunderstorm/ThunderSTORM_TS3D.csv": ("thunderstorm", 11195, 0),
    "thunderstorm/Thunderstorm_dstorm_data.csv": ("thunderstorm", 19, 2000),
    "others/Elyra_dstorm_data.txt": ("elyra", 15, 0),
    "others/Nanoimager_dstorm_data.csv": ("nanoimager", 14, 0),
    "others/SMLM_dstorm_data.smlm": ("smlm", 10, 0),
    "others/decode_dstorm_data.h5": ("decode", 96, 294),
    "others/rapidSTORM_dstorm_data.txt": ("rapidstorm", 14, 0),
    "others/smap_dstorm_data.mat": ("smap", 4884, 0),
    "others/storm_analysis_ref.hdf5": ("storm-analysis", 200, 0),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_known_and_read(shared_data: Path, name: str) -> None:
    kind, rows, first_frame = SAMPLES[name]
    path = shared_data / "tables" / name
    assert format_of(path).name == kind
    table = read_table(path)
    assert len(table) == rows
    assert table["frame"].min() == first_frame
    assert (table["x_nm"] > -100).all()
    assert (table["y_nm"] > -100).all()


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("suffix", [".hdf5", ".csv", ".parquet"])
def test_there_and_back(tmp_path: Path, shared_data: Path, name: str, suffix: str) -> None:
    table = read_table(shared_data / "tables" / name)
    write_table(table, tmp_path / f"a{suffix}", info=TableInfo(131.7))
    back = read_table(tmp_path / f"a{suffix}", first_frame=1 if suffix == ".csv" else 0)
    assert back.names == table.names
    for column in table.names:
        np.testing.assert_allclose(
            back[column], table[column], rtol=1e-8, atol=5.1e-5 if suffix == ".csv" else 1e-9
        )


def test_picasso_counts_from_the_middle_of_a_pixel_and_from_frame_0(shared_data: Path) -> None:
    """The movie itself says so: centroids of its spots lie where the table says, in our units."""
    path = shared_data / "tables" / "picasso" / "testdata_locs.hdf5"
    table, pixel_nm = read_table(path), read_table_info(path).pixel_size_nm
    assert pixel_nm == 130
    with open_movie(shared_data / "movies" / "testdata.raw") as movie:
        frames = movie.read(0, movie.info.n_frames).astype(np.float64)
    distances = []
    for frame, x_nm, y_nm in zip(table["frame"], table["x_nm"], table["y_nm"], strict=True):
        row, column = int(y_nm // pixel_nm), int(x_nm // pixel_nm)
        if frame >= len(frames) or not (4 <= row < 28 and 4 <= column < 28):
            continue
        spot = frames[frame, row - 3 : row + 4, column - 3 : column + 4]
        light = np.clip(spot - np.median(frames[frame]), 0, None)
        rows, columns = np.mgrid[row - 3 : row + 4, column - 3 : column + 4] + 0.5
        centre = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
        distances.append([x_nm, y_nm] / np.array(pixel_nm) - centre)
    assert len(distances) > 20
    assert np.abs(np.median(distances, axis=0)).max() < 0.05  # px; half a pixel would be 0.5


def test_smap_counts_pixels_from_1(shared_data: Path) -> None:
    path = shared_data / "tables" / "others" / "smap_dstorm_data.mat"
    table, info = read_table(path), read_table_info(path)
    with h5py.File(path) as file:
        x_px = file["saveloc/loc/xpix"][0].astype(np.float64)
    np.testing.assert_allclose(table["x_nm"] / 104.0, x_px - 0.5, atol=1e-4)
    assert (info.pixel_size_nm, info.n_frames, info.height, info.width) == (104, 1000, 256, 256)


def test_decode_swaps_the_axes(shared_data: Path) -> None:
    path = shared_data / "tables" / "others" / "decode_dstorm_data.h5"
    with h5py.File(path) as file:
        row_px, column_px, z_nm = file["data/xyz"][:].T
    table = read_table(path)  # 127 nm along the rows, 117 nm along the columns
    np.testing.assert_allclose(table["x_nm"], (column_px + 0.5) * 117, rtol=1e-6)
    np.testing.assert_allclose(table["y_nm"], (row_px + 0.5) * 127, rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(table["z_nm"], z_nm)


def test_camera_counts_of_rapidstorm_are_no_photons(shared_data: Path) -> None:
    table = read_table(shared_data / "tables" / "others" / "rapidSTORM_dstorm_data.txt")
    assert table.names == ("frame", "x_nm", "y_nm")
