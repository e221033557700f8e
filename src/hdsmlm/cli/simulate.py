"""``hdsmlm simulate``: a movie with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    config: Annotated[
        Path | None,
        typer.Argument(help="YAML with frames, height, width, seed and simulation ranges."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for movie.tif, truth.csv, parameters.yaml.")
    ] = Path("simulated"),
    frames: Annotated[int | None, typer.Option(help="Number of frames.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Height x width in pixels, e.g. 256x256.")
    ] = None,
    density: Annotated[
        str | None, typer.Option(help="Emitters on per µm² and frame: a number, or low:high.")
    ] = None,
    photons: Annotated[
        str | None, typer.Option(help="Median photons per frame: a number, or low:high.")
    ] = None,
    background: Annotated[
        str | None, typer.Option(help="Background photons per pixel: a number, or low:high.")
    ] = None,
    sigma_px: Annotated[
        str | None, typer.Option(help="PSF width (sigma) in pixels: a number, or low:high.")
    ] = None,
    pixel_size_nm: Annotated[
        str | None, typer.Option(help="Pixel size in nm: a number, or low:high.")
    ] = None,
    camera: Annotated[str | None, typer.Option(help="emccd, scmos or ideal.")] = None,
    psf: Annotated[str | None, typer.Option(help="gaussian, astigmatic or diffraction.")] = None,
    structure: Annotated[
        str | None, typer.Option(help="uniform, curves, rings, clusters or mesh.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same movie.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a movie that is in the folder.")
    ] = False,
) -> None:
    """Simulate a blinking movie of any length with its truth.

    Options win over the YAML file; what neither fixes is drawn from the ranges by the seed.
    """
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.cli.ranges import nested, only, parse_range, parse_size
    from hdsmlm.config.base import load_section, parse_section
    from hdsmlm.config.simulation import (
        CameraWeights,
        MovieConfig,
        PsfWeights,
        StructureWeights,
    )

    overrides: dict[str, Any] = {"frames": frames, "seed": seed}
    overrides["height"], overrides["width"] = parse_size(size) or (None, None)
    ranges = {
        "density_per_um2": ("--density", density),
        "photons": ("--photons", photons),
        "background.photons": ("--background", background),
        "sigma_px": ("--sigma-px", sigma_px),
        "pixel_size_nm": ("--pixel-size-nm", pixel_size_nm),
    }
    for key, (option, text) in ranges.items():
        overrides[f"simulation.{key}"] = parse_range(text, option)
    overrides["simulation.cameras"] = only(camera, list(CameraWeights.model_fields), "camera")
    overrides["simulation.psfs"] = only(psf, list(PsfWeights.model_fields), "psf")
    kinds = list(StructureWeights.model_fields)
    overrides["simulation.structures"] = only(structure, kinds, "structure")
    given = {key: value for key, value in overrides.items() if value is not None}
    movie = (
        load_section(MovieConfig, config, given)
        if config is not None
        else parse_section(MovieConfig, nested(given), "command line")
    )
    from hdsmlm.errors import OutputError
    from hdsmlm.pipelines.simulate import MOVIE_FILE, simulate_movie

    if (out / MOVIE_FILE).exists() and not overwrite:
        raise OutputError(
            f"{out} already holds a simulated movie; choose another --out, or replace it with "
            "--overwrite"
        )
    with progress_bar() as listener:
        result = simulate_movie(movie, out, listener)
    typer.echo(
        f"{movie.frames} frames, {result.n_emitters} emitters, "
        f"{result.density_per_um2:.3g} per µm² and frame"
    )
    for path in (result.movie, result.truth, result.parameters, result.camera):
        typer.echo(path)
