"""ThunderSTORM's csv, and the csv, tsv and txt of others that have headers of its kind.

Reading accepts ThunderSTORM (2D, 3D; Ovesny et al., Bioinformatics 2014), the truth of the SMLM
challenge and similar tables: headers in any case, with or without a unit in brackets, separated by
comma, semicolon or tab. Lengths without a unit are nanometres; pixels count from the outer corner
of the first pixel.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from hdsmlm.errors import TableError
from hdsmlm.io.tables.headers import (
    FIRST_FRAME_ON_DISK,
    ID_HEADER,
    LATERAL_UNCERTAINTY,
    Binding,
    bind,
    native_header,
)
from hdsmlm.io.tables.port import TableInfo
from hdsmlm.io.tables.rows import Source, emitters_from_columns
from hdsmlm.io.tables.sidecar import documents, info_from, read_sidecar, write_sidecar
from hdsmlm.io.tables.text import head_lines, read_columns, read_head, split_line
from hdsmlm.io.writing import atomic_path, writing
from hdsmlm.records.columns import COLUMNS, REQUIRED
from hdsmlm.records.emitters import Emitters

if TYPE_CHECKING:
    from numpy.typing import NDArray

NM_DECIMALS = 4
"""Lengths are written to 1e-4 nm."""
SIGNIFICANT_DIGITS = 9
"""All other real numbers are written to so many digits."""
_BINARY = (b"\x00", b"\x80", b"PK\x03\x04", b"\x1f\x8b")
"""No table of text begins so: pickles, archives."""


class ThunderstormTable:
    """The csv format."""

    name = "thunderstorm"
    suffixes = (".csv", ".txt", ".tsv")
    summary = "ThunderSTORM, and any csv with a line of recognizable headers"
    origin = "nm from the outer corner; frames from 1 (from 0 if a row lies in frame 0)"

    def sniff(self, path: Path) -> bool:
        """Every file of text is tried as a table with headers."""
        head = read_head(path, 4096)
        return not (head.startswith(_BINARY) or b"\x00" in head)

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the rows; see :func:`hdsmlm.io.tables.read_table`."""
        headers, separator = _read_headers(path)
        bindings = bind(headers, str(path), pixel_size_nm)
        places = {binding.index: binding.header for binding in bindings}
        values = read_columns(path, str(path), places, len(headers), separator=separator)
        return bound_emitters(values, bindings, path, first_frame=first_frame)

    def info(self, path: Path) -> TableInfo:
        """Return what the sidecar says, where there is one."""
        sidecar = sidecar_path(path)
        return info_from(read_sidecar(sidecar), str(sidecar))

    def write(self, path: Path, emitters: Emitters, info: TableInfo) -> None:
        """Write the table; lengths to 1e-4 nm, frames 1-based, one line of headers."""
        rows = _rows(path, emitters)
        with atomic_path(path) as temporary:
            rows.write_csv(temporary)
        _write_info(path, info)

    def open_writer(
        self, path: Path, names: tuple[str, ...], info: TableInfo
    ) -> ThunderstormWriter:
        """Return a writer whose bytes equal those of one write of all rows."""
        return ThunderstormWriter(path, names, info)


class ThunderstormWriter:
    """Appends emitters to one csv file; the bytes equal those of one write of all of them.

    The file takes its name when the block ends without an error.

    Parameters
    ----------
    path : Path
        Is replaced when it exists.
    names : tuple of str
        Columns of every piece, in registry order; they make the headers of an empty table too.
    info : TableInfo
        Goes into the sidecar, where something is known.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """

    def __init__(self, path: Path, names: tuple[str, ...], info: TableInfo) -> None:
        self._path = path
        self._names = names
        self._info = info
        self._rows = 0
        self._stack = ExitStack()
        self._stream: BinaryIO

    def __enter__(self) -> ThunderstormWriter:
        part = self._stack.enter_context(atomic_path(self._path))
        with writing(self._path):
            self._stream = self._stack.enter_context(part.open("wb"))
            _rows(self._path, Emitters.empty(self._names)).write_csv(self._stream)
        return self

    def append(self, emitters: Emitters) -> None:
        """Add rows, which must follow those before in time."""
        if len(emitters) == 0:
            return
        rows = _rows(self._path, emitters, first_row=self._rows)
        with writing(self._path):
            rows.write_csv(self._stream, include_header=False)
        self._rows += len(emitters)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            _write_info(self._path, self._info)


