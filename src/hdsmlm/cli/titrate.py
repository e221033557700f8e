"""``hdsmlm titrate``: the density up to which a model is reliable on a microscope."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hdsmlm.cli.predict import Engine, PrecisionChoice


def command(
    movie: Annotated[
        str,
        typer.Argument(help="Sparse movie: a file, a folder of TIFF files, or a pattern."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for titration.csv, .json and .png.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name of a shipped model, or a bundle's folder.")
    ] = "wolf",
    factors: Annotated[
        str, typer.Option(help="Numbers of frames that are added up.")
    ] = "1,2,5,10,20",
    reliable_f1: Annotated[
        float, typer.Option("--reliable-f1", help="F1 down to which a density is reliable.")
    ] = 0.85,
    camera: Annotated[
        str | None,
        typer.Option(help="Microscope: a camera.yaml or a preset. Default: from the movie."),
    ] = None,
    sigma_px: Annotated[
        float | None, typer.Option(help="Width of a Gaussian PSF in pixels; replaces the file's.")
    ] = None,
    pixel_size_nm: Annotated[
        float | None,
        typer.Option("--pixel-size-nm", help="Pixel in the sample. Default: camera or movie."),
    ] = None,
    lag: Annotated[
        int | None,
        typer.Option(
            min=1, help="Frames between summands; default: measured from the movie's blinks."
        ),
    ] = None,
    augment: Annotated[
        bool,
        typer.Option("--augment", help="Turn, mirror and shift the summands (short movies)."),
    ] = False,
    engine: Annotated[Engine, typer.Option(help="Who runs the network.")] = Engine.auto,
    precision: Annotated[
        PrecisionChoice, typer.Option(help="Arithmetic of the network.")
    ] = PrecisionChoice.f32,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a field, e.g. --set binning.sequences=24."),
    ] = None,
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Use what can be read of a damaged file.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a titration that is in the folder.")
    ] = False,
) -> None:
    """Add up 1, 2, 5, ... frames of a sparse movie; say to what density the model holds.

    Needs a movie whose emitters rarely overlap. Prints recall, precision and count error against
    density, and how many times faster one could image.
    """
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.config.base import parse_assignments, parse_section, set_field
    from hdsmlm.config.titration import TitrationConfig
    from hdsmlm.errors import ConfigError
    from hdsmlm.pipelines.sparse import SparseJob
    from hdsmlm.pipelines.titrate import PICTURE, TitrateJob, titrate_movie

    try:
        numbers = [int(part) for part in factors.split(",")]
    except ValueError:
        raise ConfigError(
            f"--factors {factors}: expected whole numbers with commas between, e.g. 1,2,5,10"
        ) from None
    values: dict[str, Any] = TitrationConfig().model_dump()
    values |= {"factors": numbers, "reliable_f1": reliable_f1}
    values["binning"] |= {"min_lag_frames": lag, "augment": augment}
    for key, value in parse_assignments(set_ or []).items():
        set_field(values, key, value)
    config = parse_section(TitrationConfig, values, "command line")
    sparse = SparseJob(movie, model, camera, sigma_px, pixel_size_nm, allow_truncated)
    job = TitrateJob(sparse, out, engine.value, precision.value, overwrite)
    with progress_bar() as listener:
        result = titrate_movie(job, config, listener)
    typer.echo(result.to_text() + f"picture            {out / PICTURE}")
