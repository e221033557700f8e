"""Writers of small movies in every format that the tests read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

Frames = NDArray[np.generic]


def random_frames(shape: tuple[int, int, int] = (7, 12, 10), dtype: str = "uint16") -> Frames:
    return np.random.default_rng(5).integers(90, 4000, shape).astype(dtype)


def tiff_pages(path: Path, frames: Frames, **options: object) -> Path:
    """One page at a time, as cameras write them."""
    with tifffile.TiffWriter(path, bigtiff=bool(options.pop("bigtiff", False))) as tif:
        for frame in frames:
            tif.write(frame, contiguous=False, metadata=None, photometric="minisblack", **options)
    return path


def tiff_stack(path: Path, frames: Frames, **options: object) -> Path:
    tifffile.imwrite(path, frames, photometric="minisblack", **options)
    return path


def dax(path: Path, frames: Frames, *, order: str = ">", promised: int | None = None) -> Path:
    path.write_bytes(frames.astype(f"{order}u2").tobytes())
    endian = "big" if order == ">" else "little"
    path.with_suffix(".inf").write_text(
        f"binning = 1 x 1\ndata type = 16 bit integers (binary, {endian} endian)\n"
        f"frame dimensions = {frames.shape[2]} x {frames.shape[1]}\n"
        f"number of frames = {len(frames) if promised is None else promised}\n"
    )
    return path


def picasso_raw(path: Path, frames: Frames, *, order: str = "<", extra: str = "") -> Path:
    path.write_bytes(frames.astype(f"{order}u2").tobytes())
    path.with_suffix(".yaml").write_text(
        f"Byte Order: '{order}'\nData Type: uint16\nFrames: {len(frames)}\n"
        f"Height: {frames.shape[1]}\nWidth: {frames.shape[2]}\n{extra}---\nBox size: 7\n"
    )
    return path


def spe(path: Path, frames: Frames, *, version: float = 2.5, padding: int = 0) -> Path:
    """SPE 2.5, or 3.0 with ``padding`` bytes of metadata behind each frame and an XML footer."""
    code = {"uint16": 3, "float32": 0, "int16": 2, "int32": 1, "uint8": 6, "uint32": 8}
    head = bytearray(4100)
    struct.pack_into("<H", head, 42, frames.shape[2])
    struct.pack_into("<h", head, 108, code[frames.dtype.name])
    struct.pack_into("<H", head, 656, frames.shape[1])
    struct.pack_into("<i", head, 1446, len(frames))
    struct.pack_into("<f", head, 1992, version)
    struct.pack_into("<H", head, 4098, 0x5555)
    body = b"".join(frame.tobytes() + b"\7" * padding for frame in frames)
    footer = b""
    if version >= 3:
        struct.pack_into("<Q", head, 678, len(head) + len(body))
        size = frames[0].nbytes
        footer = (
            f'<SpeFormat version="3.0"><DataFormat><DataBlock type="Frame" count="{len(frames)}" '
            f'size="{size}" stride="{size + padding}"><DataBlock type="Region" count="1" '
            f'size="{size}" stride="{size}" /></DataBlock></DataFormat></SpeFormat>'
        ).encode()
    path.write_bytes(bytes(head) + body + footer)
    return path


def folder_of_tiffs(path: Path, frames: Frames) -> Path:
    path.mkdir()
    for number, frame in enumerate(frames):
        tifffile.imwrite(path / f"frame{number + 5}.tif", frame)
    return path


def imagej_one_page(path: Path, frames: Frames) -> Path:
    """The layout of ImageJ beyond 4 GB: one page, the other frames right behind it."""
    with tifffile.TiffWriter(path, imagej=True) as tif:
        tif.write(frames, truncate=True, metadata={"axes": "TYX"})
    with tifffile.TiffFile(path) as tif:
        assert len(tif.pages) == 1
    return path


MOVIES: dict[str, Callable[[Path, Frames], Path]] = {
    "tiff pages": lambda p, f: tiff_pages(p / "a.tif", f),
    "tiff stack": lambda p, f: tiff_stack(p / "a.tiff", f),
    "tiff without extension": lambda p, f: tiff_stack(p / "movie", f),
    "big-endian tiff": lambda p, f: tiff_stack(p / "a.tif", f, byteorder=">"),
    "bigtiff": lambda p, f: tiff_pages(p / "a.tif", f, bigtiff=True),
    "zlib tiff": lambda p, f: tiff_pages(p / "a.tif", f, compression="zlib"),
    "zlib predictor tiff": lambda p, f: tiff_pages(
        p / "a.tif", f, compression="zlib", predictor=True
    ),
    "tiled tiff": lambda p, f: tiff_stack(p / "a.tif", f, tile=(16, 16)),
    "many strips": lambda p, f: tiff_stack(p / "a.tif", f, rowsperstrip=3),
    "imagej": lambda p, f: tiff_stack(p / "a.tif", f, imagej=True, metadata={"axes": "TYX"}),
    "imagej slices": lambda p, f: tiff_stack(p / "a.tif", f, imagej=True, metadata={"axes": "ZYX"}),
    "imagej one page": lambda p, f: imagej_one_page(p / "a.tif", f),
    "ome": lambda p, f: tiff_stack(p / "a.ome.tif", f, ome=True, metadata={"axes": "TYX"}),
    "folder": lambda p, f: folder_of_tiffs(p / "folder", f),
    "dax big": lambda p, f: dax(p / "a.dax", f),
    "dax little": lambda p, f: dax(p / "a.dax", f, order="<"),
    "picasso raw": lambda p, f: picasso_raw(p / "a.raw", f),
    "picasso raw big": lambda p, f: picasso_raw(p / "a.raw", f, order=">"),
    "spe 2": lambda p, f: spe(p / "a.SPE", f),
    "spe 3": lambda p, f: spe(p / "a.spe", f, version=3.0),
    "spe 3 with metadata": lambda p, f: spe(p / "a.spe", f, version=3.0, padding=24),
}
