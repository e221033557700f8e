"""Camera, PSF and pixel size of a run: given or estimated, and whether they fit the movie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter

from hdsmlm.bundle import BundleManifest
from hdsmlm.config.base import parse_section
from hdsmlm.config.microscope import MicroscopeConfig, load_microscope
from hdsmlm.config.psf import GaussianPsfConfig
from hdsmlm.errors import ConfigError, MovieError
from hdsmlm.estimation.microscope import estimate_microscope
from hdsmlm.estimation.photon_transfer import photon_transfer
from hdsmlm.estimation.sample import sample_frames
from hdsmlm.imaging.camera import Camera
from hdsmlm.imaging.psf import Psf
from hdsmlm.records.events import Listener, silent
from hdsmlm.records.movie import MovieReader
from hdsmlm.records.provenance import file_sha256

SAME_PIXEL = 0.02
"""Relative difference up to which two statements of the pixel size agree."""
MOST_BELOW = 0.9
"""Share of pixels below the baseline from which the baseline must be wrong."""
QUIET, LOUD = 0.4, 2.5
"""Variance of the pixels over that of the camera, outside of which the camera is in question."""
MOST_SLOPE = 2.0
"""Photon transfer slope over that of the camera from which, and below its inverse, it is wrong."""
_SLOPE_PHOTONS = (100.0, 200.0)
_FRAMES_LOOKED_AT = 8
_SMOOTHING_PX = 5
_MEDIAN_CHI2 = 0.4549
"""Median of the square of a standard normal variable."""


def choose_microscope(
    reader: MovieReader,
    given: MicroscopeConfig | Path | str | None,
    sigma_px: float | None,
    pixel_size_nm: float | None = None,
    listener: Listener = silent,
) -> tuple[MicroscopeConfig, tuple[str, ...]]:
    """Return camera and PSF, as given or estimated from the movie, and notes for the user.

    Raises
    ------
    ConfigError
        For impossible values, or when neither the user nor the movie tells camera or PSF.
    """
    psf = None
    if sigma_px is not None:
        psf = parse_section(GaussianPsfConfig, {"sigma_px": sigma_px}, "--sigma-px")
    if isinstance(given, (Path, str)):
        given = load_microscope(given)
    if given is not None and psf is not None:
        given = given.model_copy(update={"psf": psf})
    if given is not None and given.psf is not None:
        return given, ()
    estimate = estimate_microscope(
        reader, pixel_size_nm or reader.info.pixel_size_nm, listener=listener
    )
    if given is None:
        found = estimate.require_config()
        return found if psf is None else found.model_copy(update={"psf": psf}), (
            "camera and point-spread function were estimated from the movie; see "
            "`hdsmlm doctor`, and give what you know with --camera",
            *estimate.warnings,
        )
    if estimate.sigma_px is None:
        raise ConfigError(
            "the camera file names no point-spread function and the movie does not tell its "
            "width; give it with --sigma-px"
        )
    psf = GaussianPsfConfig(sigma_px=estimate.sigma_px.value)
    return given.model_copy(update={"psf": psf}), (
        f"the width of the point-spread function, {psf.sigma_px:.2f} px, was estimated from the "
        "movie; give what you know with --sigma-px",
    )


def calibration_sha256(microscope: MicroscopeConfig) -> dict[str, str]:
    """Return the hashes of the measured maps and of the PSF calibration that a microscope names."""
    sections = [part for part in (microscope.camera, microscope.psf) if part is not None]
    return {
        f"calibration {name}": file_sha256(value)
        for section in sections
        for name, value in section.model_dump().items()
        if isinstance(value, Path)
    }


def settle_pixel_size(
    asked_nm: float | None, microscope_nm: float | None, reader: MovieReader
) -> float | None:
    """Return the pixel size: as asked for, else of the microscope, else of the movie.

    Raises
    ------
    ConfigError
        When microscope and movie contradict each other and nobody decides.
    """
    stated_nm = reader.info.pixel_size_nm
    if asked_nm is not None or microscope_nm is None:
        return asked_nm if asked_nm is not None else stated_nm
    if stated_nm is not None and abs(stated_nm / microscope_nm - 1) > SAME_PIXEL:
        raise ConfigError(
            f"the camera file says that a pixel is {microscope_nm:g} nm wide, {reader.info.name} "
            f"says {stated_nm:g} nm; decide with --pixel-size-nm"
        )
    return microscope_nm


def require_baseline(reader: MovieReader, camera: Camera, first: int, last: int) -> None:
    """Refuse a camera below whose baseline nearly the whole movie lies.

    Raises
    ------
    ConfigError
        When more than nine in ten pixels of some frames would hold less than no light.
    """
    n = min(_FRAMES_LOOKED_AT, last - first)
    starts = np.linspace(first, last - 1, n).astype(int)
    frames = np.concatenate([reader.read(int(t), int(t) + 1) for t in starts])
    if not np.isfinite(frames).all():
        return  # the window that holds them says so
    below = float(np.mean(camera.to_photons(frames) < 0))
    if below > MOST_BELOW:
        dark = float(np.mean(camera.mean_adu(np.zeros(frames.shape[1:]))))
        raise ConfigError(
            f"{100 * below:.0f} % of the pixels of {reader.info.name} lie below the camera's grey "
            f"value without light ({dark:.0f}; the movie's median is {np.median(frames):g}): this "
            "is another camera, or its baseline is wrong. `hdsmlm doctor` estimates it"
        )


def noise_ratio(reader: MovieReader, camera: Camera, first: int, last: int) -> float:
    """Return the variance of a movie's pixels over the one that the camera would give them.

    The median over pixels of ``d²/(2·var)``, over that of a normal law; d is the difference of two
    consecutive frames and var the camera's variance at their local mean. Blinks that begin and end
    make it larger in dense movies.
    """
    n = min(_FRAMES_LOOKED_AT, last - first - 1)
    if n < 1:
        return float("nan")
    ratios = []
    for t in np.linspace(first, last - 2, n).astype(int):
        pair = reader.read(int(t), int(t) + 2).astype(np.float64)
        light = uniform_filter(camera.to_photons(pair.mean(axis=0)), _SMOOTHING_PX, mode="nearest")
        variance = np.maximum(camera.variance_adu(np.maximum(light, 0.0)), np.finfo(float).tiny)
        ratios.append((pair[1] - pair[0]) ** 2 / (2 * variance))
    return float(np.median(ratios) / _MEDIAN_CHI2)


def noise_notes(
    reader: MovieReader, camera: Camera, first: int, last: int, sparse: bool = False
) -> tuple[str, ...]:
    """Return warnings where a movie is much quieter (or, if sparse, louder) than its camera.

    In a dense movie blinks are louder than the camera; there the slope of the photon transfer,
    which they leave alone, is compared with the camera's.
    """
    if not sparse and (note := _slope_note(reader, camera)):
        return (note,)
    ratio = noise_ratio(reader, camera, first, last)
    if not (ratio < QUIET or (sparse and ratio > LOUD)):
        return ()
    how = f"{ratio:.2g} times" if ratio >= 0.01 else "less than a hundredth of"
    return (
        f"the variance of the pixels of {reader.info.name} is {how} what this camera would give: "
        "gain, read noise or the whole camera may be another one, and then photons, errors and "
        "SNR are wrong; compare with `hdsmlm doctor`",
    )


def _slope_note(reader: MovieReader, camera: Camera) -> str:
    """Return a warning where variance grows with the mean at quite another rate; else nothing."""
    try:
        line = photon_transfer(sample_frames(reader))
    except MovieError:  # too short or too small to tell
        return ""
    shape = (reader.info.height, reader.info.width)
    dim, bright = (np.full(shape, photons) for photons in _SLOPE_PHOTONS)
    rise = camera.variance_adu(bright) - camera.variance_adu(dim)
    slope_adu = float(np.median(rise / (camera.mean_adu(bright) - camera.mean_adu(dim))))
    ratio = line.slope_adu / slope_adu
    if not line.is_significant or 1 / MOST_SLOPE <= ratio <= MOST_SLOPE:
        return ""
    return (
        f"the variance of {reader.info.name} grows by {line.slope_adu:.3g} for each grey value "
        f"of light, with this camera it would by {slope_adu:.3g}: the gain or the whole camera is "
        "another one, and then photons, errors and the number of emitters are wrong; compare with "
        "`hdsmlm doctor`"
    )


def range_notes(psf: Psf, manifest: BundleManifest) -> tuple[str, ...]:
    """Return a warning where the PSF is wider or narrower than the model was trained on."""
    low, high = manifest.trained_range.psf_sigma_px
    sigma_px = float(psf.width_px(0.0))
    if low <= sigma_px <= high:
        return ()
    return (
        f"the PSF, sigma {sigma_px:.2f} px in focus, lies outside the range of model "
        f"{manifest.name} ({low:g} to {high:g} px): few emitters may be found, and a wrong width "
        "makes wrong photons; compare with `hdsmlm doctor`",
    )
