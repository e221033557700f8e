"""Pictures hold every localization once, where it is, with the pixel size in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from hdsmlm.config.postprocessing import RenderConfig
from hdsmlm.errors import ConfigError, TableError
from hdsmlm.postprocessing.pictures import write_png, write_tiff
from hdsmlm.postprocessing.render import render
from hdsmlm.records.emitters import Emitters


def table(n: int = 3000, seed: int = 0) -> Emitters:
    rng = np.random.default_rng(seed)
    return Emitters(
        {
            "frame": np.arange(n),
            "x_nm": rng.uniform(-300, 1700, n),
            "y_nm": rng.uniform(100, 900, n),
            "z_nm": rng.uniform(-200, 200, n),
            "uncertainty_x_nm": rng.uniform(0.1, 40, n),
            "uncertainty_y_nm": rng.uniform(0.1, 40, n),
        }
    )


@pytest.mark.parametrize(
    "config",
    [
        RenderConfig(),
        RenderConfig(kind="histogram"),
        RenderConfig(sigma_nm=25.0, pixel_size_nm=7.3),
        RenderConfig(pixel_size_nm=150.0, min_sigma_nm=0.0),
    ],
)
def test_the_sum_is_the_number_of_localizations(config: RenderConfig) -> None:
    assert render(table(), config).density.sum(dtype=float) == pytest.approx(3000, rel=1e-5)


def test_a_region_is_a_part_of_the_whole() -> None:
    whole = render(table(), RenderConfig())
    part = render(table(), RenderConfig(region_nm=(200.0, 900.0, 300.0, 800.0)))
    left, top = ((np.array([200.0, 300.0]) - whole.origin_nm) / 10).round().astype(int)
    assert part.density.shape == (50, 70)
    assert part.origin_nm == (200.0, 300.0)
    cut = whole.density[top : top + 50, left : left + 70]
    assert np.allclose(part.density, cut, atol=1e-6)


def test_a_gaussian_has_its_place_and_width() -> None:
    one = Emitters(
        {
            "frame": [0],
            "x_nm": [503.3],
            "y_nm": [248.7],
            "uncertainty_x_nm": [30.0],
            "uncertainty_y_nm": [15.0],
        }
    )
    picture = render(one, RenderConfig(pixel_size_nm=2.0))
    for axis, centre, sigma in ((0, 248.7, 15.0), (1, 503.3, 30.0)):
        profile = picture.density.sum(1 - axis, dtype=float)
        place = picture.origin_nm[1 - axis] + (np.arange(len(profile)) + 0.5) * 2.0
        mean = (profile * place).sum()
        assert mean == pytest.approx(centre, abs=0.1)
        # Cut at four sigmas the variance is 0.2 % smaller; the pixel adds p²/12.
        assert np.sqrt((profile * (place - mean) ** 2).sum()) == pytest.approx(sigma, rel=0.005)


def test_the_colour_is_the_mean_of_the_column() -> None:
    points = Emitters({"frame": [2, 4, 9], "x_nm": [5, 6, 25], "y_nm": [5, 5, 5]})
    picture = render(points, RenderConfig(colour_by="frame"))
    assert picture.density.tolist() == [[2.0, 0.0, 1.0]]
    assert picture.mean is not None
    assert np.allclose(picture.mean, [[3.0, np.nan, 9.0]], equal_nan=True)


def test_rows_without_a_value_have_no_colour_but_count() -> None:
    points = Emitters(
        {"frame": [0, 1, 2], "x_nm": [5, 6, 25], "y_nm": [5, 5, 5], "z_nm": [100, np.nan, np.nan]}
    )
    picture = render(points, RenderConfig(colour_by="z_nm"))
    assert picture.density.tolist() == [[2.0, 0.0, 1.0]]
    assert picture.mean is not None
    assert np.allclose(picture.mean, [[100.0, np.nan, np.nan]], equal_nan=True)


def test_bad_uncertainties_do_not_spoil_the_picture() -> None:
    rows = table(500)
    sigma = rows["uncertainty_x_nm"].copy()
    sigma[:4] = [np.nan, np.inf, -1.0, 1e9]
    picture = render(rows.with_columns(uncertainty_x_nm=sigma), RenderConfig())
    assert np.isfinite(picture.density).all()
    assert picture.density.sum(dtype=float) == pytest.approx(500, rel=1e-5)
    assert picture.density.size < 1_000_000


@pytest.mark.parametrize("colour_by", [None, "z_nm"])
def test_tiff_keeps_values_and_pixel_size(tmp_path: Path, colour_by: str | None) -> None:
    picture = render(table(), RenderConfig(pixel_size_nm=12.5, colour_by=colour_by))
    write_tiff(picture, tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        data = file.asarray()
        assert file.imagej_metadata is not None
        assert file.imagej_metadata["unit"] == "um"
        top, bottom = file.pages[0].tags["XResolution"].value
    assert data.dtype == np.float32
    assert bottom / top == pytest.approx(0.0125, rel=1e-6)
    channels = [picture.density] if picture.mean is None else [picture.density, picture.mean]
    assert np.array_equal(data, np.squeeze(np.stack(channels)), equal_nan=True)


def test_png_has_a_scale_bar_of_the_right_length(tmp_path: Path) -> None:
    config = RenderConfig(kind="histogram", scale_bar_nm=500.0, colour_map="inferno")
    write_png(render(table(), config), config, tmp_path / "bar.png")
    pixels = np.asarray(Image.open(tmp_path / "bar.png"))
    assert pixels.shape == (*render(table(), config).density.shape, 3)
    white = (pixels == 255).all(2)
    assert white.sum(1).max() >= 50
    run = np.flatnonzero(white[np.argmax(white.sum(1))])
    assert run[-1] - run[0] + 1 == 50
    bare = config.model_copy(update={"scale_bar_nm": 0.0})
    write_png(render(table(), bare), bare, tmp_path / "bare.png")
    assert not (np.asarray(Image.open(tmp_path / "bare.png")) == 255).all(2).any()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (RenderConfig(colour_by="z"), "did you mean 'z_nm'"),
        (RenderConfig(region_nm=(9e4, 9.1e4, 0.0, 100.0)), "none of the"),
        (RenderConfig(pixel_size_nm=0.01), "larger --pixel-size-nm"),
    ],
)
def test_what_cannot_be_drawn_is_explained(config: RenderConfig, words: str) -> None:
    with pytest.raises(TableError, match=words):
        render(table(100), config)


def test_other_bad_input(tmp_path: Path) -> None:
    bare = Emitters({"frame": [0], "x_nm": [5], "y_nm": [5]})
    with pytest.raises(TableError, match="uncertainty_x_nm"):
        render(bare, RenderConfig(kind="gaussian"))
    with pytest.raises(TableError, match="no rows"):
        render(Emitters.empty(), RenderConfig())
    config = RenderConfig(colour_map="infernal")
    with pytest.raises(ConfigError, match="did you mean 'inferno'"):
        write_png(render(bare, config), config, tmp_path / "a.png")
    with pytest.raises(ValueError, match="low before high"):
        RenderConfig(region_nm=(5.0, 1.0, 0.0, 1.0))
