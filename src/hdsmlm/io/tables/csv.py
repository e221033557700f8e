"""Emitter tables as csv: the native ThunderSTORM-like layout, and what others write.

Reading accepts ThunderSTORM (2D, 3D), the truth of the SMLM challenge and similar tables: headers
in any case, with or without a unit in brackets, separated by comma, semicolon or tab. Lengths
without a unit are nanometres; pixels count from the outer corner of the first pixel.
"""

from __future__ import annotations

import csv as textcsv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hdsmlm.errors import TableError
from hdsmlm.io.tables.headers import (
    FIRST_FRAME_ON_DISK,
    ID_HEADER,
    Binding,
    bind,
    native_header,
)
from hdsmlm.io.writing import atomic_path
from hdsmlm.records.columns import COLUMNS, REQUIRED
from hdsmlm.records.emitters import Emitters

if TYPE_CHECKING:
    from numpy.typing import NDArray

NM_DECIMALS = 4
"""Lengths are written to 1e-4 nm."""
SIGNIFICANT_DIGITS = 9
"""All other real numbers are written to so many digits."""


class CsvTable:
    """The csv format."""

    name = "csv"
    extensions = (".csv", ".txt", ".tsv")

    def write(self, path: Path, emitters: Emitters) -> None:
        """Write the table; lengths to 1e-4 nm, frames 1-based, one line of headers."""
        rows = csv_rows(path, emitters)
        with atomic_path(path) as temporary:
            rows.write_csv(temporary)

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read a table; see :func:`hdsmlm.io.tables.read_table`."""
        headers, separator = _read_headers(path)
        bindings = bind(headers, str(path), pixel_size_nm)
        values = _read_values(path, bindings, len(headers), separator)
        columns = {
            binding.name: _convert(values[binding.name], binding, path) for binding in bindings
        }
        columns["frame"] = _frames_from_zero(columns["frame"], path, first_frame)
        return Emitters(columns)


def csv_rows(path: Path, emitters: Emitters, first_row: int = 0) -> Any:
    """Return the polars frame of a table as it stands in the file, ``first_row`` rows before it.

    Raises
    ------
    TableError
        When a required column is not finite; ``path`` is named.
    """
    import polars as pl

    for name in REQUIRED:
        if not np.isfinite(emitters[name]).all():
            raise TableError(f"{path}: column '{name}' holds NaN or infinity; not written")
    columns: dict[str, Any] = {ID_HEADER: first_row + np.arange(1, len(emitters) + 1)}
    for name in emitters.names:
        values = emitters[name]
        if name == "frame":
            values = values.astype(np.int64) + FIRST_FRAME_ON_DISK
        columns[native_header(name)] = values
    rounding = [
        pl.col(native_header(name)).round(NM_DECIMALS)
        if COLUMNS[name].unit == "nm"
        else pl.col(native_header(name)).round_sig_figs(SIGNIFICANT_DIGITS)
        for name in emitters.names
        if COLUMNS[name].dtype.startswith("float")
    ]
    return pl.DataFrame(columns).with_columns(rounding)


def _read_headers(path: Path) -> tuple[list[str], str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            line = stream.readline().strip("\r\n")
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not line.strip():
        raise TableError(
            f"{path}: the table is empty; a line of headers ('frame', 'x [nm]', 'y [nm]', ...) "
            "was wanted"
        )
    separator = max(",;\t", key=line.count)
    headers = next(textcsv.reader([line], delimiter=separator))
    if len(headers) == 1 and separator in headers[0]:  # the whole line was quoted once more
        headers = next(textcsv.reader(headers, delimiter=separator))
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


def _read_values(
    path: Path, bindings: list[Binding], n_columns: int, separator: str
) -> dict[str, NDArray[np.float64]]:
    """Read the bound columns as float64; empty fields become NaN."""
    import polars as pl

    bound = {binding.index: binding for binding in bindings}
    schema = {
        f"column_{place}": pl.Float64 if place in bound else pl.String for place in range(n_columns)
    }
    try:
        frame = (
            pl.scan_csv(
                path,
                has_header=False,
                skip_rows=1,
                separator=separator,
                schema=schema,
                null_values=["", "NA", "null", "None"],
            )
            .select(
                pl.col(f"column_{place}").fill_null(float("nan")).alias(binding.name)
                for place, binding in bound.items()
            )
            .collect()
        )
    except pl.exceptions.NoDataError:
        return {binding.name: np.empty(0) for binding in bindings}
    except pl.exceptions.PolarsError as error:
        first_line = str(error).strip().splitlines()[0]
        raise TableError(
            f"{path}: the rows cannot be read as numbers under their headers ({first_line}). Each "
            "row must have one number per header; decimal point, no text in these columns"
        ) from error
    return {name: frame[name].to_numpy() for name in frame.columns}


def _convert(values: NDArray[np.float64], binding: Binding, path: Path) -> NDArray[Any]:
    """Scale to our unit; whole numbers where the registry wants them."""
    whole = COLUMNS[binding.name].dtype.startswith("int")
    if binding.name in REQUIRED or whole:
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise TableError(
                f"{path}: column '{binding.header}' has {len(bad)} rows without a finite number, "
                f"the first in line {int(bad[0]) + 2}. Remove these rows"
            )
    if whole:
        odd = np.flatnonzero(values != np.round(values))
        if len(odd):
            raise TableError(
                f"{path}: column '{binding.header}' must hold whole numbers, but line "
                f"{int(odd[0]) + 2} has {values[odd[0]]:g}"
            )
        return values.astype(np.int64)
    return values * binding.factor


def _frames_from_zero(
    frames: NDArray[np.int64], path: Path, first_frame: int | None
) -> NDArray[np.int64]:
    """Return 0-based frames: tables count from 1, unless a row says frame 0."""
    lowest = int(frames.min()) if len(frames) else FIRST_FRAME_ON_DISK
    if first_frame is None:
        first_frame = 0 if lowest == 0 else FIRST_FRAME_ON_DISK
    if lowest < first_frame:
        raise TableError(
            f"{path}: frames begin at {lowest}, but {first_frame} was to be the first; "
            "frame numbers must not lie before it"
        )
    return frames - first_frame
