"""``hdsmlm doctor``: what a movie tells of its microscope."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hdsmlm.cli.table_options import Overwrite


class KindChoice(StrEnum):
    """Kind of camera."""

    auto = "auto"
    emccd = "emccd"
    scmos = "scmos"
    ideal = "ideal"


def command(
    movie: Annotated[
        str,
        typer.Argument(help="Movie: a file, a folder of TIFF files, or a pattern in quotes."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for camera.yaml; nothing is written without it."),
    ] = None,
    pixel_size: Annotated[
        float | None,
        typer.Option(
            "--pixel-size",
            "--pixel-size-nm",
            help="Pixel in the sample, nm. Default: from the movie's metadata.",
        ),
    ] = None,
    kind: Annotated[
        KindChoice, typer.Option(help="Kind of camera; auto guesses and says so.")
    ] = KindChoice.auto,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Measured sCMOS maps (.npy: offset, variance, gain in e-/ADU)."),
    ] = None,
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="Model for density and run time; none leaves both out."),
    ] = "wolf",
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Use what can be read of a damaged file.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Estimate camera, PSF, background, density and drift from a movie alone.

    Prints a report with intervals and with what was assumed, and writes camera.yaml for hdsmlm
    localize.
    """
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.errors import ConfigError
    from hdsmlm.pipelines.doctor import DoctorJob, examine_movie

    if pixel_size is not None and not 5 < pixel_size <= 1000:
        raise ConfigError(
            f"--pixel-size {pixel_size:g}: above 5 and at most 1000 nm was wanted: the camera's "
            "pixel divided by the magnification"
        )
    job = DoctorJob(
        movie=movie,
        out=out,
        pixel_size_nm=pixel_size,
        kind=kind.value,
        calibration=calibration,
        model=None if model == "none" else model,
        allow_truncated=allow_truncated,
        overwrite=overwrite,
    )
    with progress_bar() as listener:
        report = examine_movie(job, listener)
    typer.echo(report.to_text(), nl=False)
