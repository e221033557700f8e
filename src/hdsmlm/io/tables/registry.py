"""The kinds of tables; a new one is a file with a class like :class:`TableFormat` and a line here.

Reading asks each kind in turn whether the content is its own; the more particular ones come first,
and csv, which takes any text with headers, last.
"""

from __future__ import annotations

from pathlib import Path

from hdsmlm.errors import TableError
from hdsmlm.io.tables.decode import DecodeTable
from hdsmlm.io.tables.hdf5 import is_hdf5, open_hdf5
from hdsmlm.io.tables.microscopes import ElyraTable, NanoimagerTable
from hdsmlm.io.tables.parquet import ParquetTable
from hdsmlm.io.tables.picasso import PicassoTable
from hdsmlm.io.tables.port import TableFormat, WritableFormat
from hdsmlm.io.tables.rapidstorm import RapidStormTable
from hdsmlm.io.tables.smap import SmapTable
from hdsmlm.io.tables.smlm import SmlmTable
from hdsmlm.io.tables.storm_analysis import Insight3Table, StormAnalysisTable
from hdsmlm.io.tables.text import read_head
from hdsmlm.io.tables.thunderstorm import ThunderstormTable

FORMATS: tuple[TableFormat, ...] = (
    PicassoTable(),
    ParquetTable(),
    SmapTable(),
    DecodeTable(),
    StormAnalysisTable(),
    Insight3Table(),
    SmlmTable(),
    RapidStormTable(),
    ElyraTable(),
    NanoimagerTable(),
    ThunderstormTable(),
)

_STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"\x80", "a pickle; pickles can run programs and are never loaded: export the table as csv"),
    (b"\x93NUMPY", "a NumPy array without column names: save the table as csv or Parquet"),
    (b"PK\x03\x04", "an archive or a spreadsheet: unpack it, or save the table as csv"),
    (b"\x1f\x8b", "compressed with gzip: unpack it"),
    (b"II*\x00", "a TIFF, so a movie: give it where a movie is wanted"),
    (b"MM\x00*", "a TIFF, so a movie: give it where a movie is wanted"),
)


def known_formats(*, writable: bool = False) -> str:
    """Return the formats and their suffixes for a message."""
    return ", ".join(
        f"{form.name} ({' '.join(form.suffixes)})"
        for form in FORMATS
        if not writable or isinstance(form, WritableFormat)
    )


def format_named(name: str) -> TableFormat:
    """Return the format of this name.

    Raises
    ------
    TableError
        When there is none.
    """
    for form in FORMATS:
        if form.name == name.lower():
            return form
    raise TableError(f"tables of the kind '{name}' are not known; known: {known_formats()}")


def format_of(path: Path) -> TableFormat:
    """Return the format that the content of a file shows.

    Raises
    ------
    TableError
        When no format knows the content; the message says what it seems to be.
    """
    for form in FORMATS:
        if form.sniff(path):
            return form
    known = f"known: {known_formats()}"
    if is_hdf5(path):
        with open_hdf5(path) as file:
            holds = ", ".join(sorted(map(str, file))[:8]) or "nothing"
        raise TableError(
            f"{path}: an HDF5 file, but not with the layout of a table that is known; at its top "
            f"it holds {holds}; {known}"
        )
    head = read_head(path, 8)
    for magic, meaning in _STRANGERS:
        if head.startswith(magic):
            raise TableError(f"{path}: this is no table but {meaning}; {known}")
    raise TableError(f"{path}: its content is not that of a table; {known}")


def format_to_write(path: Path, name: str | None) -> WritableFormat:
    """Return the format to write: by name, else by the suffix.

    Raises
    ------
    TableError
        When there is none, or it can only be read.
    """
    writable = f"written are: {known_formats(writable=True)}"
    if name is not None:
        form = format_named(name)
        if isinstance(form, WritableFormat):
            return form
        raise TableError(f"{path}: tables of the kind '{name}' are read, not written; {writable}")
    for form in FORMATS:
        if isinstance(form, WritableFormat) and path.suffix.lower() in form.suffixes:
            return form
    raise TableError(
        f"{path}: tables with the suffix '{path.suffix}' are not supported; {writable}"
    )
