"""From a configuration to the object; after this nobody looks at ``kind``."""

from __future__ import annotations

import numpy as np

from hdsmlm.config.camera import CameraConfig, EmccdConfig, IdealConfig
from hdsmlm.config.psf import DiffractionPsfConfig, GaussianPsfConfig, PsfConfig, SplinePsfConfig
from hdsmlm.imaging.camera import Camera, EmccdCamera, IdealCamera
from hdsmlm.imaging.diffraction import DiffractionPsf
from hdsmlm.imaging.psf import AstigmaticPsf, GaussianPsf, Psf
from hdsmlm.imaging.scmos_maps import MeasuredMaps, scmos_camera
from hdsmlm.imaging.spline_file import read_spline


def build_camera(
    config: CameraConfig,
    shape: tuple[int, int],
    rng: np.random.Generator | None = None,
    measured: MeasuredMaps | None = None,
) -> Camera:
    """Return the camera that ``config`` describes for frames of ``shape`` (y, x).

    Parameters
    ----------
    config : CameraConfig
        Any camera section.
    shape : tuple of int
        (y, x); the shape of an sCMOS camera's maps.
    rng : numpy.random.Generator, optional
        Draws an sCMOS camera's maps; by default from the config's ``map_seed``.
    measured : MeasuredMaps, optional
        Maps of a real sCMOS chip, which replace the drawn ones. The paths in ``config`` are not
        read here; :func:`hdsmlm.io.calibration.read_camera_map` reads them.

    Raises
    ------
    ConfigError
        For impossible values, and measured maps that are not finite or do not fit ``shape``.
    """
    if isinstance(config, EmccdConfig):
        return EmccdCamera(**config.model_dump(exclude={"kind"}))
    if isinstance(config, IdealConfig):
        return IdealCamera(**config.model_dump(exclude={"kind"}))
    return scmos_camera(config, shape, rng, measured)


def build_psf(config: PsfConfig, pixel_size_nm: float | None = None) -> Psf:
    """Return the point-spread function that ``config`` describes.

    Parameters
    ----------
    config : PsfConfig
        Any PSF section; the file of a spline is read here.
    pixel_size_nm : float, optional
        Pixel size of the movie; a spline calibrated with another one is refused.

    Raises
    ------
    ConfigError
        For impossible values, and a calibration that cannot be read or does not fit the movie.
    """
    if isinstance(config, GaussianPsfConfig):
        return GaussianPsf(config.sigma_px)
    if isinstance(config, DiffractionPsfConfig):
        return DiffractionPsf(config)
    if isinstance(config, SplinePsfConfig):
        spline = read_spline(config.path, config.pixel_size_nm or pixel_size_nm)
        for wanted_nm in (config.pixel_size_nm, pixel_size_nm):
            if wanted_nm is not None:
                spline.require_pixel_size(wanted_nm)
        return spline
    return AstigmaticPsf(config.sigma_px, config.focus_offset_nm, config.focal_depth_nm)
