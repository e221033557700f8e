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
from hdsmlm.io.tables import write_table
from hdsmlm.io.writing import atomic_path, output_folder
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.provenance import Provenance, file_sha256
from hdsmlm.simulation.conditions import draw_conditions
from hdsmlm.simulation.recording import Recording

_BIGTIFF_BYTES = 3_900_000_000
_MOVIE_STREAM = 1
"""Part of the seed that keeps movies apart from the scenes of training."""


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
    recording = Recording(conditions, shape, (config.seed, _MOVIE_STREAM, 0))
    tables: list[Emitters] = []

    def frames() -> Iterator[NDArray[np.uint16]]:
        for start in range(0, config.frames, chunk_frames):
            piece, emitters = recording.read(min(chunk_frames, config.frames - start))
            tables.append(emitters)
            yield from piece
            done = start + len(piece)
            listener(Event("simulate", done, config.frames, f"{sum(map(len, tables))} emitters"))

    result = SimulatedMovie(out / "movie.tif", out / "truth.csv", out / "parameters.yaml", 0.0, 0)
    with atomic_path(result.movie) as temporary:
        _write_tiff(temporary, frames(), (config.frames, *shape), conditions.pixel_size_nm)
    truth = Emitters.concatenate(tables)
    write_table(result.truth, truth)
    area_um2 = config.height * config.width * (conditions.pixel_size_nm / 1000) ** 2
    result = dataclasses.replace(
        result, n_emitters=len(truth), density_per_um2=len(truth) / area_um2 / config.frames
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
    return result


def _write_tiff(
    path: Path,
    frames: Iterator[NDArray[np.uint16]],
    shape: tuple[int, int, int],
    pixel_size_nm: float,
) -> None:
    """Write an ImageJ stack, or OME in BigTIFF where the classic format is too small."""
    big = 2 * shape[0] * shape[1] * shape[2] > _BIGTIFF_BYTES
    pixel_um = pixel_size_nm / 1000
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
