"""Emitter tables in files: :func:`write_table` and :func:`read_table`.

A new format is one file with a class like :class:`TableFormat` and one line in :data:`FORMATS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from hdsmlm.errors import TableError
from hdsmlm.io.tables.csv import CsvTable
from hdsmlm.records.emitters import Emitters

__all__ = ["FORMATS", "TableFormat", "read_table", "write_table"]


class TableFormat(Protocol):
    """How one kind of file holds emitters."""

    @property
    def name(self) -> str:
        """Name for messages."""

    @property
    def extensions(self) -> tuple[str, ...]:
        """Lower case, with the dot."""

    def write(self, path: Path, emitters: Emitters) -> None:
        """Write the table, whole or not at all."""

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the table."""


FORMATS: tuple[TableFormat, ...] = (CsvTable(),)


def write_table(path: Path | str, emitters: Emitters) -> None:
    """Write emitters in the format that the extension names (.csv: ThunderSTORM headers).

    Parameters
    ----------
    path : path
        Is replaced when it exists; a failed or killed write leaves the old file.
    emitters : Emitters
        Rows are written in their order; frames become 1-based.

    Raises
    ------
    TableError
        For an unknown extension, or positions that are not finite.
    OutputError
        When the file cannot be written.
    """
    path = Path(path)
    _format(path).write(path, emitters)


def read_table(
    path: Path | str, pixel_size_nm: float | None = None, *, first_frame: int | None = None
) -> Emitters:
    """Read an emitter table of this program or of others.

    Parameters
    ----------
    path : path
        The file.
    pixel_size_nm : float, optional
        Needed when the file gives lengths in pixels.
    first_frame : int, optional
        Number of the first frame in the file; default 1, or 0 when a row lies in frame 0.

    Returns
    -------
    Emitters
        The columns that are known; others are left out.

    Raises
    ------
    TableError
        When the file is missing or empty, a needed column or number is missing, or the unit is
        unknown.
    """
    path = Path(path)
    if not path.is_file():
        raise TableError(f"{path}: no such table; check the path")
    return _format(path).read(path, pixel_size_nm, first_frame)


def _format(path: Path) -> TableFormat:
    for form in FORMATS:
        if path.suffix.lower() in form.extensions:
            return form
    known = ", ".join(f"{form.name} ({' '.join(form.extensions)})" for form in FORMATS)
    raise TableError(
        f"{path}: tables with the extension '{path.suffix}' are not supported; known: {known}"
    )
