"""Emitter tables that are written piece by piece, for movies of any length."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from hdsmlm.io.tables.csv import csv_rows
from hdsmlm.io.writing import atomic_path, writing
from hdsmlm.records.emitters import Emitters


class CsvTableWriter:
    """Appends emitters to one csv file; the bytes equal those of one write of all of them.

    The file takes its name when the block ends without an error.

    Parameters
    ----------
    path : Path
        Is replaced when it exists.
    names : tuple of str
        Columns of every piece, in registry order; they make the headers of an empty table too.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self._path = path
        self._names = names
        self._rows = 0
        self._stack = ExitStack()
        self._stream: BinaryIO

    def __enter__(self) -> CsvTableWriter:
        part = self._stack.enter_context(atomic_path(self._path))
        with writing(self._path):
            self._stream = self._stack.enter_context(part.open("wb"))
            csv_rows(self._path, Emitters.empty(self._names)).write_csv(self._stream)
        return self

    def append(self, emitters: Emitters) -> None:
        """Add rows, which must follow those before in time."""
        if len(emitters) == 0:
            return
        rows = csv_rows(self._path, emitters, first_row=self._rows)
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
