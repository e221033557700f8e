"""From the columns of a file to checked emitters: one place for every format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import TableError
from hdsmlm.records.columns import COLUMNS, REQUIRED
from hdsmlm.records.emitters import Emitters


@dataclass(frozen=True)
class Source:
    """What messages say of the columns of a file.

    Parameters
    ----------
    path : str
        The file.
    headers : mapping
        Our name → the name in the file, where it differs.
    first_line : int or None
        Line of the first row in a text file, from 1; None where rows have no lines.
    """

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    first_line: int | None = None

    def place(self, row: int) -> str:
        """Return where a row (0-based) stands."""
        if self.first_line is None:
            return f"row {row} (counted from 0)"
        return f"line {row + self.first_line}"


def emitters_from_columns(
    columns: Mapping[str, Any],
    source: Source,
    *,
    frames_begin: int | None,
    first_frame: int | None = None,
) -> Emitters:
    """Check columns, count frames from 0, and return the table.

    Parameters
    ----------
    columns : mapping of str to array
        In our names and units, except that frames count as in the file.
    source : Source
        For messages.
    frames_begin : int or None
        Number of the first frame by the rule of the format; None where both counts occur: then 1,
        or 0 when a row lies in frame 0.
    first_frame : int, optional
        What the user says of it; goes first.

    Raises
    ------
    TableError
        For a missing column, columns of different length, positions that are not finite, and
        frames that are no whole numbers from the first frame on.
    """
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise TableError(
            f"{source.path}: the columns {', '.join(missing)} are missing; it has "
            f"{', '.join(columns) or 'none that is known'}. Write the table again with them"
        )
    arrays = {name: np.asarray(values).ravel() for name, values in columns.items()}
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise TableError(f"{source.path}: its columns differ in length: {lengths}; is it damaged?")
    for name in arrays:
        arrays[name] = _checked(name, arrays[name], source)
    arrays["frame"] = _from_zero(arrays["frame"], source, frames_begin, first_frame)
    return Emitters(arrays)


def _checked(name: str, values: NDArray[Any], source: Source) -> NDArray[Any]:
    header = source.headers.get(name, name)
    whole = COLUMNS[name].dtype.startswith("int")
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise TableError(
            f"{source.path}: column '{header}' holds {values.dtype}; real numbers were wanted"
        )
    if not (whole or name in REQUIRED):
        return values.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise TableError(
            f"{source.path}: column '{header}' has {len(bad)} rows without a finite number, "
            f"the first in {source.place(int(bad[0]))}. Remove these rows"
        )
    if not whole:
        return values.astype(np.float64)
    odd = np.flatnonzero(values != np.round(values))
    if len(odd):
        raise TableError(
            f"{source.path}: column '{header}' must hold whole numbers, but "
            f"{source.place(int(odd[0]))} has {values[odd[0]]:g}"
        )
    limit = np.iinfo(COLUMNS[name].dtype)
    large = np.flatnonzero((values < limit.min) | (values > limit.max))
    if len(large):
        raise TableError(
            f"{source.path}: column '{header}' has {values[large[0]]:g} in "
            f"{source.place(int(large[0]))}, which is beyond any count; is the file damaged?"
        )
    return values.astype(np.int64)


def _from_zero(
    frames: NDArray[np.int64], source: Source, frames_begin: int | None, first_frame: int | None
) -> NDArray[np.int64]:
    lowest = int(frames.min()) if len(frames) else 1
    if first_frame is not None:
        begin = first_frame
    elif frames_begin is not None:
        begin = frames_begin
    else:
        begin = 0 if lowest == 0 else 1
    if lowest < begin and len(frames):
        raise TableError(
            f"{source.path}: frames begin at {lowest}, but {begin} was to be the first; frame "
            "numbers must not lie before it. If the table counts otherwise, say so with "
            "--first-frame"
        )
    return frames - begin


def geometric_mean(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Return one width from two, ``sqrt(first·second)``; exact where they agree."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(a == b, a, np.sqrt(a * b))
