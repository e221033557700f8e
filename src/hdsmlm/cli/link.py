"""``hdsmlm link``: join localizations of consecutive frames into blinks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdsmlm.cli.table_options import CameraPixel, OutTable, Overwrite, Table, given


def command(
    table: Table,
    out: OutTable,
    radius_nm: Annotated[
        float | None,
        typer.Option("--radius-nm", help="Largest distance, nm; default: from the uncertainties."),
    ] = None,
    n_sigmas: Annotated[
        float | None,
        typer.Option("--n-sigmas", help="Largest distance in standard errors; default 3.5."),
    ] = None,
    max_dark_frames: Annotated[
        int | None,
        typer.Option("--max-dark-frames", help="Frames that a blink may be unseen; default 1."),
    ] = None,
    relink: Annotated[
        bool, typer.Option("--relink", help="Link anew where the table has blinks already.")
    ] = False,
    localizations: Annotated[
        Path | None,
        typer.Option(
            "--localizations", help="Also write every localization with its blink_id here."
        ),
    ] = None,
    camera_pixel_nm: CameraPixel = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a table of blinks: weighted mean position, summed photons, one row per blink."""
    from hdsmlm.config.base import parse_section
    from hdsmlm.config.postprocessing import LinkConfig
    from hdsmlm.pipelines.postprocess import TableJob, link_table

    values = given(radius_nm=radius_nm, n_sigmas=n_sigmas, max_dark_frames=max_dark_frames)
    config = parse_section(LinkConfig, values, "hdsmlm link")
    job = TableJob(table, (out,), camera_pixel_nm, overwrite)
    counts, known = link_table(job, config, relink, localizations)
    source = " (those of the table; --relink links anew)" if known else ""
    typer.echo(f"{out}: {counts.after} blinks of {counts.before} localizations{source}")
