"""Parquet: our columns under our names, their units in the metadata of the file."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from hdsmlm.errors import OutputError, TableError
from hdsmlm.io.tables.headers import bind
from hdsmlm.io.tables.port import TableInfo
from hdsmlm.io.tables.sidecar import documents, info_from, plain
from hdsmlm.io.tables.text import read_head
from hdsmlm.io.tables.thunderstorm import bound_emitters, require_finite_positions
from hdsmlm.io.writing import atomic_path, scratch_folder, writing
from hdsmlm.records.columns import COLUMNS
from hdsmlm.records.emitters import Emitters

if TYPE_CHECKING:
    import polars as pl

PIECE_ROWS = 500_000
"""Rows that a writer holds before it puts them on the disk."""

MAGIC = b"PAR1"
_KEY = "hdsmlm"
_ORIGIN = "outer corner of pixel (0, 0)"


class ParquetTable:
    """The Parquet format."""

    name = "parquet"
    suffixes = (".parquet", ".pq")
    summary = "Parquet (polars, pandas, R, DuckDB): our columns; units, origin, provenance inside"
    origin = "nm from the outer corner; frames from 0 (said in the file)"

    def sniff(self, path: Path) -> bool:
        """The file begins with its signature."""
        return read_head(path, len(MAGIC)) == MAGIC

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the rows; see :func:`hdsmlm.io.tables.read_table`."""
        import polars as pl

        about = _about(path)
        try:
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _damaged(path, error) from error
        headers = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
        bindings = bind(headers, str(path), pixel_size_nm)
        values: dict[int, Any] = {}
        for entry in bindings:
            column = frame[headers[entry.index]]
            if column.null_count():
                column = column.cast(pl.Float64).fill_null(float("nan"))
            values[entry.index] = column.to_numpy()
        begin = about.get("first_frame")
        return bound_emitters(
            values,
            bindings,
            path,
            first_frame=first_frame,
            frames_begin=begin if isinstance(begin, int) else None,
            first_line=None,
        )

    def info(self, path: Path) -> TableInfo:
        """Return what the metadata of the file say."""
        contents = _about(path).get("documents", [])
        return info_from([entry for entry in contents if isinstance(entry, dict)], str(path))

    def write(self, path: Path, emitters: Emitters, info: TableInfo) -> None:
        """Write the table."""
        with self.open_writer(path, emitters.names, info) as writer:
            writer.append(emitters)

    def open_writer(self, path: Path, names: tuple[str, ...], info: TableInfo) -> ParquetWriter:
        """Return a writer for pieces that all have the columns ``names``."""
        return ParquetWriter(path, names, info)


class ParquetWriter:
    """Appends emitters to one file; it takes its name when the block ends without an error.

    A Parquet file is closed by an index of all its rows. Pieces are therefore kept in a hidden
    folder beside it and streamed into one file at the end: memory holds one piece.

    Parameters
    ----------
    path : Path
        Is replaced when it exists.
    names : tuple of str
        Columns of every piece.
    info : TableInfo
        Goes into the metadata of the file.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """

    def __init__(self, path: Path, names: tuple[str, ...], info: TableInfo) -> None:
        self._path = path
        self._names = names
        about = {
            "origin": _ORIGIN,
            "first_frame": 0,
            "columns": {name: plain(dataclasses.asdict(COLUMNS[name])) for name in names},
            "documents": documents(info),
        }
        self._metadata = {_KEY: json.dumps(about)}
        self._held = [_frame(Emitters.empty(names))]
        self._pieces: list[Path] = []
        self._stack = ExitStack()
        self._folder: Path

    def __enter__(self) -> ParquetWriter:
        self._folder = self._stack.enter_context(scratch_folder(self._path))
        return self

    def append(self, emitters: Emitters) -> None:
        """Add rows, which must follow those before in time."""
        require_finite_positions(self._path, emitters)
        self._held.append(_frame(emitters))
        if sum(len(piece) for piece in self._held) >= PIECE_ROWS:
            self._put_down()

    def _put_down(self) -> None:
        piece = self._folder / f"{len(self._pieces):06d}.parquet"
        with _saying(self._path):
            _joined(self._held).write_parquet(piece)
        self._pieces.append(piece)
        self._held = self._held[:1]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import polars as pl

        with self._stack:
            if kind is not None:
                return
            if self._pieces:
                self._put_down()
                rows = pl.scan_parquet(self._pieces, glob=False)
            else:
                rows = _joined(self._held).lazy()
            with atomic_path(self._path) as temporary, _saying(self._path):
                rows.sink_parquet(temporary, metadata=self._metadata, maintain_order=True)


@contextmanager
def _saying(path: Path) -> Iterator[None]:
    """Turn the failure of a write, for which polars has several errors, into a clear one."""
    import polars as pl

    with writing(path):
        try:
            yield
        except pl.exceptions.PolarsError as error:
            free = shutil.disk_usage(path.parent).free
            raise OutputError(
                f"cannot write {path}: {' '.join(str(error).split())} "
                f"({free / 1e6:.0f} MB are "
                "there). Free space or choose another output folder, then run again"
            ) from error


def _frame(emitters: Emitters) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame({name: np.asarray(emitters[name]) for name in emitters.names})


def _joined(pieces: list[pl.DataFrame]) -> pl.DataFrame:
    import polars as pl

    return pl.concat(pieces, rechunk=True)


def _about(path: Path) -> dict[str, Any]:
    """Return what this program wrote into the metadata; nothing for the files of others."""
    import polars as pl

    try:
        found = pl.read_parquet_metadata(path).get(_KEY, "{}")
        about = json.loads(found)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return about if isinstance(about, dict) else {}


def _damaged(path: Path, error: Exception) -> TableError:
    reason = " ".join(str(error).split())
    return TableError(
        f"{path}: this Parquet file cannot be read, it is truncated or damaged ({reason}). Copy it "
        "again from where it was written, or write the table again"
    )
