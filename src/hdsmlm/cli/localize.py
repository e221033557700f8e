"""``hdsmlm localize``: from a movie to sub-pixel localizations."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hdsmlm.cli.predict import Engine, PrecisionChoice, RunnerChoice, frame_range
from hdsmlm.cli.remote import Server


class FitChoice(StrEnum):
    """What is fitted together."""

    joint = "joint"
    frame = "frame"


def command(
    movie: Annotated[
        str,
        typer.Argument(help="Movie: a file, a folder of TIFF files, or a pattern in quotes."),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Table: .hdf5 (native), .csv (ThunderSTORM) or .parquet."),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Name of a shipped model, or the folder of a model bundle."
        ),
    ] = "wolf",
    camera: Annotated[
        str | None,
        typer.Option(
            help="Microscope: a camera.yaml, or the name of a preset. Default: estimated from the "
            "movie, as `hdsmlm doctor` does."
        ),
    ] = None,
    sigma_px: Annotated[
        float | None, typer.Option(help="Width of a Gaussian PSF in pixels; replaces the file's.")
    ] = None,
    fit: Annotated[
        FitChoice,
        typer.Option(help="joint: blinks in space and time; frame: every frame by itself."),
    ] = FitChoice.joint,
    blinks: Annotated[
        Path | None, typer.Option(help="Also write a table of blinks, one row each.")
    ] = None,
    alternatives: Annotated[
        Path | None,
        typer.Option(help="Also write what was not chosen, with its posterior weight."),
    ] = None,
    pixel_size_nm: Annotated[
        float | None,
        typer.Option(
            "--pixel-size-nm",
            "--pixel-size",
            help="Pixel in the sample, nm. Default: from the movie or camera.yaml.",
        ),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(help="Range first:last, counted from 0, the last not included; e.g. 0:500."),
    ] = None,
    engine: Annotated[Engine, typer.Option(help="Who runs the network.")] = Engine.auto,
    precision: Annotated[
        PrecisionChoice, typer.Option(help="Arithmetic of the network.")
    ] = PrecisionChoice.f32,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a field, e.g. --set spacetime.core_frames=32."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads; default: all cores.")] = None,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Processes that share the movie, and the threads among them."),
    ] = 1,
    runner: Annotated[
        RunnerChoice, typer.Option(help="Workers: processes of this machine, or Ray.")
    ] = RunnerChoice.local,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster; else Ray starts on this machine.")
    ] = None,
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Use what can be read of a damaged file.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the tables that are there.")
    ] = False,
    server: Server = None,
) -> None:
    """Localize the emitters of a movie: predict, decode, fit.

    Writes one row per emitter and frame with standard errors. A stopped run goes on when the same
    command is given again.
    """
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.config.base import parse_assignments, parse_section, set_field
    from hdsmlm.config.localize import LocalizeConfig

    if server is not None:
        from hdsmlm.cli import remote

        remote.require_unset(
            alternatives=alternatives,
            threads=threads,
            workers=workers if workers > 1 else None,
            address=address,
        )
        options = {
            "fit": fit.value,
            "engine": engine.value,
            "precision": precision.value,
            "sigma_px": sigma_px,
            "allow_truncated": allow_truncated,
            "set": parse_assignments(set_ or []),
            **frame_range(frames),
        }
        asked = remote.Asked(movie, model, camera, pixel_size_nm, options, overwrite)
        remote.localize(server, asked, out, blinks)
        return
    from hdsmlm.pipelines.localize import LocalizeJob, localize_movie
    from hdsmlm.pipelines.spread import Workers

    prediction: dict[str, Any] = {
        "engine": engine.value,
        "precision": precision.value,
        "count_map": "none",
        "overlay_frames": 0,
        "pixel_size_nm": pixel_size_nm,
        "threads": threads,
        **frame_range(frames),
    }
    values: dict[str, Any] = {"fit": fit.value, "threads": threads, "prediction": prediction}
    for key, value in parse_assignments(set_ or []).items():
        set_field(values, key, value)
    config = parse_section(LocalizeConfig, values, "command line")
    job = LocalizeJob(
        movie,
        out,
        model,
        camera,
        sigma_px,
        blinks,
        alternatives,
        allow_truncated,
        overwrite,
        workers=Workers(workers, runner.value, address),
    )
    with progress_bar() as listener:
        summary = localize_movie(job, config, listener)
    tables = {"table": out, "blinks in": blinks, "alternatives": alternatives}
    written = [f"{name:<18} {path}" for name, path in tables.items() if path is not None]
    typer.echo(summary.to_text() + "\n".join(written))
