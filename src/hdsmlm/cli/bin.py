"""``hdsmlm bin``: from a sparse movie to a dense one with labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    movie: Annotated[
        str,
        typer.Argument(help="Sparse movie: a file, a folder of TIFF files, or a pattern."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the binned movie.")],
    factor: Annotated[
        int, typer.Option("--factor", "-n", min=2, help="Sparse frames that are added up to one.")
    ] = 5,
    sequences: Annotated[int, typer.Option(min=1, help="Dense sequences that are written.")] = 100,
    sequence_frames: Annotated[
        int, typer.Option("--sequence-frames", help="Consecutive frames of a sequence.")
    ] = 5,
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
    model: Annotated[
        str, typer.Option("--model", "-m", help="Model that finds the candidates.")
    ] = "wolf",
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
    seed: Annotated[int, typer.Option(help="The same seed gives the same binned movie.")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a field, e.g. --set sound.min_probability=0.9."),
    ] = None,
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Use what can be read of a damaged file.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a binned movie that is in the folder.")
    ] = False,
) -> None:
    """Add frames of a sparse movie that share no blink: a dense movie whose emitters are known.

    The localizations of the sparse frames become labels; doubtful spots are marked, and learning
    leaves them out.
    """
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.config.base import parse_assignments, parse_section, set_field
    from hdsmlm.config.binning import BinningConfig
    from hdsmlm.pipelines.bin import BinJob, bin_movie
    from hdsmlm.pipelines.sparse import SparseJob

    values: dict[str, Any] = {
        "factor": factor,
        "sequences": sequences,
        "sequence_frames": sequence_frames,
        "min_lag_frames": lag,
        "augment": augment,
        "seed": seed,
    }
    for key, value in parse_assignments(set_ or []).items():
        set_field(values, key, value)
    config = parse_section(BinningConfig, values, "command line")
    sparse = SparseJob(movie, model, camera, sigma_px, pixel_size_nm, allow_truncated)
    with progress_bar() as listener:
        result = bin_movie(BinJob(sparse, out, overwrite), config, listener)
    typer.echo(result.to_text() + f"folder             {out}")
