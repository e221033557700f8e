"""``simulate --like``: a configuration whose simulated movie resembles a given one."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from hdsmlm.bundle import Bundle, load_bundle
from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.config.psf import GaussianPsfConfig
from hdsmlm.config.simulation import MovieConfig
from hdsmlm.errors import ConfigError, MovieError
from hdsmlm.estimation.camera import CameraEstimate, Kind, estimate_camera
from hdsmlm.estimation.domain import DomainGap, TrainingScenes, domain_gap, patches_of_sample
from hdsmlm.estimation.likeness import (
    Counter,
    Fading,
    Ruler,
    camera_ranges,
    fading,
    like_conditions,
)
from hdsmlm.estimation.microscope import MicroscopeEstimate, estimate_microscope
from hdsmlm.estimation.sample import sample_frames
from hdsmlm.inference.engines import build_engine
from hdsmlm.inference.predictor import Predictor
from hdsmlm.io.calibration import read_camera_maps
from hdsmlm.io.movies import ArrayMovie, open_movie
from hdsmlm.io.writing import atomic_path
from hdsmlm.normalization import fit_normalizer
from hdsmlm.records.count_map import expected_count
from hdsmlm.records.events import Listener, silent
from hdsmlm.records.movie import MovieReader
from hdsmlm.simulation.conditions import Conditions

LIKE_FILE = "like.yaml"
GAP_SCENES = 24
_RUNS, _RUN_FRAMES = 4, 24
"""Frames that are counted: the ends of a run see fewer neighbours in time, which changes little."""
_COUNT_SIDE_PX = 128
_SMALL_FADING = 0.05


@dataclass(frozen=True)
class LikeJob:
    """Which movie to resemble.

    Parameters
    ----------
    movie : Path or str
        File, folder or pattern.
    pixel_size_nm : float or None
        Pixel in the sample; by default from the movie's metadata.
    kind : str
        Kind of camera, or ``auto``.
    calibration : Path or None
        Measured maps of an sCMOS chip; their medians are taken.
    model : str, Path or None
        Model that counts emitters; None counts spots.
    """

    movie: Path | str
    pixel_size_nm: float | None = None
    kind: Kind = "auto"
    calibration: Path | None = None
    model: str | Path | None = "wolf"


@dataclass(frozen=True)
class Like:
    """A configuration like a movie.

    Parameters
    ----------
    values : dict
        Nested values of a movie configuration; what they leave out has its default.
    notes : tuple of str
        What was measured and what was assumed.
    """

    values: dict[str, Any]
    notes: tuple[str, ...] = field(default=())

    def to_yaml(self) -> str:
        """Return the values as YAML, the notes as comments above them."""
        head = "".join(f"# {line}\n" for line in self.notes)
        return head + yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True)


def movie_like(job: LikeJob, listener: Listener = silent) -> Like:
    """Measure a movie and find the conditions whose simulated movie measures alike.

    Raises
    ------
    ConfigError
        When the pixel size is unknown, or the movie does not tell its noise or PSF.
    MovieError
        When the movie is too short, too small or cannot be read.
    """
    maps = None if job.calibration is None else read_camera_maps(job.calibration)
    bundle = None if job.model is None else load_bundle(job.model)
    with closing(open_movie(job.movie)) as reader:
        info = reader.info
        pixel_size_nm = job.pixel_size_nm or info.pixel_size_nm
        if pixel_size_nm is None:
            raise ConfigError(
                f"the pixel size of {info.name} is not in its metadata, and a density per µm² "
                "needs it; give --pixel-size-nm: the camera's pixel divided by the magnification"
            )
        _require_contrast(reader)
        estimate = estimate_microscope(reader, pixel_size_nm, job.kind, listener, maps)
        camera, notes = _camera(estimate, info.name)
        count = _counter(bundle) if bundle is not None and _countable(reader, bundle) else None
        ruler = Ruler(camera, estimate.line, pixel_size_nm, count)
        target = ruler.measure(estimate.sample, _counted(reader))
    conditions = like_conditions(target, ruler, estimate.sample, listener)
    fade = fading(estimate.sample, estimate.line, camera)
    notes += (
        f"counted by {job.model if count else 'its spots'}: {target.density_per_um2:.3g} per µm² "
        f"and frame; the simulated density {conditions.density_per_um2:.3g} gives the same count",
        *_assumed(target.on_frames is None),
        *camera.assumptions,
    )
    size = {"frames": info.n_frames, "height": info.height, "width": info.width}
    values = {**size, "seed": 0, "simulation": _ranges(conditions, camera, fade, info.n_frames)}
    return Like(values, (f"simulation like {info.name}, by hdsmlm simulate --like", *notes))


def write_like(like: Like, folder: Path) -> Path:
    """Write ``like.yaml`` into a folder that exists."""
    path = folder / LIKE_FILE
    with atomic_path(path) as part:
        part.write_text(like.to_yaml(), encoding="utf-8")
    return path


def gap_to_configuration(movie: Path | str, config: MovieConfig) -> DomainGap:
    """Return the domain gap between a movie and scenes of a configuration.

    Raises
    ------
    MovieError
        When the movie is too small or holds no contrast.
    """
    ranges = config.simulation
    plain = dict.fromkeys(("gain_map", "offset_map", "variance_map"))
    ranges = ranges.model_copy(update={"scmos": ranges.scmos.model_copy(update=plain)})
    normalization = NormalizationConfig()
    with closing(open_movie(movie)) as reader:
        patches = patches_of_sample(sample_frames(reader), normalization)
    return domain_gap(patches, TrainingScenes(ranges, normalization, GAP_SCENES))


def _require_contrast(reader: MovieReader) -> None:
    values = np.concatenate(sample_frames(reader).runs)
    if values.min() == values.max():
        raise MovieError(
            f"a simulation like {reader.info.name} was wanted, but all its pixels have the value "
            f"{values.min():g}; check the shutter and the file, then give a movie with molecules"
        )


def _camera(estimate: MicroscopeEstimate, name: str) -> tuple[CameraEstimate, tuple[str, ...]]:
    """Return the camera, or where the values are no camera's one that makes the same noise."""
    width, line = estimate.width, estimate.line
    if not width.is_significant:
        raise ConfigError(
            f"a simulation like {name} was wanted, but the movie does not show its PSF: too little "
            "changes from frame to frame. Give a movie in which molecules blink, or write a "
            "configuration by hand (hdsmlm simulate --help)"
        )
    if estimate.camera is not None:
        return estimate.camera, ()
    if line.is_significant and line.zero_adu >= 0:
        camera = estimate_camera(line, "scmos")
        reasons = "; ".join(estimate.unknown)
        return camera, (f"the camera is a stand-in with the same noise, for {reasons}",)
    raise ConfigError(
        f"a simulation like {name} was wanted, but " + "; ".join(estimate.unknown) + ". Give the "
        "raw movie, or write a configuration by hand (hdsmlm simulate --help)"
    )


