"""What the descriptions inside a TIFF say: axes, pixel size, frames that no page lists."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdsmlm.errors import MovieError
from hdsmlm.io.movies.frames import plausible_pixel_size_nm

_UNIT_NM = {
    "nm": 1.0,
    "nanometer": 1.0,
    "µm": 1e3,
    "μm": 1e3,
    "\\u00b5m": 1e3,
    "um": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "mm": 1e6,
    "cm": 1e7,
    "m": 1e9,
    "inch": 2.54e7,
    "å": 0.1,
    "pm": 1e-3,
}
_RESOLUTION_UNIT_NM = {2: 2.54e7, 3: 1e7}
_SPLIT_HINT = "Split it and give one of them as a movie (in Fiji: Image > Color > Split Channels)"


@dataclass(frozen=True)
class TiffMetadata:
    """Facts from the descriptions.

    Parameters
    ----------
    promised_frames : int
        Frames that the description promises; 0 when it is silent.
    pixel_size_nm : float or None
        Side of a pixel in the sample plane.
    files : tuple of Path
        Files of a multi-file OME-TIFF in frame order; empty otherwise.
    notes : tuple of str
        Remarks for the user.
    """

    promised_frames: int = 0
    pixel_size_nm: float | None = None
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def describe(tif: Any, path: Path) -> TiffMetadata:
    """Interpret ImageJ, OME, MetaMorph and tifffile descriptions of an open ``TiffFile``.

    Raises
    ------
    MovieError
        When they describe more than a stack of grey images over time: channels, or time and depth.
    """
    if tif.is_imagej:
        return _imagej(tif, path)
    if tif.is_ome:
        return _ome(tif, path)
    pixel = _resolution_tags(tif)
    if tif.is_stk:
        planes = int((tif.stk_metadata or {}).get("NumberPlanes", 0))
        return TiffMetadata(planes, pixel)
    if tif.is_shaped:
        noted: dict[str, Any] = (tif.shaped_metadata or ({},))[0]
        return TiffMetadata(
            _shaped_frames(noted.get("shape", ()), tif.pages.first.shape, path), pixel
        )
    return TiffMetadata(0, pixel)


def require_one_long_axis(sizes: dict[str, int], path: Path) -> tuple[str, ...]:
    """Check the lengths of the axes c, z and t; return a note when depth serves as time.

    Raises
    ------
    MovieError
        For several channels, or for depth and time together.
    """
    if sizes.get("c", 1) > 1:
        raise MovieError(
            f"{path}: a movie of one channel was wanted, but axis C has {sizes['c']} channels. "
            f"{_SPLIT_HINT}"
        )
    if sizes.get("z", 1) > 1 and sizes.get("t", 1) > 1:
        raise MovieError(
            f"{path}: a movie over time was wanted, but it has {sizes['z']} slices along axis Z at "
            f"{sizes['t']} time points along axis T. Save one slice over time as a movie of its "
            "own (in Fiji: Image > Duplicate..., one slice, all frames)"
        )
    if sizes.get("z", 1) > 1:
        return (f"its {sizes['z']} images are labelled as slices (Z); they are taken as frames",)
    return ()


def _imagej(tif: Any, path: Path) -> TiffMetadata:
    values = tif.imagej_metadata or {}
    sizes = {
        axis: int(values.get(name, 1))
        for axis, name in (("c", "channels"), ("z", "slices"), ("t", "frames"))
    }
    require_one_long_axis(sizes, path)
    unit_nm = _UNIT_NM.get(str(values.get("unit", "")).strip().lower())
    pixel = None
    if unit_nm is not None:
        x, y = (_ratio(tif, tag) for tag in ("XResolution", "YResolution"))
        pixel = plausible_pixel_size_nm(unit_nm / x if x else None, unit_nm / y if y else None)
    return TiffMetadata(int(values.get("images", 0)), pixel)


def _ome(tif: Any, path: Path) -> TiffMetadata:
    try:
        root = ElementTree.fromstring(tif.ome_metadata)
    except (ElementTree.ParseError, TypeError):
        return TiffMetadata(notes=("its OME description is not readable and was ignored",))
    pixels = [node for node in root.iter() if node.tag.rpartition("}")[2] == "Pixels"]
    if not pixels:
        return TiffMetadata()
    if len(pixels) > 1:
        raise MovieError(
            f"{path}: one movie was wanted, but this OME-TIFF holds {len(pixels)} image series. "
            "Export one of them as a movie of its own"
        )
    node = pixels[0]
    sizes = {axis: int(node.get(f"Size{axis.upper()}", 1)) for axis in "czt"}
    notes = require_one_long_axis(sizes, path)
    lengths = []
    for axis in "XY":
        value = node.get(f"PhysicalSize{axis}")
        unit_nm = _UNIT_NM.get(node.get(f"PhysicalSize{axis}Unit", "µm").lower())
        lengths.append(float(value) * unit_nm if value and unit_nm else None)
    return TiffMetadata(
        promised_frames=0,
        pixel_size_nm=plausible_pixel_size_nm(*lengths),
        files=_ome_files(node, path),
        notes=notes,
    )


def _ome_files(pixels: Any, path: Path) -> tuple[Path, ...]:
    """Return the files that an OME description names, by their first plane; () when it is one."""
    first_plane: dict[str, int] = {}
    for order, block in enumerate(pixels):
        if block.tag.rpartition("}")[2] != "TiffData":
            continue
        plane = max(int(block.get("FirstT", 0)), int(block.get("FirstZ", 0))) or order
        for child in block:
            name = child.get("FileName")
            if name and Path(name).name != name:
                raise MovieError(
                    f"{path}: its OME description names files in other folders; copy all files of "
                    "the movie to one folder and save it again"
                )
            if name:
                first_plane[name] = min(plane, first_plane.get(name, plane))
    if len(first_plane) < 2 or path.name not in first_plane:
        return ()
    files = tuple(path.parent / name for name in sorted(first_plane, key=lambda n: first_plane[n]))
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise MovieError(
            f"{path}: this OME-TIFF is one of {len(files)} files, but {', '.join(missing[:3])} "
            f"({len(missing)} in all) is not beside it. Copy all files to one folder, or give the "
            "existing files as a list or pattern after saving them as plain TIFF"
        )
    return files


def _shaped_frames(shape: tuple[int, ...], page_shape: tuple[int, ...], path: Path) -> int:
    """Return the frames of a shape that tifffile noted; refuse more than one long leading axis."""
    leading = [int(size) for size in shape[: max(0, len(shape) - len(page_shape))]]
    long_axes = [size for size in leading if size > 1]
    if len(long_axes) > 1:
        raise MovieError(
            f"{path}: a movie with the axes (t, y, x) was wanted, but its description says shape "
            f"{tuple(shape)}. Save one (t, y, x) part of it as a movie of its own"
        )
    return long_axes[0] if long_axes else 1


def _ratio(tif: Any, tag: str) -> float:
    value = tif.pages.first.tags.get(tag)
    if value is None:
        return 0.0
    try:
        numerator, denominator = value.value
        return float(numerator) / float(denominator)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0


def _resolution_tags(tif: Any) -> float | None:
    unit = tif.pages.first.tags.get("ResolutionUnit")
    unit_nm = _RESOLUTION_UNIT_NM.get(int(unit.value)) if unit is not None else None
    x, y = _ratio(tif, "XResolution"), _ratio(tif, "YResolution")
    if unit_nm is None or not x or not y:
        return None
    return plausible_pixel_size_nm(unit_nm / x, unit_nm / y)