def sidecar_path(path: Path) -> Path:
    """Return where the movie and the provenance of a csv are kept: ``table.csv.yaml``."""
    return path.with_name(path.name + ".yaml")


def _write_info(path: Path, info: TableInfo) -> None:
    """Write the sidecar; an old one, which tells of other rows, must not stay."""
    if info != TableInfo():
        write_sidecar(sidecar_path(path), documents(info))
        return
    with writing(path):
        sidecar_path(path).unlink(missing_ok=True)


def bound_emitters(
    values: dict[int, NDArray[np.float64]],
    bindings: list[Binding],
    path: Path,
    *,
    first_frame: int | None,
    frames_begin: int | None = None,
    first_line: int | None = 2,
) -> Emitters:
    """Return the emitters of columns that were bound by their headers."""
    source = Source(str(path), {entry.name: entry.header for entry in bindings}, first_line)
    columns = {
        entry.name: values[entry.index] * entry.factor
        if entry.factor != 1.0
        else values[entry.index]
        for entry in bindings
    }
    return emitters_from_columns(
        columns, source, frames_begin=frames_begin, first_frame=first_frame
    )


def require_finite_positions(path: Path, emitters: Emitters) -> None:
    """Refuse to write rows without a place.

    Raises
    ------
    TableError
        When a required column is not finite; ``path`` is named.
    """
    for name in REQUIRED:
        if not np.isfinite(emitters[name]).all():
            raise TableError(f"{path}: column '{name}' holds NaN or infinity; not written")


def _rows(path: Path, emitters: Emitters, first_row: int = 0) -> Any:
    """Return the polars frame of a table as it stands in the file, ``first_row`` rows before it."""
    import polars as pl

    require_finite_positions(path, emitters)
    columns: dict[str, Any] = {ID_HEADER: first_row + np.arange(1, len(emitters) + 1)}
    rounding = []
    for name in emitters.names:
        values, header = emitters[name], native_header(name)
        if name == "uncertainty_x_nm" and "uncertainty_y_nm" in emitters:
            lateral = np.sqrt((values**2 + emitters["uncertainty_y_nm"] ** 2) / 2)
            columns[LATERAL_UNCERTAINTY] = lateral
            rounding.append(pl.col(LATERAL_UNCERTAINTY).round(NM_DECIMALS))
        if name == "frame":
            values = values.astype(np.int64) + FIRST_FRAME_ON_DISK
        columns[header] = values
        if COLUMNS[name].dtype.startswith("float"):
            column = pl.col(header)
            in_nm = COLUMNS[name].unit == "nm"
            rounding.append(
                column.round(NM_DECIMALS) if in_nm else column.round_sig_figs(SIGNIFICANT_DIGITS)
            )
    return pl.DataFrame(columns).with_columns(rounding)


def _read_headers(path: Path) -> tuple[list[str], str]:
    line = next(iter(head_lines(path)), "")
    if not line.strip():
        raise TableError(
            f"{path}: the table is empty; a line of headers ('frame', 'x [nm]', 'y [nm]', ...) "
            "was wanted"
        )
    headers, separator = split_line(line)
    if all(_is_number(header) for header in headers):
        raise TableError(
            f"{path}: the first line holds only numbers; a line of headers ('frame', 'x [nm]', "
            "'y [nm]', ...) was wanted. Add one at the top"
        )
    return headers, separator


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
