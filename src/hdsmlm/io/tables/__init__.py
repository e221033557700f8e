"""Emitter tables in files: :func:`read_table`, :func:`write_table`, :func:`open_table_writer`.

All code reads and writes tables through these, whatever the kind of file. A kind is one class that
fulfils :class:`TableFormat` and one line in :data:`hdsmlm.io.tables.registry.FORMATS`.
"""

from __future__ import annotations

from pathlib import Path

from hdsmlm.errors import TableError
from hdsmlm.io.tables.port import (
    TableFormat,
    TableInfo,
    TableWriter,
    check_pixel_size,
)
from hdsmlm.io.tables.registry import FORMATS, format_named, format_of, format_to_write
from hdsmlm.records.emitters import Emitters

__all__ = [
    "FORMATS",
    "TableFormat",
    "TableInfo",
    "TableWriter",
    "open_table_writer",
    "read_table",
    "read_table_info",
    "write_table",
]


def read_table(
    path: Path | str,
    format: str | None = None,
    pixel_size_nm: float | None = None,
    *,
    first_frame: int | None = None,
) -> Emitters:
    """Read an emitter table of this program or of others.

    Parameters
    ----------
    path : path
        The file.
    format : str, optional
        Name of the kind of table; default: what the content shows.
    pixel_size_nm : float, optional
        Needed when the file counts in pixels and does not say how large they are; goes before what
        the file says.
    first_frame : int, optional
        Number of the first frame in the file; default: by the rule of its kind.

    Returns
    -------
    Emitters
        Positions in nm from the outer corner of the first pixel, frames from 0; the columns that
        are known, others are left out.

    Raises
    ------
    TableError
        When the file is missing, damaged or of no known kind, a needed column or number is missing,
        or the unit is unknown.
    """
    path = Path(path)
    check_pixel_size(pixel_size_nm, str(path))
    return _format(path, format).read(path, pixel_size_nm, first_frame)


def read_table_info(path: Path | str, format: str | None = None) -> TableInfo:
    """Return what a table says of its movie and its making.

    Parameters
    ----------
    path : path
        The file.
    format : str, optional
        Name of the kind of table; default: what the content shows.

    Raises
    ------
    TableError
        When the file is missing, damaged or of no known kind.
    """
    path = Path(path)
    return _format(path, format).info(path)


def write_table(
    emitters: Emitters, path: Path | str, format: str | None = None, info: TableInfo | None = None
) -> None:
    """Write emitters; the suffix of the file says how (.hdf5: native, .csv: ThunderSTORM).

    Parameters
    ----------
    emitters : Emitters
        Rows are written in their order.
    path : path
        Is replaced when it exists; a failed or killed write leaves the old file.
    format : str, optional
        Name of the kind of table; default: by the suffix.
    info : TableInfo, optional
        Movie and provenance; they go into the file, or into the YAML file beside it. The pixel size
        is needed where the kind counts in pixels.

    Raises
    ------
    TableError
        For an unknown suffix, positions that are not finite, or a pixel size that is missing.
    OutputError
        When the file cannot be written.
    """
    path = Path(path)
    format_to_write(path, format).write(path, emitters, info or TableInfo())


def open_table_writer(
    path: Path | str,
    names: tuple[str, ...],
    format: str | None = None,
    info: TableInfo | None = None,
) -> TableWriter:
    """Return a context manager whose ``append`` takes a table piece by piece.

    Parameters
    ----------
    path : path
        Is replaced when it exists; takes its name when the block ends without an error.
    names : tuple of str
        Columns that every piece has, in registry order.
    format : str, optional
        Name of the kind of table; default: by the suffix.
    info : TableInfo, optional
        Movie and provenance.

    Raises
    ------
    TableError
        For an unknown suffix, or a pixel size that is missing.
    OutputError
        When the file cannot be written.
    """
    path = Path(path)
    return format_to_write(path, format).open_writer(path, names, info or TableInfo())


def _format(path: Path, name: str | None) -> TableFormat:
    if not path.is_file():
        raise TableError(f"{path}: no such table; check the path")
    return format_of(path) if name is None else format_named(name)
