"""Convert a table of one kind into another; units, origin and frames follow their conventions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from hdsmlm.errors import OutputError
from hdsmlm.io.tables import read_table, read_table_info, write_table
from hdsmlm.records.provenance import Provenance, file_sha256


@dataclass(frozen=True)
class Conversion:
    """What is converted into what.

    Parameters
    ----------
    source, target : Path
        The table that is read, and the one that is written.
    read_as, write_as : str, optional
        Kinds of table; default: what the content shows, and what the suffix of the target says.
    pixel_size_nm : float, optional
        Goes before what the source says.
    first_frame : int, optional
        Number of the first frame in the source; default: by the rule of its kind.
    overwrite : bool
        Replace a target that exists.
    """

    source: Path
    target: Path
    read_as: str | None = None
    write_as: str | None = None
    pixel_size_nm: float | None = None
    first_frame: int | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class ConvertedTable:
    """What :func:`convert_table` wrote.

    Parameters
    ----------
    target : Path
        The table.
    n_rows : int
        Its rows.
    columns : tuple of str
        Its columns, in our names.
    """

    target: Path
    n_rows: int
    columns: tuple[str, ...]


def convert_table(conversion: Conversion) -> ConvertedTable:
    """Read one table and write it as another kind, with its movie's shape and its provenance.

    Parameters
    ----------
    conversion : Conversion
        Paths and kinds.

    Returns
    -------
    ConvertedTable
        What was written.

    Raises
    ------
    TableError
        When the source cannot be read, the kind of target is not written, or a pixel size is
        needed and not known.
    OutputError
        When the target exists, is the source, or cannot be written.
    """
    source, target = conversion.source, conversion.target
    emitters = read_table(
        source,
        conversion.read_as,
        conversion.pixel_size_nm,
        first_frame=conversion.first_frame,
    )
    if target.exists() and (not conversion.overwrite or target.samefile(source)):
        same = target.samefile(source)
        remedy = "give another name" if same else "give another name, or add --overwrite"
        what = "is the table that is read" if same else "exists"
        raise OutputError(f"{target} {what}; {remedy}")
    info = read_table_info(source, conversion.read_as)
    settings = {
        "read_as": conversion.read_as,
        "write_as": conversion.write_as,
        "pixel_size_nm": conversion.pixel_size_nm,
        "first_frame": conversion.first_frame,
        "made_by": None if info.provenance is None else dataclasses.asdict(info.provenance),
    }
    info = dataclasses.replace(
        info,
        pixel_size_nm=conversion.pixel_size_nm or info.pixel_size_nm,
        provenance=Provenance("convert", settings, {source.name: file_sha256(source)}),
    )
    write_table(emitters, target, conversion.write_as, info)
    return ConvertedTable(target, len(emitters), emitters.names)
