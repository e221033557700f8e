"""``hdsmlm render``: a picture of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdsmlm.cli.table_options import CameraPixel, Overwrite, Table, given, parse_numbers


def command(
    table: Table,
    out: Annotated[
        list[Path],
        typer.Option(
            "--out",
            "-o",
            help="Picture (.png), or localizations per pixel as 32-bit floats with the pixel size "
            "(.tif). May be given again.",
        ),
    ],
    pixel_size_nm: Annotated[
        float | None,
        typer.Option("--pixel-size-nm", "--pixel-size", help="Pixel of the picture; default 10."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            help="gaussian (width: the uncertainty), histogram, or auto (default): a Gaussian "
            "where there are uncertainties.",
        ),
    ] = None,
    sigma_nm: Annotated[
        float | None, typer.Option("--sigma-nm", help="Width of every Gaussian, nm.")
    ] = None,
    region_nm: Annotated[
        str | None,
        typer.Option(
            "--region-nm",
            "--region",
            metavar="X0:X1,Y0:Y1",
            help="Part of the field, nm; default: all localizations.",
        ),
    ] = None,
    colour_by: Annotated[
        str | None,
        typer.Option("--colour-by", help="Column that colours, e.g. frame, z_nm or photons."),
    ] = None,
    colour_range: Annotated[
        str | None,
        typer.Option(
            "--colour-range", metavar="LOW:HIGH", help="Values at the ends of the colours."
        ),
    ] = None,
    colour_map: Annotated[
        str | None, typer.Option("--colour-map", help="Name of a Matplotlib colour map.")
    ] = None,
    percentile: Annotated[
        float | None,
        typer.Option("--percentile", help="Percentile of lit pixels shown brightest; 99.5."),
    ] = None,
    scale_bar_nm: Annotated[
        float | None, typer.Option("--scale-bar-nm", help="Length of the scale bar; 0: none.")
    ] = None,
    camera_pixel_nm: CameraPixel = None,
    overwrite: Overwrite = False,
) -> None:
    """Render a table as a picture or a quantitative image."""
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.config.base import parse_section
    from hdsmlm.config.postprocessing import RenderConfig
    from hdsmlm.pipelines.postprocess import TableJob, render_table

    values = given(
        pixel_size_nm=pixel_size_nm,
        kind=kind,
        sigma_nm=sigma_nm,
        region_nm=parse_numbers(region_nm, "--region-nm", "x0:x1,y0:y1"),
        colour_by=colour_by,
        colour_range=parse_numbers(colour_range, "--colour-range", "low:high"),
        colour_map=colour_map,
        percentile=percentile,
        scale_bar_nm=scale_bar_nm,
    )
    config = parse_section(RenderConfig, values, "hdsmlm render")
    with progress_bar() as listener:
        job = TableJob(table, tuple(out), camera_pixel_nm, overwrite)
        rendering = render_table(job, config, listener)
    height, width = rendering.density.shape
    typer.echo(
        f"{width} x {height} pixels of {rendering.pixel_size_nm:g} nm, "
        f"{rendering.density.sum(dtype=float):.0f} localizations"
    )
    for path in out:
        typer.echo(path)
