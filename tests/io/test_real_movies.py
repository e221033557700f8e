"""Real and third-party files beside the project: shapes, and facts that were measured on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hdsmlm.io.calibration import read_camera_maps
from hdsmlm.io.movies import open_movie
from hdsmlm.io.tables import read_table

pytestmark = pytest.mark.shared_data

MOVIES = {
    "movies/pMHC_AF647_200k_000_.SPE": (10, 128, 128, "uint16"),
    "movies/scmos_storm/sCMOS_sample.dax": (11, 256, 256, "uint16"),
    "movies/threeB_dense_ring.tif": (300, 60, 60, "uint16"),
    "movies/palm_tracer_stack.tif": (10, 128, 256, "uint16"),
    "movies/test_300x200.dax": (10, 200, 300, "uint16"),
    "movies/testdata.raw": (100, 32, 32, "uint16"),
    "with_truth/2DGauss_LD/2DGauss_LD_Train_Frame.tif": (1000, 32, 32, "uint16"),
    "with_truth/2DGauss_MD/2DGauss_MD_Train_Frame.tif": (1000, 32, 32, "uint16"),
    "beads/beads_astigmatic_151z_10nm.tif": (151, 150, 150, "uint16"),
    "beads/psf_astig.tif": (61, 61, 61, "float32"),
}


@pytest.mark.parametrize("name", MOVIES)
def test_shape_type_and_random_access(shared_data: Path, name: str) -> None:
    with open_movie(shared_data / name) as movie:
        info = movie.info
        assert (info.n_frames, info.height, info.width, info.dtype) == MOVIES[name]
        frames = movie.read(0, info.n_frames)
        np.testing.assert_array_equal(movie.read(3, 6), frames[3:6])
        assert frames.std() > 0


def test_the_inf_that_says_one_frame_less_is_noted(shared_data: Path) -> None:
    info = open_movie(shared_data / "movies/scmos_storm/sCMOS_sample.dax").info
    assert info.notes == ("the header says 10 frames, but the file holds 11; all are used",)


def test_pixel_sizes(shared_data: Path) -> None:
    assert open_movie(shared_data / "movies/testdata.raw").info.pixel_size_nm == 160.0
    # 72 dpi in the file is no pixel size.
    path = shared_data / "with_truth/2DGauss_LD/2DGauss_LD_Train_Frame.tif"
    assert open_movie(path).info.pixel_size_nm is None


def test_rows_of_the_dax_are_rows(shared_data: Path) -> None:
    """Wrongly taken as 300 x 200, neighbours along y would differ 1.5 times as much."""
    frames = open_movie(shared_data / "movies/test_300x200.dax").read(0, 10).astype(float)
    along_y, along_x = (np.abs(np.diff(frames, axis=axis)).mean() for axis in (1, 2))
    assert along_y == pytest.approx(along_x, rel=0.05)


def test_hot_pixels_of_calibration_and_movie_agree(shared_data: Path) -> None:
    """The calibrated variance correlates with the movie's only in the right orientation."""
    folder = shared_data / "movies/scmos_storm"
    frames = open_movie(folder / "sCMOS_sample.dax").read(0, 11).astype(float)
    measured = np.log(frames.var(axis=0) + 1)
    right = read_camera_maps(folder / "sCMOS_calib.npy")
    wrong = read_camera_maps(folder / "sCMOS_calib.npy", transpose=False)
    assert right.variance_adu2.shape == (256, 256)
    # 14 ADU² at 0.47 e/ADU is the 1.6 electrons of the camera's data sheet.
    median_noise_e = np.median(np.sqrt(right.variance_adu2) * right.gain_e_per_adu)
    assert 1.0 < median_noise_e < 2.0
    with_hot, by_chance = (
        np.corrcoef(measured.ravel(), np.log(maps.variance_adu2).ravel())[0, 1]
        for maps in (right, wrong)
    )
    assert with_hot > 5 * abs(by_chance)
    np.testing.assert_allclose(right.gain_adu_per_e * right.gain_e_per_adu, 1)


@pytest.mark.parametrize(("name", "density"), [("LD", 1.05), ("MD", 3.2)])
def test_truth_lies_on_the_bright_pixels(shared_data: Path, name: str, density: float) -> None:
    """Origin at the outer corner, x along columns, frames 1-based: else the gain is lower."""
    folder = shared_data / f"with_truth/2DGauss_{name}"
    frames = open_movie(folder / f"2DGauss_{name}_Train_Frame.tif").read(0, 1000).astype(float)
    truth = read_table(folder / f"2DGauss_{name}_Train_xy.csv")
    assert len(truth) / (1000 * 3.2**2) == pytest.approx(density, rel=0.03)
    t, x, y = truth["frame"], truth["x_nm"] / 100, truth["y_nm"] / 100
    inside = (x >= 1) & (x < 31) & (y >= 1) & (y < 31) & (t > 0) & (t < 999)
    t, row, column = t[inside], y[inside].astype(int), x[inside].astype(int)
    here = frames[t, row, column].mean()
    for dt, dy, dx in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
        assert here > frames[t + dt, row + dy, column + dx].mean() + 50
    assert here > frames[t, column, row].mean() + 50


TABLES = {
    "tables/thunderstorm/ThunderSTORM_TS3D.csv": (11195, 0, "z_nm"),
    "tables/thunderstorm/Thunderstorm_dstorm_data.csv": (19, 2000, "sigma_nm"),
    "tables/others/Nanoimager_dstorm_data.csv": (14, 0, "photons"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_others(shared_data: Path, name: str) -> None:
    rows, first_frame, column = TABLES[name]
    table = read_table(shared_data / name)
    assert len(table) == rows
    assert table["frame"].min() == first_frame
    assert np.isfinite(table[column]).all()
