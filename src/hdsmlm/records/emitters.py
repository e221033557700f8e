"""The tidy emitter table: one row per emitter and frame, named columns with units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import TableError
from hdsmlm.records.columns import COLUMNS, REQUIRED


class Emitters:
    """An immutable struct of equally long arrays, one row per emitter and frame.

    Parameters
    ----------
    columns : mapping of str to array_like
        Must hold ``frame``, ``x_nm`` and ``y_nm``; every name must be in
        :data:`hdsmlm.records.columns.COLUMNS`. Values are converted to the registered dtype.

    Examples
    --------
    >>> table = Emitters({"frame": [0, 0, 1], "x_nm": [50, 60, 70], "y_nm": [1, 2, 3]})
    >>> len(table), table["x_nm"].tolist()
    (3, [50.0, 60.0, 70.0])
    >>> len(table.select(table["frame"] == 0))
    2
    """

    __slots__ = ("_columns", "_length")

    def __init__(self, columns: Mapping[str, Any]) -> None:
        unknown = sorted(set(columns) - set(COLUMNS))
        missing = [name for name in REQUIRED if name not in columns]
        if unknown or missing:
            raise TableError(
                f"emitter table: missing columns {missing}, unknown columns {unknown}; "
                f"known are {sorted(COLUMNS)}"
            )
        arrays: dict[str, NDArray[Any]] = {}
        for name in COLUMNS:
            if name in columns:
                array = np.ascontiguousarray(columns[name], dtype=COLUMNS[name].dtype)
                if array.ndim != 1:
                    raise TableError(
                        f"column '{name}' must be one-dimensional, got shape {array.shape}"
                    )
                array = array.view()
                array.flags.writeable = False
                arrays[name] = array
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise TableError(f"columns differ in length: {lengths}")
        self._columns = arrays
        self._length = next(iter(lengths.values()))

    @classmethod
    def empty(cls, names: Sequence[str] = REQUIRED) -> Emitters:
        """Return a table without rows."""
        return cls({name: np.empty(0, COLUMNS[name].dtype) for name in (*REQUIRED, *names)})

    @classmethod
    def concatenate(cls, tables: Sequence[Emitters]) -> Emitters:
        """Stack tables; only the columns that all of them have are kept."""
        if not tables:
            return cls.empty()
        names = [name for name in tables[0].names if all(name in table.names for table in tables)]
        return cls({name: np.concatenate([table[name] for table in tables]) for name in names})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns present, in registry order."""
        return tuple(self._columns)

    def __len__(self) -> int:
        return self._length

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            return self._columns[name]
        except KeyError:
            raise TableError(
                f"the emitter table has no column '{name}'; it has {', '.join(self.names)}"
            ) from None

    def __repr__(self) -> str:
        return f"Emitters({self._length} rows: {', '.join(self.names)})"

    def select(self, rows: NDArray[Any]) -> Emitters:
        """Return the rows picked by a boolean mask or an index array."""
        return Emitters({name: array[rows] for name, array in self._columns.items()})

    def with_columns(self, **columns: Any) -> Emitters:
        """Return a table with columns added or replaced."""
        return Emitters({**self._columns, **columns})

    def sorted(self) -> Emitters:
        """Return the rows ordered by frame, then y, then x: the order of every written table."""
        order = np.lexsort((self["x_nm"], self["y_nm"], self["frame"]))
        return self.select(order)
