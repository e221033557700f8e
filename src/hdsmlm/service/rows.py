"""Localizations as a growing file of 32-bit floats that a page can read piece by piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fastapi import Response
from numpy.typing import NDArray

from hdsmlm.io.writing import atomic_path, writing
from hdsmlm.records.emitters import Emitters

COLUMNS = (
    "frame",
    "x_nm",
    "y_nm",
    "z_nm",
    "photons",
    "uncertainty_xy_nm",
    "background",
    "probability",
)
ROW_BYTES = 4 * len(COLUMNS)
MOST_ROWS = 2**20
"""Rows of one answer at most (32 MiB)."""


def to_rows(emitters: Emitters) -> NDArray[np.float32]:
    """Return a table as rows (n, 8) in the order of :data:`COLUMNS`; NaN where it has no column."""
    rows = np.full((len(emitters), len(COLUMNS)), np.nan, "<f4")
    for place, name in enumerate(COLUMNS):
        if name in emitters:
            rows[:, place] = emitters[name]
    if "uncertainty_x_nm" in emitters and "uncertainty_y_nm" in emitters:
        rows[:, COLUMNS.index("uncertainty_xy_nm")] = np.sqrt(
            (emitters["uncertainty_x_nm"] ** 2 + emitters["uncertainty_y_nm"] ** 2) / 2
        )
    return rows


class RowFile:
    """The file of a job's rows.

    Parameters
    ----------
    path : Path
        Rows one after another, without a header.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __len__(self) -> int:
        try:
            return self._path.stat().st_size // ROW_BYTES
        except FileNotFoundError:
            return 0

    @property
    def is_there(self) -> bool:
        """Whether the file exists."""
        return self._path.is_file()

    def clear(self) -> None:
        """Begin anew."""
        with writing(self._path):
            self._path.unlink(missing_ok=True)

    def append(self, emitters: Emitters) -> int:
        """Add rows; return how many there are now."""
        with writing(self._path), self._path.open("ab") as stream:
            stream.write(to_rows(emitters).tobytes())
        return len(self)

    def replace(self, emitters: Emitters) -> int:
        """Put all rows in the place of those that are there."""
        with atomic_path(self._path) as part:
            part.write_bytes(to_rows(emitters).tobytes())
        return len(self)

    def read(self, start: int, most: int = MOST_ROWS) -> bytes:
        """Return the rows from ``start`` on, as stored."""
        count = max(0, min(len(self) - start, most))
        if count == 0:
            return b""
        with self._path.open("rb") as stream:
            stream.seek(start * ROW_BYTES)
            return stream.read(count * ROW_BYTES)


def rows_answer(rows: RowFile, start: int) -> Response:
    """Return rows from ``start`` on as the body of an answer, up to a million."""
    data = rows.read(start, MOST_ROWS)
    headers = {
        "X-Columns": ",".join(COLUMNS),
        "X-Rows": str(len(data) // ROW_BYTES),
        "X-Start": str(start),
    }
    return Response(data, media_type="application/octet-stream", headers=headers)
