"""The port that every kind of table fulfils, and what is known of a table beside its rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from hdsmlm.errors import TableError
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.provenance import Provenance

PIXEL_SIZE_OPTION = "--pixel-size-nm"


@dataclass(frozen=True)
class TableInfo:
    """What a table's rows do not hold: the movie they belong to, and how they were made.

    Parameters
    ----------
    pixel_size_nm : float or None
        Side of a pixel of the movie.
    n_frames, height, width : int or None
        Shape (t, y, x) of the movie.
    provenance : Provenance or None
        How the rows were made.
    """

    pixel_size_nm: float | None = None
    n_frames: int | None = None
    height: int | None = None
    width: int | None = None
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        check_pixel_size(self.pixel_size_nm, "the table")


class TableFormat(Protocol):
    """How one kind of file holds emitters."""

    @property
    def name(self) -> str:
        """Name for ``--from`` and ``--to``, and for messages."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Lower case, with the dot."""

    @property
    def summary(self) -> str:
        """One sentence for the reference: whose file it is, and what is read of it."""

    @property
    def origin(self) -> str:
        """Where positions and frames count from, as stored."""

    def sniff(self, path: Path) -> bool:
        """Tell from the content whether the file is of this kind."""

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the rows; see :func:`hdsmlm.io.tables.read_table`."""

    def info(self, path: Path, /) -> TableInfo:
        """Return what the file says of its movie."""


@runtime_checkable
class TableWriter(Protocol):
    """Takes rows piece by piece; the file takes its name when the block ends without an error."""

    def __enter__(self) -> TableWriter: ...

    def append(self, emitters: Emitters) -> None:
        """Add rows, which must follow those before in time."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class WritableFormat(TableFormat, Protocol):
    """A format that is written too."""

    def write(self, path: Path, emitters: Emitters, info: TableInfo) -> None:
        """Write the table, whole or not at all."""

    def open_writer(self, path: Path, names: tuple[str, ...], info: TableInfo) -> TableWriter:
        """Return a writer for pieces that all have the columns ``names``."""


def check_pixel_size(pixel_size_nm: float | None, source: str) -> None:
    """Refuse a pixel size that is no length.

    Raises
    ------
    TableError
        When it is not a positive number.
    """
    if pixel_size_nm is not None and not 0 < pixel_size_nm < float("inf"):
        raise TableError(
            f"{source}: the pixel size is {pixel_size_nm} nm; a positive number was wanted "
            f"({PIXEL_SIZE_OPTION}, often about 100)"
        )


def require_pixel_size(pixel_size_nm: float | None, source: str, why: str) -> float:
    """Return the pixel size, or tell how to give it.

    Raises
    ------
    TableError
        When it is not known.
    """
    if pixel_size_nm is None:
        raise TableError(
            f"{source}: {why}, and the size of a pixel is not known; give it in nm with "
            f"{PIXEL_SIZE_OPTION} (camera pixel divided by magnification, often about 100)"
        )
    check_pixel_size(pixel_size_nm, source)
    return float(pixel_size_nm)
