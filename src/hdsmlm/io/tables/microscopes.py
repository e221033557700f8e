"""Tables that microscopes write: Zeiss Elyra (text) and ONI Nanoimager (csv).

Both are in nm. Where they count from is not documented; it is taken as the outer corner of the
first pixel.
"""

from __future__ import annotations

from pathlib import Path

from hdsmlm.errors import TableError
from hdsmlm.io.tables.headers import bind
from hdsmlm.io.tables.port import TableInfo
from hdsmlm.io.tables.text import has_headers, read_columns, split_line
from hdsmlm.io.tables.thunderstorm import bound_emitters
from hdsmlm.records.emitters import Emitters

_ORIGIN = "nm, corner or centre not documented, taken as corner; frames from"


class ElyraTable:
    """ZEN's table: tabs, and lines about the movie after the rows."""

    name = "elyra"
    suffixes = (".txt",)
    summary = "Zeiss Elyra (ZEN, tab-separated): positions, precision, photons"
    origin = f"{_ORIGIN} 1 (the first frame of a group)"

    def sniff(self, path: Path) -> bool:
        """The headers are those of ZEN."""
        return has_headers(path, "First Frame", "Position X [nm]", "Position Y [nm]")

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the rows; see :func:`hdsmlm.io.tables.read_table`."""
        try:
            lines = path.read_text(encoding="latin-1").splitlines()
        except OSError as error:
            raise TableError(f"{path}: cannot be read: {error.strerror or error}") from error
        headers, separator = split_line(lines[0] if lines else "")
        bindings = bind(headers, str(path), pixel_size_nm)
        n_rows = next(  # what follows the rows has no separators
            (row for row, line in enumerate(lines[1:]) if separator not in line), len(lines) - 1
        )
        text = "\n".join(lines[1 : 1 + n_rows]).encode()
        places = {entry.index: entry.header for entry in bindings}
        values = read_columns(
            text, str(path), places, len(headers), separator=separator, skip_rows=0
        )
        return bound_emitters(values, bindings, path, first_frame=first_frame, frames_begin=1)

    def info(self, _path: Path) -> TableInfo:
        """The voxels that ZEN states are those of its picture, not the camera's pixels."""
        return TableInfo()


class NanoimagerTable:
    """NimOS's csv."""

    name = "nanoimager"
    suffixes = (".csv",)
    summary = "ONI Nanoimager (NimOS csv): positions, photons, background, all channels"
    origin = f"{_ORIGIN} 0"

    def sniff(self, path: Path) -> bool:
        """The headers are those of NimOS."""
        return has_headers(path, "Channel", "Frame", "X (nm)", "Y (nm)")

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the rows; see :func:`hdsmlm.io.tables.read_table`."""
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            headers, separator = split_line(stream.readline().strip("\r\n"))
        bindings = bind(headers, str(path), pixel_size_nm)
        places = {entry.index: entry.header for entry in bindings}
        values = read_columns(path, str(path), places, len(headers), separator=separator)
        return bound_emitters(values, bindings, path, first_frame=first_frame, frames_begin=0)

    def info(self, _path: Path) -> TableInfo:
        """The file says nothing of its movie."""
        return TableInfo()
