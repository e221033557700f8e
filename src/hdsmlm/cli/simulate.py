"""``hdsmlm simulate``: a movie with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

if TYPE_CHECKING:
    from hdsmlm.pipelines.simulate import SimulatedMovie


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
    like: Annotated[
        str | None,
        typer.Option(help="Resemble this movie; writes like.yaml. --camera then says its kind."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="With --like: measured sCMOS maps (.npy) of the movie's camera."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="With --like: model that counts, or none.")
    ] = "wolf",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a movie that is in the folder.")
    ] = False,
) -> None:
    """Simulate a blinking movie of any length with its truth.

    Options win over the YAML file and over --like; what none fixes is drawn from the ranges by the
    seed.
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
    from hdsmlm.errors import ConfigError
    from hdsmlm.pipelines.simulate import require_free, simulate_movie

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
    require_free(out, overwrite)
    if like is not None:
        _simulate_like(like, out, given, _LikeOptions(config, calibration, model, camera))
        return
    if calibration is not None:
        raise ConfigError("--calibration belongs to --like; give the movie that it was taken with")
    movie = (
        load_section(MovieConfig, config, given)
        if config is not None
        else parse_section(MovieConfig, nested(given), "command line")
    )
    with progress_bar() as listener:
        result = simulate_movie(movie, out, listener)
    _tell(result, movie.frames)


class _LikeOptions(NamedTuple):
    config: Path | None
    calibration: Path | None
    model: str
    camera: str | None


def _simulate_like(like: str, out: Path, given: dict[str, Any], options: _LikeOptions) -> None:
    """Measure a movie, write and print ``like.yaml``, simulate, and compare."""
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.config.base import parse_section, set_field
    from hdsmlm.config.simulation import MovieConfig
    from hdsmlm.errors import ConfigError
    from hdsmlm.io.writing import output_folder
    from hdsmlm.pipelines.like import LikeJob, gap_to_configuration, movie_like, write_like
    from hdsmlm.pipelines.simulate import simulate_movie

    if options.config is not None:
        raise ConfigError(
            "--like and a YAML file both set the simulation; give one of them (edit the like.yaml "
            "that --like writes, then simulate that)"
        )
    pixel = given.get("simulation.pixel_size_nm")
    if pixel is not None and pixel[0] != pixel[1]:
        raise ConfigError("with --like one --pixel-size-nm is wanted, that of the movie")
    given.pop("simulation.cameras", None)  # the kind of the movie's camera, not another one
    job = LikeJob(
        movie=like,
        pixel_size_nm=None if pixel is None else pixel[0],
        kind=_kind(options.camera),
        calibration=options.calibration,
        model=None if options.model == "none" else options.model,
    )
    with progress_bar() as listener:
        found = movie_like(job, listener)
        for key, value in given.items():
            set_field(found.values, key, value)
        movie = parse_section(MovieConfig, found.values, "--like and command line")
        path = write_like(found, output_folder(out))
        result = simulate_movie(movie, out, listener)
        gap = gap_to_configuration(like, movie)
    typer.echo(found.to_yaml(), nl=False)
    _tell(result, movie.frames)
    typer.echo(path)
    typer.echo(f"domain gap between the movie and its likeness: {gap.range_text}")
    for item in gap.notable:
        typer.echo(f"  {item.feature.quantity}: {item.difference:+.1f} SD in the movie")


def _kind(camera: str | None) -> Literal["auto", "emccd", "scmos", "ideal"]:
    kinds: dict[str | None, Literal["emccd", "scmos", "ideal"]] = {
        "emccd": "emccd",
        "scmos": "scmos",
        "ideal": "ideal",
    }
    return kinds.get(camera, "auto")


def _tell(result: SimulatedMovie, frames: int) -> None:
    typer.echo(
        f"{frames} frames, {result.n_emitters} emitters, "
        f"{result.density_per_um2:.3g} per µm² and frame"
    )
    for path in (result.movie, result.truth, result.parameters, result.camera):
        typer.echo(path)
