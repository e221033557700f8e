"""Everything that a movie tells of its microscope, with intervals and with what it cannot tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.psf import GaussianPsfConfig
from hdsmlm.errors import ConfigError, MovieError
from hdsmlm.estimation.background import Background, background
from hdsmlm.estimation.calibrated import calibrated_camera, calibrated_line
from hdsmlm.estimation.camera import CameraEstimate, Interval, Kind, estimate_camera
from hdsmlm.estimation.integrity import Integrity, check_frames
from hdsmlm.estimation.photon_transfer import PhotonTransfer, photon_transfer
from hdsmlm.estimation.psf_width import PsfWidth, psf_width
from hdsmlm.estimation.sample import FrameSample, sample_frames
from hdsmlm.estimation.spots import Spots, find_spots
from hdsmlm.io.calibration import CameraMaps
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.movie import MovieReader

STAGE = "estimate"
_STEPS = ("noise", "point-spread function", "background", "spots")
_NORMAL_95 = 1.96
_LARGEST_SMEAR = 4.0
"""Power ratio of a register that leaves a quarter of the charge behind: more is a filter."""
_CORRELATED = (0.7, 2.0)
_DOUBTFUL = (0.85, 1.3)
_LARGEST_OFFSET_ADU = 3000.0
_MODEL_ERROR = 0.02
"""Relative error of sigma from molecules of different widths and a PSF that is not Gaussian."""


@dataclass(frozen=True)
class MicroscopeEstimate:
    """What a movie tells of the microscope that took it.

    Parameters
    ----------
    config : MicroscopeConfig or None
        For the fit; None where camera or PSF cannot be known.
    camera : CameraEstimate or None
        The camera, with intervals and assumptions.
    sigma_px : Interval or None
        Width of the point-spread function.
    background_photons : Interval or None
        Mean background per pixel and frame; the interval holds the offset's uncertainty.
    spots : Spots or None
        Spots of some frames.
    line : PhotonTransfer
        The noise that was measured.
    width : PsfWidth
        The width that was measured.
    integrity : Integrity
        Saturation, repeated frames.
    sample : FrameSample
        The frames that it was measured on.
    unknown : tuple of str
        What cannot be known, why, and what to do.
    warnings : tuple of str
        What to be careful about.
    """

    config: MicroscopeConfig | None
    camera: CameraEstimate | None
    sigma_px: Interval | None
    background_photons: Interval | None
    spots: Spots | None
    line: PhotonTransfer
    width: PsfWidth
    integrity: Integrity
    sample: FrameSample
    unknown: tuple[str, ...]
    warnings: tuple[str, ...]

    def require_config(self) -> MicroscopeConfig:
        """Return the config.

        Raises
        ------
        ConfigError
            When the movie does not tell the camera or the PSF; says why.
        """
        if self.config is None:
            raise ConfigError(
                "camera and point-spread function were to be estimated from the movie, but "
                + "; ".join(self.unknown)
                + ". Give a camera file or preset with --camera"
            )
        return self.config


def estimate_microscope(
    reader: MovieReader,
    pixel_size_nm: float | None = None,
    kind: Kind = "auto",
    listener: Listener = silent,
    maps: CameraMaps | None = None,
) -> MicroscopeEstimate:
    """Estimate camera, point-spread function and background from a movie alone.

    Parameters
    ----------
    reader : MovieReader
        The movie; gone through once for its integrity, a sample of it for the rest.
    pixel_size_nm : float, optional
        Written into the config; by default what the movie's metadata say.
    kind : {"auto", "emccd", "scmos", "ideal"}
        Kind of camera; ``auto`` guesses and says so.
    listener : callable, optional
        Hears the progress.
    maps : CameraMaps, optional
        Measured maps of an sCMOS chip: then only the rest is estimated.

    Raises
    ------
    MovieError
        When the movie is too short or too small, or all of one grey value.
    ConfigError
        When the maps do not fit the movie.
    """
    integrity = check_frames(reader, listener)
    sample = sample_frames(reader)
    grey = sample.runs[0].flat[0]
    if all((run == grey).all() for run in sample.runs):
        raise MovieError(
            f"{reader.info.name}: all pixels of the {sample.n_frames} frames that were sampled "
            f"have the grey value {grey:g}, so that there is neither noise nor light to estimate "
            "the camera from; check that this is the movie that was meant"
        )
    _tell(listener, 0)
    line = photon_transfer(sample)
    _tell(listener, 1)
    width = psf_width(sample, line.smear_axis if line.smear > 1 else None)
    _tell(listener, 2)
    camera: CameraEstimate | None = None
    notes: tuple[str, ...] = ()
    unknown = _doubts(line, integrity)
    if maps is not None:
        camera, notes = calibrated_camera(maps, line, reader.info)
        unknown = ()
    elif not unknown:
        camera = estimate_camera(line, kind)
    sigma = _sigma(width)
    if sigma is None:
        unknown = (
            *unknown,
            "the width of the point-spread function is not visible: too little changes from frame "
            "to frame",
        )
    noise = line if maps is None else calibrated_line(maps, line)
    ground = background(sample, noise) if camera is not None else None
    spots = None
    if ground is not None and sigma is not None:
        _tell(listener, 3)
        spots = find_spots(sample, noise, ground, sigma.value)
    _tell(listener, 4)
    config = None
    if camera is not None and sigma is not None:
        config = MicroscopeConfig(
            camera=camera.config,
            psf=GaussianPsfConfig(sigma_px=round(sigma.value, 4)),
            pixel_size_nm=pixel_size_nm or reader.info.pixel_size_nm,
            saturation_adu=integrity.saturation_adu,
            notes=_provenance(reader, sample, camera, sigma),
        )
    return MicroscopeEstimate(
        config=config,
        camera=camera,
        sigma_px=sigma,
        background_photons=_background_photons(camera, ground),
        spots=spots,
        line=line,
        width=width,
        integrity=integrity,
        sample=sample,
        unknown=unknown,
        warnings=(*notes, *_warnings(line, width, integrity)),
    )


def _tell(listener: Listener, done: int) -> None:
    what = _STEPS[done] if done < len(_STEPS) else "done"
    listener(Event(STAGE, done, len(_STEPS), what, unit="steps"))


def _sigma(width: PsfWidth) -> Interval | None:
    if not width.is_significant:
        return None
    half = _NORMAL_95 * float(np.hypot(width.error_px, _MODEL_ERROR * width.sigma_px))
    return Interval(width.sigma_px, width.sigma_px - half, width.sigma_px + half)


def _doubts(line: PhotonTransfer, integrity: Integrity) -> tuple[str, ...]:
    """Return why the grey values do not tell the camera; empty where they do."""
    doubts = []
    if not integrity.is_integer:
        doubts.append(
            "the values are not whole numbers: the movie was rescaled, filtered or averaged, and "
            "its noise no longer tells the gain"
        )
    elif integrity.fills_range:
        doubts.append(
            "the values reach from exactly 0 to exactly 65535: the contrast was stretched after "
            "recording, so that they are no ADU of a camera"
        )
    elif not integrity.looks_raw:
        doubts.append(
            f"only {100 * integrity.filled_levels:.2g} % of the grey levels in use occur: the "
            "movie was rescaled after recording, so that its values are no ADU of a camera"
        )
    if line.is_significant and not 0 <= line.zero_adu <= _LARGEST_OFFSET_ADU:
        doubts.append(
            f"light would begin at a grey value of {line.zero_adu:.4g}, which no camera has as its "
            f"offset (0 to {_LARGEST_OFFSET_ADU:g}): the values were rescaled, binned or had their "
            "background removed. Positions need no more than the line of the noise: a camera file "
            f"with kind ideal, gain_adu_per_e {line.slope_adu:.4g} and baseline_adu "
            f"{line.zero_adu:.0f} gives them, with photons in a unit of its own"
        )
    if not line.is_significant:
        doubts.append(
            "the noise does not grow with the light "
            f"({line.slope_adu:.3g} ± {line.slope_error_adu:.2g} grey values), so that the gain "
            "cannot be told"
        )
    elif line.smear > _LARGEST_SMEAR or not _CORRELATED[0] < line.whiteness < _CORRELATED[1]:
        doubts.append(
            "the noise of neighbouring pixels is not independent (power ratio "
            f"{line.whiteness * line.smear:.2f} instead of 1): the movie was filtered, resampled "
            "or compressed"
        )
    return tuple(doubts)


def _background_photons(
    camera: CameraEstimate | None, ground: Background | None
) -> Interval | None:
    if camera is None or ground is None:
        return None
    per_photon = camera.gain_adu_per_e.value * camera.quantum_efficiency.value
    level, offset = ground.mean_adu, camera.offset_adu
    low, high = ((level - edge) / per_photon for edge in (offset.high, offset.low))
    return Interval(max(camera.photons(level), 0.0), max(low, 0.0), max(high, 0.0))


def _warnings(line: PhotonTransfer, width: PsfWidth, integrity: Integrity) -> tuple[str, ...]:
    found = []
    if integrity.saturation_adu is not None:
        found.append(
            f"{100 * integrity.saturated_share:.2g} % of the pixels are saturated at "
            f"{integrity.saturation_adu:g}; their molecules get too few photons"
        )
    for frames, what in (
        (integrity.duplicates, "repeat the frame before (a dropped frame was filled in?)"),
        (integrity.blanks, "are blank"),
        (integrity.jumps, "are much brighter or darker than their neighbours (light, shutter?)"),
    ):
        if frames:
            shown = ", ".join(str(frame + 1) for frame in frames[:5])
            more = ", ..." if len(frames) > 5 else ""
            found.append(f"{len(frames)} frames {what}: number {shown}{more}")
    if line.is_significant and not _DOUBTFUL[0] < line.whiteness < _DOUBTFUL[1]:
        found.append(
            f"the noise is not quite white (ratio {line.whiteness:.2f}): very narrow or bright "
            "spots, or a filtered movie; the gain may be off"
        )
    if line.smear > 1:
        found.append(
            f"neighbouring pixels along {line.smear_axis} share noise (power ratio "
            f"{line.smear:.2f}): charge is smeared in the readout. The gain allows for it, the fit "
            "does not: its standard errors are somewhat small"
        )
    if width.is_significant and width.moves:
        found.append(
            f"molecules move between frames (sigma {width.neighbours_sigma_px:.2f} pixels from "
            f"consecutive frames, {width.sigma_px:.2f} from frames {width.lag_frames} apart): the "
            "joint fit, which has one place per blink, doubles them; use --fit frame"
        )
    if width.is_significant and width.sigma_px < 0.9:
        found.append(
            f"sigma is {width.sigma_px:.2f} pixels: so narrow a spot leaks into the noise "
            "measurement, and the gain comes out too high; measure the camera"
        )
    if width.is_significant and width.residual > 0.05:
        found.append(
            "the point-spread function is not a Gaussian (misfit "
            f"{100 * width.residual:.0f} %): defocus, 3D or moving molecules; calibrate it on beads"
        )
    return tuple(found)


def _provenance(
    reader: MovieReader, sample: FrameSample, camera: CameraEstimate, sigma: Interval
) -> tuple[str, ...]:
    return (
        f"estimated by hdsmlm doctor from {reader.info.name} ({sample.n_frames} of "
        f"{reader.info.n_frames} frames)",
        f"gain {camera.gain_adu_per_e} grey values per photo-electron",
        f"offset {camera.offset_adu} grey values",
        f"sigma {sigma} pixels",
        *(f"assumed: {text}" for text in camera.assumptions),
    )
