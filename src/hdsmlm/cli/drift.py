"""``hdsmlm drift``: measure the drift of the sample and take it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdsmlm.cli.table_options import CameraPixel, OutTable, Overwrite, Table, given

NOISE = 3.0
"""Largest drift over the scatter of the pairs below which it may be none."""


def command(
    table: Table,
    out: OutTable,
    method: Annotated[
        str | None,
        typer.Option("--method", help="rcc (cross-correlation, default) or comet (extra drift)."),
    ] = None,
    segments: Annotated[
        int | None,
        typer.Option("--segments", help="Time segments; default: by the number of rows, 3 to 12."),
    ] = None,
    max_drift_nm: Annotated[
        float | None,
        typer.Option("--max-drift-nm", help="Largest drift between segments, nm; default 500."),
    ] = None,
    pixel_size_nm: Annotated[
        float | None,
        typer.Option(
            "--pixel-size-nm",
            "--pixel-size",
            help="Pixel of the images that are correlated, nm; default 20.",
        ),
    ] = None,
    apply: Annotated[
        Path | None,
        typer.Option("--apply", help="Subtract the drift in this .drift.csv; measure nothing."),
    ] = None,
    camera_pixel_nm: CameraPixel = None,
    overwrite: Overwrite = False,
) -> None:
    """Correct the drift; writes the table and beside it .drift.csv and .drift.png."""
    import math

    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.config.base import parse_section
    from hdsmlm.config.postprocessing import DriftConfig
    from hdsmlm.pipelines.postprocess import TableJob, correct_drift, drift_files

    values = given(
        method=method, segments=segments, max_drift_nm=max_drift_nm, pixel_size_nm=pixel_size_nm
    )
    config = parse_section(DriftConfig, values, "hdsmlm drift")
    with progress_bar() as listener:
        drift = correct_drift(
            TableJob(table, (out,), camera_pixel_nm, overwrite), config, apply, listener
        )
    axes = {"x": drift.x_nm, "y": drift.y_nm, "z": drift.z_nm}
    spans = ", ".join(f"{k} {v.max() - v.min():.1f} nm" for k, v in axes.items() if v is not None)
    typer.echo(f"range of the drift: {spans}")
    if math.isfinite(drift.residual_nm):
        typer.echo(
            f"pairs of time segments agree within {drift.residual_nm:.2g} nm "
            f"({drift.n_dropped} of {drift.n_pairs} dropped)"
        )
        largest = max(v.max() - v.min() for v in (drift.x_nm, drift.y_nm))
        if largest < NOISE * drift.residual_nm:
            typer.echo(
                "note: the drift is hardly larger than the scatter of the pairs; the table may be "
                "better as it was"
            )
    for path in (out, *drift_files(out)):
        typer.echo(path)
