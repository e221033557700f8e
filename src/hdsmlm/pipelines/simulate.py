"""Simulate a movie: frames to a 16-bit TIFF, truth to a table, every parameter to a YAML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import yaml
from numpy.typing import NDArray

from hdsmlm.config.simulation import MovieConfig
from hdsmlm.io.tables import TableWriter, open_table_writer
from hdsmlm.io.writing import atomic_path, output_folder
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.provenance import Provenance, file_sha256
from hdsmlm.simulation.conditions import draw_conditions
from hdsmlm.simulation.recording import TRUTH_COLUMNS, Recording
from hdsmlm.units import NM_PER_UM, density_per_um2

_BIGTIFF_BYTES = 3_900_000_000
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
    density_per_um2 : float
        Listed emitters per µm² and frame that the movie holds.
    n_emitters : int
        Rows of the truth.
    """

    movie: Path
    truth: Path
    parameters: Path
    density_per_um2: float
    n_emitters: int


def simulate_movie(
    config: MovieConfig, out: Path, listener: Listener = silent, chunk_frames: int = 64
) -> SimulatedMovie:
    """Write ``movie.tif``, ``truth.csv`` and ``parameters.yaml`` into ``out``.

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
        _write_tiff(temporary, frames(truth), (config.frames, *shape), pixel_size_nm)
    density = density_per_um2(n_emitters / config.frames, *shape, pixel_size_nm)
    result = SimulatedMovie(movie, table, out / "parameters.yaml", density, n_emitters)
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
    return result


def _write_tiff(
    path: Path,
    frames: Iterator[NDArray[np.uint16]],
    shape: tuple[int, int, int],
    pixel_size_nm: float,
) -> None:
    """Write an ImageJ stack, or OME in BigTIFF where the classic format is too small."""
    big = 2 * shape[0] * shape[1] * shape[2] > _BIGTIFF_BYTES
    pixel_um = pixel_size_nm / NM_PER_UM
    if big:
        metadata = {
            "axes": "TYX",
            "PhysicalSizeX": pixel_um,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": pixel_um,
            "PhysicalSizeYUnit": "µm",
        }
        with tifffile.TiffWriter(path, bigtiff=True, ome=True) as writer:
            writer.write(
                frames, shape=shape, dtype="uint16", photometric="minisblack", metadata=metadata
            )
        return
    with tifffile.TiffWriter(path, imagej=True) as writer:
        writer.write(
            frames,
            shape=shape,
            dtype="uint16",
            photometric="minisblack",
            resolution=(1 / pixel_um, 1 / pixel_um),
            metadata={"axes": "TYX", "unit": "um"},
        )
