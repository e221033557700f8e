"""Doctor: examine a movie, report what it tells of its microscope, write ``camera.yaml``."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hdsmlm.bundle import Bundle, load_bundle
from hdsmlm.bundle.manifest import TrainedRange
from hdsmlm.config.base import section_to_yaml
from hdsmlm.config.camera import ScmosConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.errors import ConfigError, MovieError, OutputError
from hdsmlm.estimation.calibrated import baseline_of
from hdsmlm.estimation.camera import CameraEstimate, Kind
from hdsmlm.estimation.domain import DomainGap
from hdsmlm.estimation.drift import Drift, drift
from hdsmlm.estimation.microscope import MicroscopeEstimate, estimate_microscope
from hdsmlm.inference.engines import build_engine
from hdsmlm.inference.predictor import Predictor
from hdsmlm.io.calibration import CameraMaps, read_camera_maps
from hdsmlm.io.movies import ArrayMovie, open_movie
from hdsmlm.io.writing import atomic_path, output_folder
from hdsmlm.normalization import fit_normalizer
from hdsmlm.pipelines.domain_gap import gap_to_bundle
from hdsmlm.records.count_map import expected_count
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.movie import MovieInfo, MovieReader
from hdsmlm.units import density_per_um2

STAGE = "doctor"
CAMERA_FILE = "camera.yaml"
_TRIAL_FRAMES = 8
_CROWDED_SHARE = 0.5
_LARGE_DRIFT_PX = 0.5


@dataclass(frozen=True)
class DoctorJob:
    """What to examine.

    Parameters
    ----------
    movie : Path or str
        File, folder or pattern.
    out : Path or None
        Folder for ``camera.yaml``; None writes nothing.
    pixel_size_nm : float or None
        Pixel in the sample; by default from the movie's metadata.
    kind : str
        Kind of camera, or ``auto``.
    calibration : Path or None
        Measured maps of an sCMOS chip (.npy: offset, variance, gain).
    model : str, Path or None
        Model for density and run time; None leaves both out.
    allow_truncated : bool
        Use the readable frames of a file that ends early.
    overwrite : bool
        Replace a ``camera.yaml`` that is there.
    """

    movie: Path | str
    out: Path | None = None
    pixel_size_nm: float | None = None
    kind: Kind = "auto"
    calibration: Path | None = None
    model: str | Path | None = "wolf"
    allow_truncated: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Trial:
    """A model on a few frames.

    Parameters
    ----------
    model : str
        Its name.
    per_frame : float
        Emitters per frame that its count map expects.
    seconds_per_frame : float
        Time of the network; decoding and fitting come on top.
    trained : TrainedRange
        What the model was trained on.
    """

    model: str
    per_frame: float
    seconds_per_frame: float
    trained: TrainedRange


@dataclass(frozen=True)
class DoctorReport:
    """What was found, for a person.

    Parameters
    ----------
    info : MovieInfo
        The movie.
    estimate : MicroscopeEstimate
        Camera, PSF, background, spots.
    drift : Drift
        Over the movie.
    pixel_size_nm : float or None
        Pixel in the sample.
    trial : Trial or None
        A model on a few frames.
    camera_file : Path or None
        Where the camera was written.
    warnings : tuple of str
        All warnings.
    gap : DomainGap, str or None
        How far the movie is from what the model was trained on, or why that cannot be told.
    """

    info: MovieInfo
    estimate: MicroscopeEstimate
    drift: Drift
    pixel_size_nm: float | None
    trial: Trial | None
    camera_file: Path | None = None
    warnings: tuple[str, ...] = field(default=())
    gap: DomainGap | str | None = None

    def density(self, per_frame: float, shape: tuple[int, int]) -> str:
        """Return a count per frame as a density, where the pixel size is known."""
        if self.pixel_size_nm is None:
            return f"{per_frame:.1f} per frame (give --pixel-size for a density)"
        value = density_per_um2(per_frame, *shape, self.pixel_size_nm)
        return f"{value:.3g} per um2 and frame ({per_frame:.1f} per frame)"

    def to_text(self) -> str:
        """Return the report; values with their intervals in brackets."""
        info, found = self.info, self.estimate
        pixel = "unknown" if self.pixel_size_nm is None else f"{self.pixel_size_nm:g} nm"
        rows = [
            f"{info.name}: {info.n_frames} frames of {info.height} x {info.width} pixels ({pixel})",
            *_camera_rows(found.camera),
        ]
        if found.sigma_px is not None:
            rows.append(_row("PSF sigma", f"{found.sigma_px} px"))
        if found.background_photons is not None:
            rows.append(_row("background", f"{found.background_photons} photons per pixel"))
        rows += self._spot_rows()
        whole = found.integrity
        rows.append(_row("saturated", f"{100 * whole.saturated_share:.3g} % of pixels"))
        odd = f"{len(whole.duplicates)} repeated, {len(whole.blanks)} blank"
        rows.append(_row("frames", f"{odd}, {len(whole.jumps)} that jump"))
        known = f"{self.drift.largest_px:.2f} px" if self.drift.is_known else "not visible"
        rows.append(_row("drift", known))
        if self.trial is not None:
            seconds = self.trial.seconds_per_frame * info.n_frames
            text = f"{seconds:.2g} s" if seconds < 100 else f"{seconds / 60:.2g} min"
            rows.append(
                _row(
                    "run time", f"{text} for hdsmlm predict with {self.trial.model}, without a fit"
                )
            )
        rows += self._gap_rows()
        rows += [f"cannot be told: {text}" for text in found.unknown]
        if found.camera is not None:
            rows += [f"assumed: {text}" for text in found.camera.assumptions]
        rows += [f"WARNING: {text}" for text in self.warnings]
        if self.camera_file is not None:
            rows.append(_row("written", str(self.camera_file)))
        elif found.config is None:
            rows.append(
                "no camera.yaml can be written from this movie; give hdsmlm localize a --camera "
                "preset or a file of your own"
            )
        return "\n".join(rows) + "\n"

    def _gap_rows(self) -> list[str]:
        if self.gap is None:
            return []
        if isinstance(self.gap, str):
            return [_row("domain gap", f"cannot be told: {self.gap}")]
        first, *others = self.gap.rows()
        head = first if self.trial is None else f"{first} ({self.trial.model})"
        return [_row("domain gap", head), *(_row("", text) for text in others)]

    def _spot_rows(self) -> list[str]:
        rows, spots = [], self.estimate.spots
        if self.trial is not None:
            shape = (self.info.height, self.info.width)
            text = self.density(self.trial.per_frame, shape)
            rows.append(_row("density", f"{text} by {self.trial.model}"))
        if spots is None:
            return rows
        per_frame = len(spots) / spots.n_frames
        text = self.density(per_frame, self.estimate.sample.shape)
        rows.append(_row("spots", f"{text}, {100 * spots.isolated_share:.0f} % isolated"))
        camera = self.estimate.camera
        if len(spots) and camera is not None:
            scale = camera.gain_adu_per_e.value * camera.quantum_efficiency.value
            low, middle, high = np.percentile(spots.signal_adu / scale, [10, 50, 90])
            rows.append(_row("photons", f"{middle:.3g} ({low:.3g} to {high:.3g}) per spot"))
            rows.append(_row("SNR", f"{np.median(spots.snr):.1f} (median of the spots)"))
        return rows


def examine_movie(job: DoctorJob, listener: Listener = silent) -> DoctorReport:
    """Examine a movie and, with ``job.out``, write ``camera.yaml`` (and the chip's maps).

    ``camera.yaml`` is only written where camera and PSF can be known.

    Raises
    ------
    MovieError, ConfigError, BundleError, OutputError
        For everything that the user can mend.
    """
    if job.out is not None and job.out.suffix in (".yaml", ".yml"):
        raise ConfigError(
            f"--out {job.out}: a folder was wanted, into which {CAMERA_FILE} is written; "
            f"give {job.out.parent}"
        )
    if job.out is not None and (job.out / CAMERA_FILE).exists() and not job.overwrite:
        raise OutputError(
            f"{job.out / CAMERA_FILE} exists, perhaps with corrections of yours; choose another "
            "folder, leave out --out, or give --overwrite"
        )
    maps = None if job.calibration is None else read_camera_maps(job.calibration)
    bundle = None if job.model is None else load_bundle(job.model)
    with closing(open_movie(job.movie, allow_truncated=job.allow_truncated)) as reader:
        pixel_size_nm = job.pixel_size_nm or reader.info.pixel_size_nm
        estimate = estimate_microscope(reader, pixel_size_nm, job.kind, listener, maps)
        sigma = 1.3 if estimate.sigma_px is None else estimate.sigma_px.value
        listener(Event(STAGE, 0, 3, "drift", unit="steps"))
        moved = drift(reader, sigma)
        listener(Event(STAGE, 1, 3, "trial run", unit="steps"))
        trial = None if bundle is None else _trial(reader, bundle)
        listener(Event(STAGE, 2, 3, "domain gap", unit="steps"))
        gap = None if bundle is None else _gap(estimate, bundle)
        listener(Event(STAGE, 3, 3, "done", unit="steps"))
    report = DoctorReport(reader.info, estimate, moved, pixel_size_nm, trial)
    camera_file = None
    if job.out is not None and estimate.config is not None:
        camera_file = _write(job.out, estimate.config, maps, estimate)
    return DoctorReport(
        reader.info, estimate, moved, pixel_size_nm, trial, camera_file, _warnings(report), gap
    )


def _row(name: str, text: str) -> str:
    return f"{name:<18} {text}"


def _camera_rows(camera: CameraEstimate | None) -> list[str]:
    if camera is None:
        return [_row("camera", "unknown")]
    kind = camera.config.kind + (" (a guess)" if camera.kind_is_guess else "")
    return [
        _row("camera", kind),
        _row("gain", f"{camera.gain_adu_per_e} grey values per photo-electron"),
        _row("offset", f"{camera.offset_adu} grey values"),
        _row("read noise", f"{camera.read_noise_e} photo-electrons"),
    ]


def _trial(reader: MovieReader, bundle: Bundle) -> Trial | None:
    """Run the network on a few frames from the middle of the movie."""
    info, manifest = reader.info, bundle.manifest
    wanted = _TRIAL_FRAMES + 2 * manifest.receptive_frames
    n_frames = min(info.n_frames, wanted)
    if n_frames < manifest.window_frames:
        return None
    start = (info.n_frames - n_frames) // 2
    frames = reader.read(start, start + n_frames)
    normalizer = fit_normalizer(ArrayMovie(frames), manifest.normalization)
    predictor = Predictor(build_engine("auto", bundle), manifest)
    inputs = normalizer(frames, 0)
    predictor.predict(inputs)  # the first call prepares the engine
    begin = time.perf_counter()
    counts = expected_count(predictor.predict(inputs))
    seconds = time.perf_counter() - begin
    per_frame = float(counts.sum(dtype=np.float64)) / n_frames
    return Trial(manifest.name, per_frame, seconds / n_frames, manifest.trained_range)


def _gap(estimate: MicroscopeEstimate, bundle: Bundle) -> DomainGap | str:
    try:
        return gap_to_bundle(estimate.sample, bundle)
    except (MovieError, ConfigError) as error:
        return str(error)


def _warnings(report: DoctorReport) -> tuple[str, ...]:
    found = list(report.estimate.warnings)
    spots, trial = report.estimate.spots, report.trial
    if spots is not None and len(spots) and trial is None and spots.isolated_share < _CROWDED_SHARE:
        found.append(
            "most spots overlap: their number is a lower bound of the density, and their photons "
            "are too high; let a model count them"
        )
    if report.drift.is_known and report.drift.largest_px > _LARGE_DRIFT_PX:
        found.append(
            f"the picture drifts by {report.drift.largest_px:.2f} px; correct the localizations "
            "with hdsmlm drift"
        )
    if trial is not None:
        found += _range_warnings(report, trial)
    return tuple(found)


def _range_warnings(report: DoctorReport, trial: Trial) -> list[str]:
    """Return one sentence for each quantity outside the model's training range."""
    sigma, pixel = report.estimate.sigma_px, report.pixel_size_nm
    shape = (report.info.height, report.info.width)
    trained = trial.trained
    density = None if pixel is None else density_per_um2(trial.per_frame, *shape, pixel)
    checks = (
        ("the pixel size", pixel, trained.pixel_size_nm, "nm"),
        ("the PSF's sigma", None if sigma is None else sigma.value, trained.psf_sigma_px, "px"),
        ("the density", density, (0.0, trained.density_per_um2[1]), "per um2 and frame"),
    )
    return [
        f"outside the range of model {trial.model}: {what} is {value:.3g}, trained {low:g} to "
        f"{high:g} {unit}; counts may be biased"
        for what, value, (low, high), unit in checks
        if value is not None and not low <= value <= high
    ]


def _write(
    out: Path, config: MicroscopeConfig, maps: CameraMaps | None, estimate: MicroscopeEstimate
) -> Path:
    """Write ``camera.yaml``; with measured maps also one .npy for each, named in it."""
    folder = output_folder(out)
    if maps is not None and isinstance(config.camera, ScmosConfig):
        baseline = baseline_of(maps, estimate.line)
        planes = {
            "gain_map": maps.gain_adu_per_e,
            "offset_map": maps.offset_adu + baseline,
            "variance_map": maps.variance_adu2,
        }
        for name, plane in planes.items():
            with atomic_path(folder / f"{name}.npy") as part, part.open("wb") as stream:
                np.save(stream, plane.astype(np.float32))
        names = {name: Path(f"{name}.npy") for name in planes}
        config = config.model_copy(update={"camera": config.camera.model_copy(update=names)})
    path = folder / CAMERA_FILE
    with atomic_path(path) as part:
        part.write_text(section_to_yaml(config), encoding="utf-8")
    return path
