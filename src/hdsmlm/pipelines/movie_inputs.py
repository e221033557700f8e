"""What a run takes from a movie: its frames, field of view, grey levels and hashes."""

from __future__ import annotations

import hashlib

import numpy as np

from hdsmlm.bundle import Bundle
from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.config.prediction import PredictionConfig
from hdsmlm.errors import ConfigError, MovieError, counted
from hdsmlm.inference.summary import FieldOfView
from hdsmlm.records.movie import MovieReader, frame_blocks
from hdsmlm.records.provenance import file_sha256


def normalization_for(bundle: Bundle, config: PredictionConfig) -> NormalizationConfig:
    """Return how the model's frames are normalized, with the window that this run asks for."""
    wanted = config.normalization_window
    window = None if wanted == "whole" else wanted
    return bundle.manifest.normalization.model_copy(update={"window_frames": window})


def field_of_view(reader: MovieReader, config: PredictionConfig) -> FieldOfView:
    """Return the frame's extent; a movie of unknown pixel size is refused."""
    pixel_size_nm = config.pixel_size_nm or reader.info.pixel_size_nm
    if pixel_size_nm is None:
        raise ConfigError(
            f"{reader.info.name} does not say how wide its pixels are in the sample; give it with "
            "--pixel-size-nm, in nm (camera pixel divided by magnification, often about 100)"
        )
    return FieldOfView(reader.info.height, reader.info.width, pixel_size_nm)


def frame_range(reader: MovieReader, bundle: Bundle, config: PredictionConfig) -> tuple[int, int]:
    """Return the frames to work on (first, one past the last), checked against the movie."""
    n_frames, needed = reader.info.n_frames, bundle.manifest.window_frames
    if n_frames < needed:
        raise MovieError(
            f"{reader.info.name} has {counted(n_frames, 'frame')}, but the model "
            f"{bundle.manifest.name} needs at least {needed} consecutive frames; record a "
            "longer movie, or use a model with a shorter window"
        )
    last = n_frames if config.last_frame is None else config.last_frame
    if last > n_frames or config.first_frame >= n_frames:
        raise ConfigError(
            f"frames {config.first_frame}:{last} were asked for, but {reader.info.name} has the "
            f"frames 0:{n_frames} (the last not included)"
        )
    return config.first_frame, last


def movie_sha256(reader: MovieReader) -> dict[str, str]:
    """Return the hash of each file of the movie, or of the frames of a movie in memory."""
    if reader.info.paths:
        return {
            f"{number} {path.name}": file_sha256(path)
            for number, path in enumerate(reader.info.paths, start=1)
        }
    digest = hashlib.sha256()
    for start, stop in frame_blocks(reader.info, 0, reader.info.n_frames):
        frames = reader.read(start, stop)
        digest.update(np.ascontiguousarray(frames).tobytes())
    return {reader.info.name: digest.hexdigest()}
