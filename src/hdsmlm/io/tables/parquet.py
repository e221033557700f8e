"""Parquet: our columns under our names, their units in the metadata of the file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from hdsmlm.errors import TableError
from hdsmlm.io.tables.headers import bind
from hdsmlm.io.tables.port import TableInfo
from hdsmlm.io.tables.sidecar import documents, info_from, plain
from hdsmlm.io.tables.text import read_head
from hdsmlm.io.tables.thunderstorm import bound_emitters, require_finite_positions
from hdsmlm.io.writing import atomic_path
from hdsmlm.records.columns import COLUMNS
from hdsmlm.records.emitters import Emitters

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
        import polars as pl

        require_finite_positions(path, emitters)
        about = {
            "origin": _ORIGIN,
            "first_frame": 0,
            "columns": {name: plain(dataclasses.asdict(COLUMNS[name])) for name in emitters.names},
            "documents": documents(info),
        }
        frame = pl.DataFrame({name: np.asarray(emitters[name]) for name in emitters.names})
        with atomic_path(path) as temporary:
            frame.write_parquet(temporary, metadata={_KEY: json.dumps(about)})


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
