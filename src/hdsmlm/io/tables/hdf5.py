"""Opening HDF5 files of others: what is damaged or foreign becomes a clear error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import TableError
from hdsmlm.io.tables.text import read_head

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_OFFSETS = (0, 512, 1024, 2048)
"""Where HDF5 allows its signature; MATLAB 7.3 puts 512 bytes of its own before it."""


def is_hdf5(path: Path) -> bool:
    """Tell from the signature whether a file is HDF5."""
    head = read_head(path, _OFFSETS[-1] + len(SIGNATURE))
    return any(head[offset : offset + len(SIGNATURE)] == SIGNATURE for offset in _OFFSETS)


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Yield the open file, read-only.

    Raises
    ------
    TableError
        When the file is truncated or damaged, also where that shows only while it is read.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:  # h5py raises all
        reason = " ".join(str(error).split())
        raise TableError(
            f"{path}: this HDF5 file cannot be read, it is truncated or damaged ({reason}). Copy "
            "it again from where it was written, or write the table again"
        ) from error


def member(file: Any, name: str, kind: str = "") -> Any:
    """Return a group or dataset, or None; ``kind`` is "dataset" or "group" where one is wanted."""
    import h5py

    found = file.get(name)
    wanted = {"dataset": h5py.Dataset, "group": h5py.Group, "": object}[kind]
    return found if isinstance(found, wanted) else None


def numbers(dataset: Any, source: str) -> NDArray[Any]:
    """Return a dataset as a flat array of numbers.

    Raises
    ------
    TableError
        When it holds anything else.
    """
    if dataset.dtype.kind not in "fiu":
        raise TableError(f"{source}: '{dataset.name}' holds {dataset.dtype}; numbers were wanted")
    return np.asarray(dataset[...]).ravel()
