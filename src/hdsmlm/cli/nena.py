"""``hdsmlm nena``: precision from nearest neighbours in consecutive frames."""

from __future__ import annotations

from typing import Annotated

import typer

from hdsmlm.cli.table_options import CameraPixel, OutResults, Overwrite, Table, given


def command(
    table: Table,
    out: OutResults = None,
    max_distance_nm: Annotated[
        float | None,
        typer.Option(
            "--max-distance-nm", help="Largest distance that is fitted, nm; default: by the data."
        ),
    ] = None,
    camera_pixel_nm: CameraPixel = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure the localization precision from molecules that are seen in two frames in a row."""
    from hdsmlm.config.base import parse_section
    from hdsmlm.config.postprocessing import NenaConfig
    from hdsmlm.pipelines.postprocess import TableJob, measure_nena

    config = parse_section(NenaConfig, given(max_distance_nm=max_distance_nm), "hdsmlm nena")
    job = TableJob(table, tuple(out or ()), camera_pixel_nm, overwrite)
    result = measure_nena(job, config)
    typer.echo(
        f"NeNA precision: {result.precision_nm:.2f} ± {result.standard_error_nm:.2f} nm "
        f"({result.n_pairs} pairs)"
    )
    for note in result.notes:
        typer.echo(f"note: {note}")
    for path in out or ():
        typer.echo(path)