def _countable(reader: MovieReader, bundle: Bundle) -> bool:
    return reader.info.n_frames >= bundle.manifest.window_frames


def _counted(reader: MovieReader) -> NDArray[np.generic]:
    """Return runs of frames spread over the movie, cropped to what is counted."""
    info = reader.info
    length = min(info.n_frames, _RUN_FRAMES)
    n_runs = min(_RUNS, info.n_frames // length)
    starts = [round((info.n_frames - length) * (k + 0.5) / n_runs) for k in range(n_runs)]
    rows, columns = (
        slice((side - min(side, _COUNT_SIDE_PX)) // 2, (side + min(side, _COUNT_SIDE_PX)) // 2)
        for side in (info.height, info.width)
    )
    runs = [reader.read(start, start + length)[:, rows, columns] for start in starts]
    return np.concatenate(runs)


def _counter(bundle: Bundle) -> Counter:
    predictor = Predictor(build_engine("auto", bundle), bundle.manifest)

    def count(frames: NDArray[np.generic]) -> float:
        normalizer = fit_normalizer(ArrayMovie(frames), bundle.manifest.normalization)
        some = frames[: _RUNS * _RUN_FRAMES]
        counts = expected_count(predictor.predict(normalizer(some, 0)))
        return float(counts.sum(dtype=np.float64)) / len(some)

    return count


def _assumed(unknown_on_time: bool) -> tuple[str, ...]:
    lines: tuple[str, ...] = (
        "assumed: molecules at random places (structure uniform), a 2D Gaussian PSF, photon rates "
        "that scatter by 0.3 in the log, 30 dark frames and 2 blinks per molecule",
    )
    if unknown_on_time:
        lines += ("assumed: a mean on-time of 2 frames, for the movie is too short to tell",)
    return lines


def _ranges(
    conditions: Conditions, camera: CameraEstimate, fade: Fading, n_frames: int
) -> dict[str, Any]:
    psf = conditions.psf
    sigma = psf.sigma_px if isinstance(psf, GaussianPsfConfig) else 1.3
    kind, section = camera_ranges(camera.config)
    start_photons, faded = conditions.background_photons, {"bleached_share": 0.0}
    if fade.lost > _SMALL_FADING:  # a time constant of half the movie leaves exp(-2) of what fades
        share = min(fade.lost / (1 - np.exp(-2.0)), 1.0)
        faded = {"bleached_share": _round(share), "bleaching_frames": _round(n_frames / 2)}
        start_photons *= fade.start
    return {
        "density_per_um2": _round(conditions.density_per_um2),
        "pixel_size_nm": _round(conditions.pixel_size_nm),
        "sigma_px": _round(sigma),
        "sigma_spread": _round(conditions.sigma_spread),
        "photons": _round(conditions.photons),
        "min_median_snr": 0.0,
        "cameras": {name: float(name == kind) for name in ("emccd", "scmos", "ideal")},
        "psfs": {"gaussian": 1.0, "astigmatic": 0.0, "diffraction": 0.0},
        "structures": {
            name: float(name == "uniform")
            for name in ("uniform", "curves", "rings", "clusters", "mesh")
        },
        kind: section,
        "photophysics": {
            "mean_on_frames": _round(conditions.mean_on_frames),
            "mean_off_frames": conditions.mean_off_frames,
            "blinks_per_molecule": conditions.blinks_per_molecule,
            "rate_spread": conditions.rate_spread,
        },
        "background": {
            "photons": _round(start_photons),
            "structure": _round(conditions.background_structure),
            "structure_scale_px": _round(conditions.background_scale_px),
            **faded,
        },
    }


def _round(value: float) -> float:
    return float(f"{value:.4g}")
