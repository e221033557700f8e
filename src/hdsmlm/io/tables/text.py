"""Text tables: the first lines, and numbers in separated columns through polars."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hdsmlm.errors import TableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEAD_BYTES = 65_536


def read_head(path: Path, n_bytes: int = HEAD_BYTES) -> bytes:
    """Return the first bytes of a file.

    Raises
    ------
    TableError
        When it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(n_bytes)
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}") from error


def head_lines(path: Path, n_lines: int = 1) -> list[str]:
    """Return the first lines as text, without line ends; fewer when the file is shorter."""
    text = read_head(path).decode("utf-8-sig", errors="replace")
    return text.splitlines()[:n_lines]


def split_line(line: str) -> tuple[list[str], str]:
    """Return the fields of a line of headers and the separator: comma, semicolon or tab.

    Examples
    --------
    >>> split_line("frame;x [nm];y [nm]")
    (['frame', 'x [nm]', 'y [nm]'], ';')
    """
    separator = max(",;\t", key=line.count)
    fields = next(csv.reader([line], delimiter=separator), [])
    if len(fields) == 1 and separator in fields[0]:  # the whole line was quoted once more
        fields = next(csv.reader(fields, delimiter=separator))
    return fields, separator


def has_headers(path: Path, *wanted: str) -> bool:
    """Tell whether the first line has all of these headers, to the letter."""
    lines = head_lines(path)
    if not lines:
        return False
    fields = {field.strip().strip('"') for field in split_line(lines[0])[0]}
    return fields.issuperset(wanted)


def read_columns(
    source: Path | bytes,
    name: str,
    places: Mapping[int, str],
    n_columns: int,
    *,
    separator: str = ",",
    skip_rows: int = 1,
) -> dict[int, NDArray[np.float64]]:
    """Read columns of numbers as float64; empty fields become NaN.

    Parameters
    ----------
    source : Path or bytes
        The file, or its text.
    name : str
        For messages.
    places : mapping of int to str
        Which columns (0-based), and what they are called.
    n_columns : int
        Columns of the file.
    separator : str, optional
        One character.
    skip_rows : int, optional
        Lines above the first row.

    Returns
    -------
    dict of int to ndarray, shape (n,)
        The columns by their place.

    Raises
    ------
    TableError
        When a row has more fields than headers, or a field of these columns is no number.
    """
    import polars as pl

    schema = {
        f"column_{place}": pl.Float64 if place in places else pl.String
        for place in range(n_columns)
    }
    try:
        frame = (
            pl.scan_csv(
                io.BytesIO(source) if isinstance(source, bytes) else source,
                has_header=False,
                skip_rows=skip_rows,
                separator=separator,
                schema=schema,
                null_values=["", "NA", "null", "None"],
            )
            .select(pl.col(f"column_{place}").fill_null(float("nan")) for place in places)
            .collect()
        )
    except pl.exceptions.NoDataError:
        return {place: np.empty(0) for place in places}
    except pl.exceptions.PolarsError as error:
        first_line = str(error).strip().splitlines()[0]
        raise TableError(
            f"{name}: the rows cannot be read as numbers under their headers ({first_line}). Each "
            "row must have one number per header; decimal point, no text in these columns"
        ) from error
    return {place: frame[f"column_{place}"].to_numpy() for place in places}
