"""What is particular to the spline PSF: its table, its edges, its files."""

import numpy as np
import pytest
from scipy.io import savemat

from hdsmlm.config.base import parse_section
from hdsmlm.config.psf import SplinePsfConfig
from hdsmlm.errors import ConfigError
from hdsmlm.imaging.build import build_psf
from hdsmlm.imaging.psf import AstigmaticPsf
from hdsmlm.imaging.spline import SplinePsf, bsplines_from_samples, cells_from_bsplines
from hdsmlm.imaging.spline_file import read_spline, spline_arrays
from hdsmlm.imaging.spline_kernel import spline_patch

TRUTH = AstigmaticPsf(1.3, 250, 400)


@pytest.fixture(scope="module")
def spline():
    planes_nm = np.arange(-500.0, 501.0, 50.0)
    samples = TRUTH.images(*np.full((2, len(planes_nm)), 12.5), planes_nm, (25, 25)).share
    cells = cells_from_bsplines(bsplines_from_samples(samples))
    return SplinePsf(cells, -500.0, 50.0, 100.0, {"made": "here"})


def test_table_passes_through_its_samples(spline):
    planes_nm = np.arange(-500.0, 501.0, 50.0)
    places = (*np.full((2, len(planes_nm)), 12.5), planes_nm)
    np.testing.assert_allclose(
        spline.images(*places, (25, 25)).share, TRUTH.images(*places, (25, 25)).share, atol=1e-8
    )


def test_between_samples_the_error_is_a_small_share_of_the_peak(spline):
    rng = np.random.default_rng(1)
    x, y, z = rng.uniform(12, 13, 50), rng.uniform(12, 13, 50), rng.uniform(-480, 480, 50)
    mine, true = (psf.images(x, y, z, (25, 25)).share for psf in (spline, TRUTH))
    assert np.abs(mine - true).max() < 0.004 * true.max()


def test_value_and_slope_are_continuous_everywhere_and_0_outside(spline):
    x = np.linspace(-20, 40, 6001)  # the table's edges and every border of cells
    images = spline.images(x, np.full_like(x, 10.3), np.full_like(x, 77.0), (20, 20))
    for values, slope in ((images.share, images.by_x), (images.by_x, None)):
        steps = np.diff(values, axis=0)
        bound = (
            0.011 * np.abs(slope).max()
            if slope is not None
            else 0.011 * np.abs(np.diff(images.by_x, axis=0) / 0.01).max()
        )
        assert np.abs(steps).max() <= bound + 1e-6
    far = spline.images([-20.0, 60.0], [10.0, 10.0], [0.0, 0.0], (20, 20))
    for part in (far.share, far.by_x, far.by_y, far.by_z):
        assert not part.any()


def test_beyond_the_last_plane_the_image_stays_and_has_no_slope(spline):
    end, beyond = (spline.images(9.2, 9.7, z, (20, 20)) for z in (500.0, 900.0))
    np.testing.assert_allclose(beyond.share, end.share, atol=1e-9)
    assert not beyond.by_z.any()
    assert end.by_z.any()
    assert (spline.z_min_nm, spline.z_max_nm) == (-500.0, 500.0)


def test_patch_is_a_cut_of_the_image(spline):
    whole = spline.images(9.2, 9.7, 120.0, (20, 20))
    parts = [np.full((7, 9), np.nan) for _ in range(4)]
    depth = float(spline.z_slices(120.0))
    spline_patch(spline.coefficients, 9.2, 9.7, depth, 4, 6, 8, 5, *parts)
    cut = np.s_[0, 6:11, 4:12]
    np.testing.assert_array_equal(parts[0][:5, :8], whole.share[cut])
    np.testing.assert_array_equal(parts[1][:5, :8], whole.by_x[cut])
    np.testing.assert_array_equal(parts[2][:5, :8], whole.by_y[cut])
    np.testing.assert_allclose(parts[3][:5, :8] / 50.0, whole.by_z[cut], rtol=1e-12)
    assert np.isnan(parts[0][5:]).all()


def test_width_is_that_of_the_gaussian_it_was_made_from(spline):
    z = np.array([-300.0, 0.0, 220.0])
    np.testing.assert_allclose(spline.width_px(z), TRUTH.width_px(z), rtol=0.01)


