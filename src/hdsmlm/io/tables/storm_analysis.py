"""Tables of storm-analysis (Babcock, Zhuang lab): its HDF5, and Insight3's ``.bin``.

In the HDF5 each frame is a group ``fr_0``, ``fr_1``, ... with one dataset per property; ``x`` and
``y`` in pixels, 0 at the CENTRE of the first pixel, ``x`` along the columns; ``z`` in µm; ``sum``
in photo-electrons. Insight3 counts pixels and frames from 1 and has ``z`` and the full width
``w = 2·sigma`` in nm. Positions are those that were fitted: a drift that is stored with the frames
is not applied.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import TableError
from hdsmlm.io.tables.hdf5 import is_hdf5, member, numbers, open_hdf5
from hdsmlm.io.tables.port import TableInfo, require_pixel_size
from hdsmlm.io.tables.rows import Source, emitters_from_columns, geometric_mean
from hdsmlm.io.tables.text import read_head
from hdsmlm.records.emitters import Emitters
from hdsmlm.units import NM_PER_UM, centre_to_corner_px, px_to_nm

_FRAME = re.compile(r"fr_(\d+)")
_FIELDS = ("x", "y", "z", "sum", "background", "xsigma", "ysigma", "track_id")
_I3_MAGIC = b"M425"
_I3_HEADER_BYTES = 16
_I3_CLOSED = 6
_I3_FLOATS = ("x", "y", "xc", "yc", "h", "a", "w", "phi", "ax", "bg", "i")
INSIGHT3_RECORD = np.dtype(
    [(name, "<f4") for name in _I3_FLOATS]
    + [(name, "<i4") for name in ("c", "fi", "fr", "tl", "lk")]
    + [("z", "<f4"), ("zc", "<f4")]
)


class StormAnalysisTable:
    """The HDF5 of storm-analysis."""

    name = "storm-analysis"
    suffixes = (".hdf5",)
    summary = "storm-analysis (3D-DAOSTORM, sCMOS, Spliner): positions, photons, background, width"
    origin = "pixels from the centre of the first pixel; frames from 0"

    def sniff(self, path: Path) -> bool:
        """An HDF5 file with the attributes that storm-analysis writes."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return "sa_type" in file.attrs and "version" in file.attrs

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the rows; see :func:`hdsmlm.io.tables.read_table`."""
        if pixel_size_nm is None:
            pixel_size_nm = self.info(path).pixel_size_nm
        size = require_pixel_size(pixel_size_nm, str(path), "positions are in pixels")
        found = _frames(path)
        columns = {
            "frame": found["frame"],
            "x_nm": px_to_nm(centre_to_corner_px(found["x"]), size),
            "y_nm": px_to_nm(centre_to_corner_px(found["y"]), size),
        }
        if "z" in found:
            columns["z_nm"] = found["z"] * NM_PER_UM
        for name, field in (("photons", "sum"), ("background", "background")):
            if field in found:
                columns[name] = found[field]
        if "xsigma" in found:
            width = geometric_mean(found["xsigma"], found.get("ysigma", found["xsigma"]))
            columns["sigma_nm"] = width * size
        if "track_id" in found:
            columns["blink_id"] = found["track_id"]
        return emitters_from_columns(
            columns, Source(str(path)), frames_begin=0, first_frame=first_frame
        )

    def info(self, path: Path) -> TableInfo:
        """Return the attributes of the file."""
        with open_hdf5(path) as file:
            attributes = dict(file.attrs)
        size = attributes.get("pixel_size")
        shape = [attributes.get(key) for key in ("movie_l", "movie_y", "movie_x")]
        n_frames, height, width = (None if found is None else int(found) for found in shape)
        return TableInfo(None if size is None else float(size), n_frames, height, width)


def _frames(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the fields that every frame with rows has, one frame after the other."""
    with open_hdf5(path) as file:
        numbered = sorted((int(m[1]), m[0]) for m in map(_FRAME.fullmatch, file) if m is not None)
        pieces: list[dict[str, NDArray[np.float64]]] = []
        for number, name in numbered:
            group = member(file, name, "group")
            if group is None or "x" not in group or len(group["x"]) == 0:
                continue
            piece = {
                field: numbers(group[field], str(path)).astype(np.float64)
                for field in _FIELDS
                if field in group
            }
            piece["frame"] = np.full(len(piece["x"]), float(number))
            pieces.append(piece)
    if not pieces:
        return {name: np.empty(0) for name in ("frame", "x", "y")}
    shared = [name for name in pieces[0] if all(name in piece for piece in pieces)]
    if "y" not in shared:
        raise TableError(f"{path}: its frames have no 'y'; is the file damaged?")
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in shared}


class Insight3Table:
    """Insight3's molecule list, which older storm-analysis wrote."""

    name = "insight3"
    suffixes = (".bin",)
    summary = "Insight3 molecule lists (`.bin`) of older storm-analysis"
    origin = "pixels, 1 at the centre of the first pixel; frames from 1"

    def sniff(self, path: Path) -> bool:
        """The file begins with its version."""
        return read_head(path, len(_I3_MAGIC)) == _I3_MAGIC

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the rows; see :func:`hdsmlm.io.tables.read_table`."""
        if pixel_size_nm is None:
            pixel_size_nm = self.info(path).pixel_size_nm
        size = require_pixel_size(pixel_size_nm, str(path), "positions are in pixels")
        records = _insight3(path)
        columns: dict[str, Any] = {
            "frame": records["fr"],
            "x_nm": px_to_nm(records["x"].astype(np.float64) - 0.5, size),
            "y_nm": px_to_nm(records["y"].astype(np.float64) - 0.5, size),
            "z_nm": records["z"],
            "photons": records["a"],
            "background": records["bg"],
            "sigma_nm": records["w"] / 2,
        }
        return emitters_from_columns(
            columns, Source(str(path)), frames_begin=1, first_frame=first_frame
        )

    def info(self, path: Path) -> TableInfo:
        """Return what the settings after the list say, where there are some."""
        n_rows = _insight3_rows(path)
        with path.open("rb") as stream:
            stream.seek(_I3_HEADER_BYTES + n_rows * INSIGHT3_RECORD.itemsize + 4)
            text = stream.read()
        if not text.startswith(b"<?xml") or b"<!DOCTYPE" in text:
            return TableInfo()
        try:
            root = ElementTree.fromstring(text)
            found = root.findtext(".//pixel_size")
            return TableInfo(None if found is None else float(found))
        except (ElementTree.ParseError, ValueError) as error:
            raise TableError(f"{path}: the settings after the list are damaged: {error}") from error


def _insight3_rows(path: Path) -> int:
    head = read_head(path, _I3_HEADER_BYTES)
    if len(head) < _I3_HEADER_BYTES:
        raise TableError(f"{path}: the file ends within its header; copy it again")
    _, status, n_rows = (int(value) for value in np.frombuffer(head[4:], "<i4"))
    needed = _I3_HEADER_BYTES + n_rows * INSIGHT3_RECORD.itemsize
    if status != _I3_CLOSED or n_rows < 0 or path.stat().st_size < needed:
        raise TableError(
            f"{path}: the molecule list was not closed or is cut off: its header says {n_rows} "
            f"rows and status {status} ({_I3_CLOSED} is complete). Copy it again, or finish the run"
        )
    return n_rows


def _insight3(path: Path) -> NDArray[Any]:
    n_rows = _insight3_rows(path)
    return np.fromfile(path, INSIGHT3_RECORD, count=n_rows, offset=_I3_HEADER_BYTES)
