"""``hdsmlm frc``: resolution by Fourier ring correlation."""

from __future__ import annotations

from typing import Annotated

import typer

from hdsmlm.cli.table_options import CameraPixel, OutResults, Overwrite, Table, given


def command(
    table: Table,
    out: OutResults = None,
    pixel_size_nm: Annotated[
        float | None,
        typer.Option(
            "--pixel-size-nm", "--pixel-size", help="Pixel of the rendered halves, nm; default 5."
        ),
    ] = None,
    block_frames: Annotated[
        int | None,
        typer.Option(
            "--block-frames",
            help="Frames in a row that stay in one half; default 500; 0 splits by localizations.",
        ),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option("--repeats", help="Random splits; default 5.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the splits.")] = None,
    camera_pixel_nm: CameraPixel = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure the resolution: where two halves of the data cease to correlate (1/7)."""
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.config.base import parse_section
    from hdsmlm.config.postprocessing import FrcConfig
    from hdsmlm.pipelines.postprocess import TableJob, measure_frc

    values = given(
        pixel_size_nm=pixel_size_nm, block_frames=block_frames, repeats=repeats, seed=seed
    )
    config = parse_section(FrcConfig, values, "hdsmlm frc")
    with progress_bar() as listener:
        job = TableJob(table, tuple(out or ()), camera_pixel_nm, overwrite)
        result = measure_frc(job, config, listener)
    found = result.resolution_nm == result.resolution_nm
    value = f"{result.resolution_nm:.1f} ± {result.spread_nm:.1f} nm" if found else "not found"
    typer.echo(f"FRC resolution: {value}")
    for note in result.notes:
        typer.echo(f"note: {note}")
    for path in out or ():
        typer.echo(path)
