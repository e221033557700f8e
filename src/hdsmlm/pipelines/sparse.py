"""Measure a sparse movie: localize it, tell sound spots from doubtful ones, and how blinks last.

What ``bin`` and ``titrate`` start from.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdsmlm.binning.adding import SparseMovie
from hdsmlm.binning.background import BackgroundMaps
from hdsmlm.binning.correlation import BlinkCorrelation, blink_correlation, blink_drift
from hdsmlm.binning.plan import PlanRules
from hdsmlm.binning.sound import missed_candidates, require_sparse, split_sound
from hdsmlm.bundle import load_bundle
from hdsmlm.config.base import parse_section, section_to_yaml
from hdsmlm.config.binning import BinningConfig
from hdsmlm.config.fitting import FitConfig
from hdsmlm.config.localize import LocalizeConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.prediction import PredictionConfig
from hdsmlm.errors import MovieError
from hdsmlm.imaging.build import build_camera, build_psf
from hdsmlm.imaging.camera import Camera
from hdsmlm.imaging.psf import Psf
from hdsmlm.imaging.snr import background_snr
from hdsmlm.io.tables import read_table
from hdsmlm.io.writing import atomic_path
from hdsmlm.pipelines.localize import LocalizeJob, localize_movie
from hdsmlm.pipelines.localize_microscope import (
    choose_microscope,
    noise_notes,
    settle_pixel_size,
)
from hdsmlm.pipelines.movie_inputs import field_of_view, movie_sha256
from hdsmlm.postprocessing.linking import link_blinks
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Listener, silent
from hdsmlm.records.movie import MovieReader
from hdsmlm.records.provenance import file_sha256
from hdsmlm.simulation.recording import measured_maps
from hdsmlm.units import density_per_um2

LOCALIZATIONS, CANDIDATES = "sparse.csv", "candidates.csv"
"""Localizations of the sparse movie, and all that may be one."""
NOTE_SUFFIX = ".sha256"
"""Of the files that tell which run a table is of."""
MAX_DRIFT_PX = 0.5
"""Drift during the time that a blink is followed for, at most."""
_LARGEST_STEP_PX = 1.5
_MOSTLY_SOUND = 0.5
"""Drift from frame to frame that is looked for."""


@dataclass(frozen=True)
class SparseJob:
    """A sparse movie and how to localize it.

    Parameters
    ----------
    movie : Path or str
        File, folder or pattern.
    model : str or Path
        Model whose count map finds the candidates.
    microscope : Path, str or MicroscopeConfig, optional
        Camera and PSF; None estimates them from the movie.
    sigma_px : float, optional
        Width of a Gaussian PSF, in place of the microscope's PSF.
    pixel_size_nm : float, optional
        Pixel in the sample; None takes it from the microscope or the movie.
    allow_truncated : bool
        Use the readable frames of a damaged file.
    """

    movie: Path | str
    model: str | Path = "wolf"
    microscope: Path | str | MicroscopeConfig | None = None
    sigma_px: float | None = None
    pixel_size_nm: float | None = None
    allow_truncated: bool = False


@dataclass(frozen=True)
class Sparse:
    """A sparse movie with all that binning needs.

    Parameters
    ----------
    movie : SparseMovie
        Photons, background, candidates.
    n_frames, height, width : int
        Of the movie.
    microscope : MicroscopeConfig
        Camera and PSF.
    camera : Camera
        The camera.
    psf : Psf
        The point-spread function.
    correlation : BlinkCorrelation or None
        Of the blinks; None where there are too few and the summands are separated in space.
    correlation_lag_frames : int or None
        Lag that it asks for; None where it is unknown.
    parents : dict
        Names and hashes of the movie's files.
    density_per_um2 : float
        Emitters per µm² and frame, sound or not.
    notes : tuple of str
        Remarks for the user.
    """

    movie: SparseMovie
    n_frames: int
    height: int
    width: int
    microscope: MicroscopeConfig
    camera: Camera
    psf: Psf
    correlation: BlinkCorrelation | None
    correlation_lag_frames: int | None
    parents: dict[str, str]
    density_per_um2: float
    notes: tuple[str, ...] = field(default=())

    def rules(self, config: BinningConfig) -> PlanRules:
        """Return the rules of the sums."""
        lag = config.min_lag_frames or self.correlation_lag_frames
        side = min(self.height, self.width)
        return PlanRules(
            self.n_frames,
            self.height,
            self.width,
            config.factor,
            config.sequence_frames,
            lag if lag is not None else self.n_frames,
            (config.crop_px or side - side // 8) if config.augment else None,
            not self.psf.is_3d,
        )

    def peaks(self, table: Emitters) -> NDArray[np.float64]:
        """Return the share of the PSF in the brightest pixel for each row."""
        return peak_shares(self.psf, table, self.movie.pixel_size_nm)

    def correlation_record(self) -> list[float] | None:
        """Return C(0), C(1), ... as plain numbers."""
        if self.correlation is None:
            return None
        return [round(float(value), 5) for value in self.correlation.value]


def measure_sparse(
    reader: MovieReader,
    job: SparseJob,
    config: BinningConfig,
    folder: Path,
    listener: Listener = silent,
) -> Sparse:
    """Localize a sparse movie by single-emitter fits and sort its spots.

    The localizations are kept in ``folder``; when they are there from a run of the same movie,
    model and settings, they are taken from there.

    Raises
    ------
    MovieError
        When the movie is too dense, drifts too much, or its blinks outlast it.
    """
    microscope, notes = choose_microscope(
        reader, job.microscope, job.sigma_px, job.pixel_size_nm, listener
    )
    pixel_size_nm = settle_pixel_size(job.pixel_size_nm, microscope.pixel_size_nm, reader)
    prediction = parse_section(
        PredictionConfig,
        {"pixel_size_nm": pixel_size_nm, "count_map": "none", "overlay_frames": 0},
        "--pixel-size-nm",
    )
    pixel_size_nm = field_of_view(reader, prediction).pixel_size_nm
    info = reader.info
    shape = (info.height, info.width)
    camera = build_camera(microscope.camera, shape, measured=measured_maps(microscope.camera))
    assert microscope.psf is not None  # choose_microscope gives one or refuses
    psf = build_psf(microscope.psf, pixel_size_nm)
    sigma_px = float(psf.width_px(0.0))
    parents = {f"movie {name}": sha for name, sha in movie_sha256(reader).items()}

    localizer = _Localizer(reader, job, microscope, prediction, parents, folder, listener)
    found = localizer.table(LOCALIZATIONS, None)
    more = localizer.table(CANDIDATES, config.sound.candidate_threshold)
    more = missed_candidates(found, more, sigma_px, pixel_size_nm, config.sound)
    spots = split_sound(found, sigma_px, pixel_size_nm, config.sound)
    per_um2 = density_per_um2(len(found) / info.n_frames, *shape, pixel_size_nm)
    require_sparse(spots, config.max_doubtful_share, per_um2)
    if not spots.sound.any():
        raise MovieError(
            f"{info.name}: none of its {len(found)} spots is beyond doubt; look at it with "
            "`hdsmlm doctor` and `hdsmlm predict`, or widen binning.sound with --set"
        )
    if spots.sound.mean() < _MOSTLY_SOUND:
        notes += (
            f"only {spots.sound.sum()} of {len(found)} localized spots are beyond doubt: labels "
            "will be few. Crowded frames, noise, or a PSF width or camera that does not fit make "
            "spots doubtful; compare with `hdsmlm doctor`",
        )
    candidates = Emitters.concatenate([found, more])
    sound = np.concatenate([spots.sound, np.zeros(len(more), bool)])
    order = np.argsort(candidates["frame"], kind="stable")
    linked, sound = link_blinks(candidates.select(order), config.linking), sound[order]
    correlation, lag, remarks = _correlation(linked, sound, info.n_frames, config)
    _require_still(linked.select(sound), pixel_size_nm, lag, config)

    def read_photons(start: int, stop: int) -> NDArray[np.float64]:
        return camera.to_photons(reader.read(start, stop))

    snr = background_snr(
        linked["photons"],
        peak_shares(psf, linked, pixel_size_nm),
        np.maximum(linked["background"], 0.0),
        camera,
    )
    movie = SparseMovie(
        read_photons,
        BackgroundMaps(
            read_photons,
            info.n_frames,
            linked,
            sigma_px,
            pixel_size_nm,
            config.background_frames,
            config.background_smoothing_px,
        ),
        linked.with_columns(snr=snr),
        sound,
        pixel_size_nm,
    )
    return Sparse(
        movie,
        info.n_frames,
        *shape,
        microscope,
        camera,
        psf,
        correlation,
        lag,
        parents,
        per_um2,
        (*notes, *noise_notes(reader, camera, 0, info.n_frames, sparse=True), *remarks),
    )


def peak_shares(psf: Psf, table: Emitters, pixel_size_nm: float) -> NDArray[np.float64]:
    """Return the share of the PSF that falls into the brightest pixel, for each row."""
    middle = 20
    place = np.column_stack(
        [
            np.mod(table["x_nm"] / pixel_size_nm, 1.0) + middle,
            np.mod(table["y_nm"] / pixel_size_nm, 1.0) + middle,
            table["z_nm"] if "z_nm" in table else np.zeros(len(table)),
        ]
    )
    canvas = np.zeros((1, 2 * middle + 1, 2 * middle + 1))
    return psf.add_to(canvas, np.zeros(len(table), np.int64), place, np.ones(len(table)))


def _correlation(
    linked: Emitters, sound: NDArray[np.bool_], n_frames: int, config: BinningConfig
) -> tuple[BlinkCorrelation | None, int | None, tuple[str, ...]]:
    """Return the autocorrelation of the blinks, the lag, and remarks; a given lag wins."""
    try:
        correlation = blink_correlation(linked.select(sound), n_frames, seen=linked)
        lag = correlation.lag_frames(config.correlation_level)
    except MovieError as error:
        if config.min_lag_frames is None and not config.augment:
            raise
        why = "given" if config.min_lag_frames else "unknown: all summands differ in space"
        return None, config.min_lag_frames, (f"the lag is {why} ({error})",)
    if config.min_lag_frames is not None and config.min_lag_frames < lag:
        note = (
            f"the given lag of {config.min_lag_frames} frames is shorter than the {lag} frames "
            "that the blinks ask for: sums will hold some blinks twice"
        )
        return correlation, config.min_lag_frames, (note,)
    return correlation, config.min_lag_frames or lag, ()


def _require_still(
    sound: Emitters, pixel_size_nm: float, lag: int | None, config: BinningConfig
) -> None:
    """Refuse a sample that moves noticeably while a blink is followed."""
    drift = blink_drift(sound, _LARGEST_STEP_PX * pixel_size_nm)
    followed = config.sequence_frames + (lag or 0)
    moved_px = drift.least_nm * followed / pixel_size_nm if drift is not None else 0.0
    if drift is not None and moved_px > MAX_DRIFT_PX:
        speed = float(np.hypot(drift.x_nm, drift.y_nm))
        raise MovieError(
            f"the sample drifts by {speed:.1f} nm per frame, {moved_px:.1f} pixels within the "
            f"{followed} frames that a blink is followed for (at most {MAX_DRIFT_PX:g}): blinks "
            "cannot be linked. Use a stretch of the movie in which the sample rests"
        )


@dataclass(frozen=True)
class _Localizer:
    """Localizes the movie frame by frame, or takes finished tables from the folder."""

    reader: MovieReader
    job: SparseJob
    microscope: MicroscopeConfig
    prediction: PredictionConfig
    parents: dict[str, str]
    folder: Path
    listener: Listener

    def table(self, name: str, threshold: float | None) -> Emitters:
        """Return localizations sorted by frame.

        Without a threshold they are what ``hdsmlm localize --fit frame`` finds; with one every unit
        of the count map above it is fitted and kept.
        """
        bundle = load_bundle(self.job.model)
        prediction, frames = self.prediction, FitConfig()
        if threshold is not None:
            decoding = bundle.manifest.decoding.model_copy(update={"threshold": threshold})
            prediction = prediction.model_copy(update={"decoding": decoding})
            frames = FitConfig(choose_count=False)
        settings = LocalizeConfig(fit="frame", prediction=prediction, frames=frames)
        identity = {
            "parents": self.parents,
            "model": bundle.sha256,
            "microscope": section_to_yaml(self.microscope),
            "settings": section_to_yaml(settings),
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        path = self.folder / name
        note = path.with_suffix(NOTE_SUFFIX)
        finished = (
            path.is_file()
            and note.is_file()
            and note.read_text("utf-8").split() == [digest, file_sha256(path)]
        )
        if not finished:
            note.unlink(missing_ok=True)
            task = LocalizeJob(self.reader, path, self.job.model, self.microscope, overwrite=True)
            localize_movie(task, settings, self.listener)
            with atomic_path(note) as temporary:
                temporary.write_text(f"{digest} {file_sha256(path)}\n", "utf-8")
        return read_table(path).sorted()
