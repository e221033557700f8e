"""Several files as one movie, and what the files say about pixel size and axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from movie_files import dax, folder_of_tiffs, picasso_raw, random_frames, tiff_pages, tiff_stack

from hdsmlm.errors import MovieError, TruncatedMovieError
from hdsmlm.io.movies import open_movie
from hdsmlm.io.movies.sequence import OPEN_FILES, natural_key

FRAMES = random_frames((24, 9, 8))


def parts(folder: Path, lengths: tuple[int, ...] = (10, 1, 13)) -> list[Path]:
    """Files of several frames each whose names need a natural order."""
    files, start = [], 0
    for number, length in enumerate(lengths):
        file = folder / f"part_{number * 5}.tif"
        files.append(tiff_pages(file, FRAMES[start : start + length]))
        start += length
    return files


def test_numbers_in_names_sort_as_numbers() -> None:
    names = ["f10.tif", "f2.tif", "F1.tif", "f2b.tif", "f.tif", "2.tif", "a/10/b.tif", "a/9/b.tif"]
    ordered = [str(path) for path in sorted(map(Path, names), key=natural_key)]
    assert ordered == [
        "2.tif",
        "a/9/b.tif",
        "a/10/b.tif",
        "F1.tif",
        "f2.tif",
        "f2b.tif",
        "f10.tif",
        "f.tif",
    ]


def test_folder_pattern_and_list_are_the_same_movie(tmp_path: Path) -> None:
    files = parts(tmp_path)
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "._part_0.tif").write_bytes(b"left by a Mac")
    for source in (tmp_path, str(tmp_path / "part_*.tif"), files, [str(file) for file in files]):
        with open_movie(source) as movie:
            assert movie.info.n_frames == 24
            assert list(movie.info.paths) == files
            np.testing.assert_array_equal(movie.read(0, 24), FRAMES)
            np.testing.assert_array_equal(movie.read(9, 12), FRAMES[9:12])
            assert movie.read(24, 24).shape == (0, 9, 8)


def test_a_list_keeps_its_order(tmp_path: Path) -> None:
    files = parts(tmp_path)
    with open_movie([files[1], files[0]]) as movie:
        np.testing.assert_array_equal(movie.read(0, 11), np.r_[FRAMES[10:11], FRAMES[:10]])


def test_patterns_may_span_folders_and_formats(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"run{number}").mkdir()
        dax(tmp_path / f"run{number}" / "m.dax", FRAMES[12 * number - 12 : 12 * number])
    with open_movie(str(tmp_path / "run*" / "*.dax")) as movie:
        np.testing.assert_array_equal(movie.read(0, 24), FRAMES)


def test_a_name_with_brackets_is_a_file_when_it_exists(tmp_path: Path) -> None:
    path = tiff_pages(tmp_path / "movie[1].tif", FRAMES)
    assert open_movie(str(path)).info.n_frames == 24


def test_few_files_are_open_at_a_time(tmp_path: Path) -> None:
    with open_movie(folder_of_tiffs(tmp_path / "many", FRAMES)) as movie:
        np.testing.assert_array_equal(movie.read(0, 24), FRAMES)
        assert len(movie._open) <= OPEN_FILES < 24  # type: ignore[attr-defined]


def test_odd_files_are_named(tmp_path: Path) -> None:
    parts(tmp_path)
    tiff_pages(tmp_path / "part_99.tif", FRAMES[:2, :5])
    with pytest.raises(MovieError, match=r"rows 9 and part_99.tif has 5"):
        open_movie(tmp_path)
    tiff_pages(tmp_path / "part_99.tif", FRAMES[:2].astype("float32"))
    with pytest.raises(MovieError, match=r"uint16 and part_99.tif has float32"):
        open_movie(tmp_path)


def test_a_truncated_part_ends_the_movie(tmp_path: Path) -> None:
    files = parts(tmp_path, (10, 8, 6))
    with tifffile.TiffFile(files[1]) as tif:
        inside = tif.pages[3].dataoffsets[0] + 5
    files[1].write_bytes(files[1].read_bytes()[:inside])
    with pytest.raises(TruncatedMovieError, match=r"part_5.tif ends early") as caught:
        open_movie(tmp_path)
    assert caught.value.readable_frames == 13
    with open_movie(tmp_path, allow_truncated=True) as movie:
        assert movie.info.n_frames == 13
        assert "1 come after it" in movie.info.notes[-1]
        np.testing.assert_array_equal(movie.read(0, 13), FRAMES[:13])


def ome_pair(folder: Path) -> list[Path]:
    """Two files of one OME-TIFF, as Micro-Manager splits long movies."""
    names = ["m_a.ome.tif", "m_b.ome.tif"]
    blocks = "".join(
        f'<TiffData FirstT="{12 * number}" FirstC="0" FirstZ="0" IFD="0" PlaneCount="12">'
        f'<UUID FileName="{name}">urn:uuid:{number}</UUID></TiffData>'
        for number, name in reversed(list(enumerate(names)))
    )
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="8" '
        'SizeY="9" SizeC="1" SizeZ="1" SizeT="24" PhysicalSizeX="0.107" PhysicalSizeY="0.107">'
        f"{blocks}</Pixels></Image></OME>"
    )
    for number, name in enumerate(names):
        with tifffile.TiffWriter(folder / name) as tif:
            for frame in FRAMES[12 * number : 12 * number + 12]:
                tif.write(frame, contiguous=False, metadata=None, description=xml)
    return [folder / name for name in names]


def test_ome_files_belong_together(tmp_path: Path) -> None:
    files = ome_pair(tmp_path)
    for file in files:
        with open_movie(file) as movie:
            assert list(movie.info.paths) == files
            assert movie.info.pixel_size_nm == pytest.approx(107)
            np.testing.assert_array_equal(movie.read(0, 24), FRAMES)
    files[1].unlink()
    with pytest.raises(MovieError, match=r"m_b\.ome\.tif .*not beside it"):
        open_movie(files[0])


def test_a_folder_of_ome_files_counts_each_frame_once(tmp_path: Path) -> None:
    ome_pair(tmp_path)
    with open_movie(tmp_path) as movie:
        assert movie.info.n_frames == 24
        np.testing.assert_array_equal(movie.read(0, 24), FRAMES)


@pytest.mark.parametrize(
    ("options", "expected_nm"),
    [
        ({"resolution": (72, 72), "resolutionunit": "inch"}, None),
        ({"resolution": (300, 300), "resolutionunit": "inch"}, None),
        ({"resolution": (1, 1), "resolutionunit": "none"}, None),
        ({"resolution": (1e7 / 160, 1e7 / 160), "resolutionunit": "centimeter"}, 160.0),
        ({"resolution": (1e7 / 160, 1e7 / 80), "resolutionunit": "centimeter"}, None),
        ({"imagej": True, "resolution": (1 / 0.1, 1 / 0.1), "metadata": {"unit": "um"}}, 100.0),
        ({"imagej": True, "resolution": (10, 10), "metadata": {"unit": "micron"}}, 100.0),
        ({"imagej": True, "resolution": (0.01, 0.01), "metadata": {"unit": "nm"}}, 100.0),
        ({"imagej": True, "resolution": (1, 1), "metadata": {"unit": "pixel"}}, None),
        ({"imagej": True, "resolution": (72, 72), "metadata": {"unit": "inch"}}, None),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.13, "PhysicalSizeY": 0.13}}, 130.0),
        (
            {
                "ome": True,
                "metadata": {
                    "PhysicalSizeX": 130,
                    "PhysicalSizeXUnit": "nm",
                    "PhysicalSizeY": 130,
                    "PhysicalSizeYUnit": "nm",
                },
            },
            130.0,
        ),
        ({"ome": True, "metadata": {"PhysicalSizeX": 1, "PhysicalSizeXUnit": "pixel"}}, None),
    ],
)
def test_pixel_size_comes_from_microscopes_not_from_printers(
    tmp_path: Path, options: dict, expected_nm: float | None
) -> None:
    options = dict(options)
    if "imagej" in options or "ome" in options:
        options["metadata"] = {"axes": "TYX", **options["metadata"]}
    path = tiff_stack(tmp_path / "a.tif", FRAMES, **options)
    found = open_movie(path).info.pixel_size_nm
    assert found == (None if expected_nm is None else pytest.approx(expected_nm, rel=1e-4))


def test_pixel_size_of_picasso(tmp_path: Path) -> None:
    path = picasso_raw(tmp_path / "a.raw", FRAMES, extra="Camera.Pixelsize: 130\n")
    assert open_movie(path).info.pixel_size_nm == 130.0


def test_thumbnails_are_no_frames(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for frame in FRAMES:
            tif.write(frame, contiguous=False, metadata=None)
            tif.write(frame[::2, ::2], contiguous=False, metadata=None, subfiletype=1)
    with open_movie(tmp_path / "a.tif") as movie:
        assert movie.info.n_frames == 24
        np.testing.assert_array_equal(movie.read(0, 24), FRAMES)


def test_frames_written_in_chunks_all_count(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(FRAMES[:20], photometric="minisblack")
        tif.write(FRAMES[20:], photometric="minisblack", contiguous=False)
    with open_movie(tmp_path / "a.tif") as movie:
        assert movie.info.n_frames == 24
        np.testing.assert_array_equal(movie.read(0, 24), FRAMES)


def test_slices_serve_as_frames_with_a_note_in_ome(tmp_path: Path) -> None:
    path = tiff_stack(tmp_path / "a.ome.tif", FRAMES, ome=True, metadata={"axes": "ZYX"})
    info = open_movie(path).info
    assert info.n_frames == 24
    assert "slices (Z)" in info.notes[0]


@pytest.mark.parametrize("photometric", ["miniswhite", "palette"])
def test_display_hints_do_not_change_values(tmp_path: Path, photometric: str) -> None:
    frames = FRAMES.astype("uint8")
    colours = np.zeros((3, 256), "u2") if photometric == "palette" else None
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, frames, photometric=photometric, colormap=colours)
    with open_movie(path) as movie:
        assert "stored values are used" in movie.info.notes[0]
        np.testing.assert_array_equal(movie.read(0, 24), frames)
