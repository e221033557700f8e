"""What a user can hand over by mistake ends with one clear message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from movie_files import dax, picasso_raw, random_frames, spe, tiff_pages, tiff_stack

from hdsmlm.errors import MovieError, TruncatedMovieError
from hdsmlm.io.movies import ArrayMovie, open_movie

FRAMES = random_frames()
FRAME_BYTES = FRAMES[0].nbytes


def refused(path: Path | str | list, *words: str) -> str:
    """Open a movie that must be refused; the message holds all the words."""
    with pytest.raises(MovieError) as caught:
        open_movie(path)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert caught.value.exit_code == 2
    return message


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_rgb_says_how_to_convert(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "colour.tif"
    tifffile.imwrite(path, np.ones((3, 9, 8, 3), dtype), photometric="rgb")
    refused(path, "colour.tif", "RGB", "Image > Type > 16-bit")


def test_planar_colour_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((3, 9, 8), "u2"), photometric="rgb", planarconfig="separate")
    refused(path, "RGB")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_nan_names_the_frame(tmp_path: Path, value: float, compression: str | None) -> None:
    frames = FRAMES.astype("float32")
    frames[4, 2, 3] = value
    path = tiff_pages(tmp_path / "a.tif", frames, compression=compression)
    with open_movie(path) as movie:
        assert movie.read(0, 4).shape == (4, 12, 10)
        with pytest.raises(MovieError, match=r"frame 4 .* row 2, column 3"):
            movie.read(3, 6)


def test_large_finite_floats_are_no_infinity(tmp_path: Path) -> None:
    frames = np.full((2, 4, 4), np.finfo("float64").max)
    with open_movie(tiff_stack(tmp_path / "a.tif", frames)) as movie:
        np.testing.assert_array_equal(movie.read(0, 2), frames)


@pytest.mark.parametrize(("dtype", "word"), [("complex64", "complex"), ("bool", "1-bit")])
def test_pixels_that_are_no_grey_values_are_refused(tmp_path: Path, dtype: str, word: str) -> None:
    path = tiff_stack(tmp_path / "a.tif", np.ones((3, 8, 8), dtype))
    refused(path, word)


@pytest.mark.parametrize("name", ["a.tif", "a.dax", "a.raw", "a.spe", "a.nd2", "a"])
def test_a_file_of_zero_bytes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    refused(tmp_path / name, "empty (0 bytes)")


def test_a_tiff_without_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0\0\0\0\0")
    refused(path, "no whole image")


def test_empty_movies(tmp_path: Path) -> None:
    empty = FRAMES[:0]
    (tmp_path / "x").mkdir()
    for path in (spe(tmp_path / "a.spe", empty), picasso_raw(tmp_path / "a.raw", empty)):
        with pytest.raises(MovieError, match="empty"):
            open_movie(path)
    with pytest.raises(MovieError, match="empty"):
        ArrayMovie(empty)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 5)])
def test_arrays_with_other_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(MovieError, match="axes"):
        ArrayMovie(np.zeros(shape))


def cut(path: Path, keep_bytes: int) -> Path:
    path.write_bytes(path.read_bytes()[:keep_bytes])
    return path


def assert_truncated(path: Path, readable: int) -> None:
    """Refused with the right number, and readable up to it when asked."""
    with pytest.raises(TruncatedMovieError, match="ends early") as caught:
        open_movie(path)
    assert caught.value.readable_frames == readable
    assert f"{readable} whole frames" in str(caught.value)
    assert "--allow-truncated" in str(caught.value)
    with open_movie(path, allow_truncated=True) as movie:
        assert movie.info.n_frames == readable
        assert any("only these are used" in note for note in movie.info.notes)
        np.testing.assert_array_equal(movie.read(0, readable), FRAMES[:readable])


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("frame", [2, 6])
def test_tiff_pages_cut_inside_a_frame(tmp_path: Path, compression: str | None, frame: int) -> None:
    path = tiff_pages(tmp_path / "a.tif", FRAMES, compression=compression)
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[frame]
        middle = page.dataoffsets[0] + page.databytecounts[0] // 2
    assert_truncated(cut(path, middle), frame)


def test_tiff_pages_cut_between_frames(tmp_path: Path) -> None:
    path = tiff_pages(tmp_path / "a.tif", FRAMES)
    with tifffile.TiffFile(path) as tif:
        end = tif.pages[3].dataoffsets[0] + tif.pages[3].databytecounts[0]
    assert_truncated(cut(path, end), 4)


def test_tiff_cut_inside_a_page_header(tmp_path: Path) -> None:
    path = tiff_pages(tmp_path / "a.tif", FRAMES)
    with tifffile.TiffFile(path) as tif:
        inside = tif.pages[5].offset + 20
    assert_truncated(cut(path, inside), 5)


@pytest.mark.parametrize("imagej", [False, True])
def test_tiff_stack_with_its_pages_listed_at_the_end(tmp_path: Path, imagej: bool) -> None:
    """All page headers but the first are lost, yet the pixels before the cut are served."""
    path = tiff_stack(tmp_path / "a.tif", FRAMES, imagej=imagej, metadata={"axes": "TYX"})
    with tifffile.TiffFile(path) as tif:
        start = tif.pages[0].dataoffsets[0]
    assert_truncated(cut(path, start + 4 * FRAME_BYTES + 11), 4)


def test_a_lost_page_list_does_not_lose_frames(tmp_path: Path) -> None:
    path = tiff_stack(tmp_path / "a.tif", FRAMES, imagej=True, metadata={"axes": "TYX"})
    with tifffile.TiffFile(path) as tif:
        end = tif.pages[0].dataoffsets[0] + FRAMES.nbytes
    with open_movie(cut(path, end)) as movie:
        np.testing.assert_array_equal(movie.read(0, 7), FRAMES)


def test_tiff_cut_before_its_first_frame(tmp_path: Path) -> None:
    for keep in (9, 30, 200):
        path = cut(tiff_stack(tmp_path / "a.tif", FRAMES), keep)
        with pytest.raises(TruncatedMovieError) as caught:
            open_movie(path, allow_truncated=True)
        assert caught.value.readable_frames == 0


@pytest.mark.parametrize("rest", [0, 17])
def test_flat_files_that_end_early(tmp_path: Path, rest: int) -> None:
    assert_truncated(cut(dax(tmp_path / "a.dax", FRAMES), 3 * FRAME_BYTES + rest), 3)
    assert_truncated(cut(picasso_raw(tmp_path / "a.raw", FRAMES), 3 * FRAME_BYTES + rest), 3)
    assert_truncated(cut(spe(tmp_path / "a.spe", FRAMES), 4100 + 3 * FRAME_BYTES + rest), 3)
    assert_truncated(
        cut(spe(tmp_path / "b.spe", FRAMES, version=3.0), 4100 + 3 * FRAME_BYTES + rest), 3
    )


def test_spe_cut_in_its_header(tmp_path: Path) -> None:
    path = cut(spe(tmp_path / "a.spe", FRAMES), 900)
    with pytest.raises(TruncatedMovieError, match="4100 bytes"):
        open_movie(path, allow_truncated=True)


def test_a_wrong_count_in_the_inf_is_a_note(tmp_path: Path) -> None:
    with open_movie(dax(tmp_path / "a.dax", FRAMES, promised=6)) as movie:
        assert movie.info.n_frames == 7
        assert "says 6 frames" in movie.info.notes[0]


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    path = tiff_pages(tmp_path / "a.tif", FRAMES, compression="zlib")
    with tifffile.TiffFile(path) as tif:
        place = tif.pages[4].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[place : place + 8] = b"\xff" * 8
    path.write_bytes(content)
    with open_movie(path) as movie:
        np.testing.assert_array_equal(movie.read(0, 4), FRAMES[:4])
        with pytest.raises(MovieError, match=r"frame 4 .*damaged"):
            movie.read(0, 7)


def test_frames_that_differ_are_named(tmp_path: Path) -> None:
    for odd in (FRAMES[0, :5], FRAMES[0].astype("uint8")):
        path = tmp_path / "a.tif"
        with tifffile.TiffWriter(path) as tif:
            for frame in (FRAMES[0], FRAMES[1], odd):
                tif.write(frame, contiguous=False, metadata=None)
        refused(path, "frame 2", "all frames must be alike")


def test_channels_and_depth_name_the_axis(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    cases = (
        ({"imagej": True, "metadata": {"axes": "TCYX"}}, ("axis C", "2 channels")),
        ({"imagej": True, "metadata": {"axes": "TZYX"}}, ("axis Z", "2 slices")),
        ({"ome": True, "metadata": {"axes": "TCYX"}}, ("axis C", "2 channels")),
        ({"ome": True, "metadata": {"axes": "TZYX"}}, ("axis Z", "2 slices")),
        ({}, ("(t, y, x)", "(3, 2, 8, 9)")),
    )
    for options, words in cases:
        tiff_stack(path, np.ones((3, 2, 8, 9), "u2"), **options)
        refused(path, *words)


def test_several_ome_series_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        tif.write(FRAMES, metadata={"axes": "TYX"})
        tif.write(FRAMES[:2], metadata={"axes": "TYX"})
    refused(tmp_path / "a.ome.tif", "2 image series")


def test_lzw_compression_is_read(tmp_path: Path) -> None:
    path = tiff_pages(tmp_path / "a.tif", FRAMES, compression="lzw")
    with open_movie(path) as movie:
        np.testing.assert_array_equal(movie.read(0, 7), FRAMES)


def test_files_that_are_no_movies(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing to see")
    refused(tmp_path / "notes.txt", "no movie", "TIFF", "DAX", "SPE")
    (tmp_path / "a.tif").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    refused(tmp_path / "a.tif", "the name says TIFF", "PNG")
    (tmp_path / "a.spe").write_bytes(bytes(5000))
    refused(tmp_path / "a.spe", "the name says SPE")
    refused(tmp_path / "missing.tif", "no such file")


def test_folders_patterns_and_lists_without_movies(tmp_path: Path) -> None:
    (tmp_path / "readme.md").touch()
    refused(tmp_path, "TIFF files", ".tif", "1 files")
    dax(tmp_path / "a.dax", FRAMES)
    refused(tmp_path, "a.dax")
    refused(str(tmp_path / "movie_*.tif"), "no file matches")
    refused(str(tmp_path / "nowhere" / "movie_*.tif"), "no file matches")
    refused([], "empty")


def test_headers_of_flat_files(tmp_path: Path) -> None:
    path = dax(tmp_path / "a.dax", FRAMES)
    path.with_suffix(".inf").write_text("frames = 3")
    refused(path, "frame dimensions")
    path.with_suffix(".inf").write_text("data type = 8 bit integers\nframe dimensions = 10 x 12\n")
    refused(path, "16-bit", "8 bit")
    path.with_suffix(".inf").unlink()
    refused(path, "a.inf")
    raw = picasso_raw(tmp_path / "b.raw", FRAMES)
    for text, word in (
        ("Height: 3\n", "Width"),
        ("Height: x\nWidth: 2\nData Type: uint16\nFrames: 1", "cannot be used"),
        ("Height: 3\nWidth: 2\nData Type: uint16\nFrames: 1\nByte Order: middle", "Byte Order"),
        ("[", "YAML"),
        ("- 3", "key: value"),
    ):
        raw.with_suffix(".yaml").write_text(text)
        refused(raw, "b.yaml", word)
    raw.with_suffix(".yaml").unlink()
    refused(raw, "b.yaml")


def test_spe_headers_that_cannot_be_used(tmp_path: Path) -> None:
    path = spe(tmp_path / "a.spe", FRAMES)
    content = bytearray(path.read_bytes())
    content[108:110] = b"\x63\0"
    path.write_bytes(content)
    refused(path, "data type 99")
    content[108:110] = b"\x03\0"
    content[1510:1512] = b"\x02\0"
    path.write_bytes(content)
    refused(path, "region of interest", "2")


def test_cut_off_tiffs_do_not_write_to_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = cut(tiff_pages(tmp_path / "a.tif", FRAMES), 900)
    with pytest.raises(TruncatedMovieError):
        open_movie(path)
    assert capfd.readouterr().err == ""
