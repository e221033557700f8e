"""``hdsmlm filter``: keep the rows of a table that satisfy a condition."""

from __future__ import annotations

from typing import Annotated

import typer

from hdsmlm.cli.table_options import CameraPixel, OutTable, Overwrite, Table


def command(
    table: Table,
    expression: Annotated[
        str,
        typer.Argument(
            metavar="CONDITION",
            help="In quotes, e.g. 'uncertainty_x_nm < 20 and photons > 300 and flags == 0', or "
            "'neighbours(50) >= 3' for the density within 50 nm.",
        ),
    ],
    out: OutTable,
    camera_pixel_nm: CameraPixel = None,
    overwrite: Overwrite = False,
) -> None:
    """Keep the localizations that satisfy a condition on their columns or their density."""
    from hdsmlm.pipelines.postprocess import TableJob, filter_table

    kept = filter_table(TableJob(table, (out,), camera_pixel_nm, overwrite), expression)
    typer.echo(f"{out}: {kept.after} of {kept.before} rows kept")
