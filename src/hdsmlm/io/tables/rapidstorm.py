"""Tables of rapidSTORM 3 (Wolter et al., Nat. Methods 2012): text whose first line is XML.

The XML names each column and its unit; fields are separated by spaces; frames count from 0. The
origin is not documented; it is taken as the outer corner of the first pixel. An amplitude in camera
counts is no number of photons and is left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import TableError
from hdsmlm.io.tables.port import TableInfo, require_pixel_size
from hdsmlm.io.tables.rows import Source, emitters_from_columns
from hdsmlm.io.tables.text import HEAD_BYTES, read_head
from hdsmlm.records.emitters import Emitters

_START = b"# <localizations"
_POSITION = re.compile(r"Position-([012])-0(-uncertainty)?")
_NM = {"nanometer": 1.0, "nm": 1.0, "micrometer": 1e3, "um": 1e3, "meter": 1e9, "m": 1e9}
_PHOTONS = {"Amplitude-0-0": "photons", "LocalBackground-0-0": "background"}


class RapidStormTable:
    """The localizations file of rapidSTORM."""

    name = "rapidstorm"
    suffixes = (".txt",)
    summary = "rapidSTORM 3 (text with an XML header): positions, uncertainties, photons"
    origin = "nm (or pixels), corner or centre not documented, taken as corner; frames from 0"

    def sniff(self, path: Path) -> bool:
        """The file begins with rapidSTORM's header."""
        return read_head(path, len(_START)) == _START

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the rows; see :func:`hdsmlm.io.tables.read_table`."""
        places: dict[str, tuple[int, float]] = {}
        for place, (identifier, unit) in enumerate(_fields(path)):
            bound = _bind(identifier, unit, str(path), pixel_size_nm)
            if bound is not None:
                places[bound[0]] = (place, bound[1])
        values = _rows(path, [place for place, _ in places.values()])
        columns = {
            name: values[:, index] * factor
            for index, (name, (_, factor)) in enumerate(places.items())
        }
        return emitters_from_columns(
            columns, Source(str(path), first_line=2), frames_begin=0, first_frame=first_frame
        )

    def info(self, _path: Path) -> TableInfo:
        """The file says nothing of its movie."""
        return TableInfo()


def _fields(path: Path) -> list[tuple[str, str]]:
    """Return identifier and unit of every column."""
    line = read_head(path).split(b"\n", 1)[0]
    if len(line) >= HEAD_BYTES or b"<!" in line:
        raise TableError(f"{path}: the first line is not the XML header of rapidSTORM")
    try:
        root = ElementTree.fromstring(line.lstrip(b"# "))
    except ElementTree.ParseError as error:
        raise TableError(
            f"{path}: the XML in the first line is damaged ({error}); copy the file again"
        ) from error
    return [(field.get("identifier", ""), field.get("unit", "")) for field in root.iter("field")]


def _bind(
    identifier: str, unit: str, source: str, pixel_size_nm: float | None
) -> tuple[str, float] | None:
    """Return our name and what turns the file's unit into ours; None for other columns."""
    if identifier.startswith("ImageNumber-0-0"):
        return "frame", 1.0
    if identifier in _PHOTONS and unit.startswith("photon"):
        return _PHOTONS[identifier], 1.0
    match = _POSITION.fullmatch(identifier)
    if match is None:
        return None
    axis = "xyz"[int(match[1])]
    name = f"uncertainty_{axis}_nm" if match[2] else f"{axis}_nm"
    if unit == "pixel":
        return name, require_pixel_size(pixel_size_nm, source, f"'{identifier}' is in pixels")
    if unit not in _NM:
        raise TableError(f"{source}: '{identifier}' has the unit '{unit}'; nanometer was wanted")
    return name, _NM[unit]


def _rows(path: Path, places: list[int]) -> NDArray[np.float64]:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input contained no data")
            rows = np.loadtxt(path, comments="#", usecols=places, ndmin=2, encoding="latin-1")
    except (ValueError, OSError) as error:
        raise TableError(f"{path}: the rows cannot be read as numbers ({error})") from error
    return rows.reshape(-1, len(places))
