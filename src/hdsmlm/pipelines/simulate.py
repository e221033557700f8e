"""Simulate a movie: frames to a 16-bit TIFF, truth to a table, parameters and camera to YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from hdsmlm.config.base import write_yaml
from hdsmlm.config.camera import ScmosConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.psf import DiffractionPsfConfig
from hdsmlm.config.simulation import MovieConfig
from hdsmlm.errors import OutputError
from hdsmlm.io.movies.writing import write_tiff_movie
from hdsmlm.io.tables import TableWriter, open_table_writer
from hdsmlm.io.writing import atomic_path, output_folder
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.provenance import Provenance, file_sha256
from hdsmlm.simulation.conditions import Conditions, draw_conditions
from hdsmlm.simulation.recording import TRUTH_COLUMNS, Recording
from hdsmlm.units import density_per_um2

MOVIE_FILE = "movie.tif"
_MOVIE_STREAM = 3_000_000_019
"""Part of the seed that keeps movies apart from scenes: no run draws a scene of this index."""


@dataclass(frozen=True)
class SimulatedMovie:
    """What :func:`simulate_movie` wrote.

    Parameters
    ----------
    movie, truth, parameters : Path
        TIFF, csv and YAML.
    camera : Path
        Camera, PSF and pixel size for `hdsmlm localize --camera`.
    density_per_um2 : float
        Listed emitters per µm² and frame that the movie holds.
    n_emitters : int
        Rows of the truth.
    """

    movie: Path
    truth: Path
    parameters: Path
    camera: Path
    density_per_um2: float
    n_emitters: int


def require_free(out: Path, overwrite: bool) -> None:
    """Check that a folder holds no simulated movie, unless it may be replaced.

    Raises
    ------
    OutputError
        When it does.
    """
    if (out / MOVIE_FILE).exists() and not overwrite:
        raise OutputError(
            f"{out} already holds a simulated movie; choose another --out, or replace it with "
            "--overwrite"
        )


def simulate_movie(
    config: MovieConfig, out: Path, listener: Listener = silent, chunk_frames: int = 64
) -> SimulatedMovie:
    """Write ``movie.tif``, ``truth.csv``, ``parameters.yaml`` and ``camera.yaml`` into ``out``.

    Parameters
    ----------
    config : MovieConfig
        Size, length, seed and ranges.
    out : Path
        Folder; is created.
    listener : callable, optional
        Hears the progress.
    chunk_frames : int, optional
        Frames drawn at a time; changes memory and nothing else.

    Returns
    -------
    SimulatedMovie
        Paths and the density reached.

    Raises
    ------
    ConfigError
        For impossible values.
    OutputError
        When a file cannot be written.
    """
    out = output_folder(Path(out))
    conditions = draw_conditions(
        config.simulation, np.random.default_rng([config.seed, _MOVIE_STREAM])
    )
    shape = (config.height, config.width)
    recording = Recording(conditions, shape, (config.seed, _MOVIE_STREAM))
    n_emitters = 0

    def frames(truth: TableWriter) -> Iterator[NDArray[np.uint16]]:
        nonlocal n_emitters
        for start in range(0, config.frames, chunk_frames):
            piece, emitters = recording.read(min(chunk_frames, config.frames - start))
            truth.append(emitters)
            n_emitters += len(emitters)
            yield from piece
            done = start + len(piece)
            listener(Event("simulate", done, config.frames, f"{n_emitters} emitters"))

    movie, table = out / MOVIE_FILE, out / "truth.csv"
    with open_table_writer(table, TRUTH_COLUMNS) as truth, atomic_path(movie) as temporary:
        pixel_size_nm = conditions.pixel_size_nm
        write_tiff_movie(temporary, frames(truth), (config.frames, *shape), pixel_size_nm)
    density = density_per_um2(n_emitters / config.frames, *shape, pixel_size_nm)
    result = SimulatedMovie(
        movie, table, out / "parameters.yaml", out / "camera.yaml", density, n_emitters
    )
    provenance = Provenance(
        "simulate",
        config.model_dump(mode="json"),
        {path.name: file_sha256(path) for path in (result.movie, result.truth)},
    )
    record = {
        "conditions": conditions.model_dump(mode="json"),
        "density_reached_per_um2": round(result.density_per_um2, 6),
        "n_emitters": result.n_emitters,
        "provenance": dataclasses.asdict(provenance),
    }
    with atomic_path(result.parameters) as temporary:
        text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")
    with atomic_path(result.camera) as temporary:
        write_yaml(_microscope(conditions), temporary)
    return result


def _microscope(conditions: Conditions) -> MicroscopeConfig:
    """Return what a fit of the movie needs to know, as a user could have measured it."""
    notes: tuple[str, ...] = ("the microscope of a simulated movie",)
    camera, psf = conditions.camera, conditions.psf
    if isinstance(camera, ScmosConfig):
        same = {"gain_spread": 0.0, "read_noise_spread": 0.0, "baseline_spread_adu": 0.0}
        camera = camera.model_copy(update={**same, "hot_pixel_fraction": 0.0})
        notes += ("medians of the chip: the maps that were drawn are not written",)
    if isinstance(psf, DiffractionPsfConfig):
        notes += ("the diffraction PSF has no kernel in the fit; its width is estimated",)
        return MicroscopeConfig(camera=camera, pixel_size_nm=conditions.pixel_size_nm, notes=notes)
    return MicroscopeConfig(
        camera=camera, psf=psf, pixel_size_nm=conditions.pixel_size_nm, notes=notes
    )
