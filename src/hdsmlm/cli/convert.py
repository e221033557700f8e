"""``hdsmlm convert``: one kind of table into another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Table of any known program.")],
    target: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Table to write: .hdf5 (native), .csv or .parquet."),
    ],
    read_as: Annotated[
        str | None,
        typer.Option("--from", help="Kind of the table that is read; default: by its content."),
    ] = None,
    write_as: Annotated[
        str | None,
        typer.Option("--to", help="Kind of the table that is written; default: by its suffix."),
    ] = None,
    pixel_size_nm: Annotated[
        float | None,
        typer.Option(
            "--pixel-size-nm",
            "--pixel-size",
            help="Pixel size in nm, where a table counts in pixels and does not say it.",
        ),
    ] = None,
    first_frame: Annotated[
        int | None,
        typer.Option(
            "--first-frame",
            help="Number of the first frame in IN; default: by the rule of its kind.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a table that exists.")
    ] = False,
) -> None:
    """Convert a table of localizations between programs: units, origin and frame numbers."""
    from hdsmlm.pipelines.convert import Conversion, convert_table

    written = convert_table(
        Conversion(source, target, read_as, write_as, pixel_size_nm, first_frame, overwrite)
    )
    typer.echo(f"{written.target}: {written.n_rows} rows with {', '.join(written.columns)}")
