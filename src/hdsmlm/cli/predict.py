"""``hdsmlm predict``: from a movie to counted emitters."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hdsmlm.cli.remote import Server


class Engine(StrEnum):
    """Who runs the network."""

    auto = "auto"
    openvino = "openvino"
    onnxruntime = "onnxruntime"
    keras = "keras"


class PrecisionChoice(StrEnum):
    """Arithmetic of the engine."""

    f32 = "f32"
    bf16 = "bf16"


class CountMapChoice(StrEnum):
    """How the count map is written."""

    tif = "tif"
    zarr = "zarr"
    none = "none"


class RunnerChoice(StrEnum):
    """Where several workers run."""

    local = "local"
    ray = "ray"


def command(
    movie: Annotated[
        str,
        typer.Argument(help="Movie: a file, a folder of TIFF files, or a pattern in quotes."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder.")],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Name of a shipped model, or the folder of a model bundle."
        ),
    ] = "wolf",
    engine: Annotated[
        Engine,
        typer.Option(help="Who runs the network; auto: a GPU where there is one, else OpenVINO."),
    ] = Engine.auto,
    precision: Annotated[
        PrecisionChoice,
        typer.Option(help="Arithmetic; bf16 (OpenVINO) is faster and loses about two digits."),
    ] = PrecisionChoice.f32,
    pixel_size_nm: Annotated[
        float | None,
        typer.Option(
            "--pixel-size-nm",
            "--pixel-size",
            help="Pixel in the sample, nm. Default: from the movie's metadata.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Expected count that makes an emitter, 0..1. Default: the model's own."),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(help="Range first:last, counted from 0, the last not included; e.g. 0:500."),
    ] = None,
    count_map: Annotated[
        CountMapChoice, typer.Option(help="Format of the count map; none saves time and disk.")
    ] = CountMapChoice.tif,
    overlays: Annotated[int, typer.Option(help="Number of frames drawn with their emitters.")] = 6,
    tile: Annotated[int | None, typer.Option(help="Side of a tile, pixels.")] = None,
    chunk: Annotated[int | None, typer.Option(help="Frames per call of the network.")] = None,
    normalization_window: Annotated[
        str,
        typer.Option(
            help="Frames of the sliding window that grey levels come from; or whole; or auto: "
            "a window where they drift."
        ),
    ] = "auto",
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
        bool, typer.Option("--overwrite", help="Replace the results in the output folder.")
    ] = False,
    server: Server = None,
) -> None:
    """Find and count the emitters in every frame of a movie.

    Writes emitters.csv, the count map, overlay pictures and a summary. A stopped run goes on when
    the same command is given again.
    """
    is_number = normalization_window.isdecimal()
    window = int(normalization_window) if is_number else normalization_window
    if server is not None:
        from hdsmlm.cli import remote

        remote.require_unset(
            tile=tile,
            chunk=chunk,
            threads=threads,
            workers=workers if workers > 1 else None,
            address=address,
        )
        options = {
            "engine": engine.value,
            "precision": precision.value,
            "threshold": threshold,
            "count_map": count_map.value,
            "overlays": overlays,
            "normalization_window": window,
            "allow_truncated": allow_truncated,
            **frame_range(frames),
        }
        asked = remote.Asked(movie, model, None, pixel_size_nm, options, overwrite)
        remote.predict(server, asked, out)
        return
    from hdsmlm.bundle import load_bundle
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.config.base import parse_section
    from hdsmlm.config.prediction import PredictionConfig
    from hdsmlm.pipelines.predict import PredictionJob, predict_movie
    from hdsmlm.pipelines.spread import Workers

    values: dict[str, Any] = {
        "engine": engine.value,
        "precision": precision.value,
        "count_map": count_map.value,
        "overlay_frames": overlays,
        "pixel_size_nm": pixel_size_nm,
        "threads": threads,
        "normalization_window": window,
        **frame_range(frames),
    }
    if tile is not None:
        values["tile_px"] = tile
    if chunk is not None:
        values["chunk_frames"] = chunk
    if threshold is not None:
        decoding = load_bundle(model).manifest.decoding
        values["decoding"] = {**decoding.model_dump(), "threshold": threshold}
    config = parse_section(PredictionConfig, values, "command line")
    job = PredictionJob(
        movie,
        out,
        model,
        allow_truncated,
        overwrite,
        workers=Workers(workers, runner.value, address),
    )
    with progress_bar() as listener:
        summary = predict_movie(job, config, listener)
    typer.echo(summary.to_text() + f"results in          {out}")


def frame_range(frames: str | None) -> dict[str, int]:
    """Read ``"10:20"``, ``"10:"`` or ``":20"``."""
    from hdsmlm.errors import ConfigError

    if frames is None:
        return {}
    first, colon, last = frames.partition(":")
    try:
        if not colon:
            raise ValueError
        values = {"first_frame": int(first or 0)}
        return {**values, "last_frame": int(last)} if last else values
    except ValueError:
        raise ConfigError(
            f"--frames {frames}: expected first:last counted from 0, such as 0:500 or 100:"
        ) from None