def test_file_gives_back_the_psf_and_guards_the_pixel_size(spline, tmp_path):
    path = tmp_path / "spline.npz"
    np.savez_compressed(path, **spline_arrays(spline))
    config = SplinePsfConfig(path=path, pixel_size_nm=100)
    again = build_psf(config, pixel_size_nm=100.5)
    np.testing.assert_array_equal(again.coefficients, spline.coefficients)
    assert (again.z_min_nm, again.z_step_nm, again.pixel_size_nm) == (-500, 50, 100)
    assert again.provenance == {"made": "here"}
    with pytest.raises(ConfigError, match=r"pixels of 100 nm.*got a movie with pixels of 160 nm"):
        build_psf(config, pixel_size_nm=160)


def test_files_that_are_no_calibration_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such calibration"):
        read_spline(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ConfigError, match="cannot be read as a calibration"):
        read_spline(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(ConfigError, match="it holds weights"):
        read_spline(tmp_path / "other.npz")
    savemat(tmp_path / "other.mat", {"a": np.zeros(3)})
    with pytest.raises(ConfigError, match=r"SXY.cspline was wanted, but it holds a"):
        read_spline(tmp_path / "other.mat")
    (tmp_path / "broken.mat").write_bytes(b"nothing" * 50)
    with pytest.raises(ConfigError, match="MATLAB"):
        read_spline(tmp_path / "broken.mat")
    with pytest.raises(ConfigError, match="path"):
        parse_section(SplinePsfConfig, {"kind": "spline"}, "psf.yaml")


def test_impossible_tables_are_refused(spline):
    table = spline.coefficients.copy()
    table[3, 4, 5, 6] = np.nan
    with pytest.raises(ConfigError, match="1 that are NaN"):
        SplinePsf(table, 0.0, 50.0, 100.0)
    with pytest.raises(ConfigError, match="even number of cells"):
        SplinePsf(spline.coefficients[:, :, 1:], 0.0, 50.0, 100.0)
    with pytest.raises(ConfigError, match="z_step_nm"):
        SplinePsf(spline.coefficients, 0.0, 0.0, 100.0)


def _to_smap(spline):
    planes, rows, columns, _ = spline.coefficients.shape
    powers = spline.coefficients.reshape(planes, rows, columns, 4, 4, 4)
    table = powers.transpose(1, 2, 0, 3, 5, 4).reshape(rows, columns, planes, 64)
    return {"coeff": table, "dz": 50.0, "z0": 10.0, "x0": float(columns // 2 + 1)}


def test_smap_file_gives_the_same_images(spline, tmp_path):
    savemat(tmp_path / "a_3dcal.mat", {"SXY": {"cspline": _to_smap(spline)}})
    again = read_spline(tmp_path / "a_3dcal.mat", pixel_size_nm=100)
    places = (9.2, 9.7, 130.0, (20, 21))
    np.testing.assert_array_equal(again.images(*places).share, spline.images(*places).share)
    with pytest.raises(ConfigError, match="does not say its pixel size"):
        read_spline(tmp_path / "a_3dcal.mat")


def test_smap_file_of_version_73_gives_the_same_images(spline, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "b_3dcal.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, value in _to_smap(spline).items():
            file[f"SXY/cspline/{key}"] = np.atleast_2d(value).T
        file["parameters/pixelsize"] = np.array([[0.1], [0.1]])
    with path.open("r+b") as stream:
        text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
        stream.write(text)
    again = read_spline(path)
    np.testing.assert_array_equal(again.coefficients, spline.coefficients)
    assert (again.pixel_size_nm, again.z_min_nm) == (100, -500)


@pytest.mark.shared_data
def test_real_smap_file_is_continuous_and_close_to_its_own_samples(shared_data):
    from scipy.io import loadmat

    path = shared_data / "beads" / "calibration.mat"
    psf = read_spline(path)
    assert psf.pixel_size_nm == pytest.approx(100)
    assert psf.z_step_nm == 10
    section = loadmat(path, squeeze_me=True, struct_as_record=False)["SXY"]
    measured = section.PSF.mean(axis=2)[2:15, 2:15]  # smoothed along z by its program
    for plane in range(6):
        share = psf.images(6.5, 6.5, psf.z_min_nm + 10.0 * plane, (13, 13)).share[0]
        np.testing.assert_allclose(share, section.cspline.coeff[1:14, 1:14, plane, 0], atol=1e-9)
        correlation = np.corrcoef(share.ravel(), measured.ravel())[0, 1]
        transposed = np.corrcoef(share.ravel(), measured.T.ravel())[0, 1]
        assert correlation > 0.97
        assert correlation > transposed + 0.03
    before, after = (psf.images(6.5 - d, 6.2, 3.0, (13, 13)).share for d in (1e-7, -1e-7))
    np.testing.assert_allclose(before, after, atol=1e-7)
