"""Per-pixel camera calibrations in files."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import ConfigError, MovieError

N_MAPS = 3


@dataclass(frozen=True)
class CameraMaps:
    """What an sCMOS calibration measures for every pixel (Huang et al., Nat. Methods 2013).

    Parameters
    ----------
    offset_adu : array, shape (y, x)
        Mean without light, ADU. Some calibrations hold it relative to the camera's baseline.
    variance_adu2 : array, shape (y, x)
        Variance without light, ADU².
    gain_e_per_adu : array, shape (y, x)
        Photo-electrons per ADU, as stored.
    """

    offset_adu: NDArray[np.float64]
    variance_adu2: NDArray[np.float64]
    gain_e_per_adu: NDArray[np.float64]

    @property
    def gain_adu_per_e(self) -> NDArray[np.float64]:
        """ADU per photo-electron."""
        return 1 / self.gain_e_per_adu


def read_camera_map(path: Path) -> NDArray[np.float64]:
    """Read one map of shape (y, x) from a .npy or .tif file, in the unit that the file has.

    Raises
    ------
    ConfigError
        When the file cannot be read, or holds anything but one plane of real numbers.
    """
    try:
        if path.suffix.lower() == ".npy":
            plane = np.load(path, allow_pickle=False)
        else:
            import tifffile  # only calibrated cameras need it

            plane = tifffile.imread(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"camera map {path} cannot be read ({error}); give a .npy or .tif with one plane"
        ) from None
    if getattr(plane, "ndim", 0) != 2 or plane.dtype.kind not in "fiu":
        raise ConfigError(
            f"camera map {path} holds {plane.dtype} numbers of shape {plane.shape}; one plane of "
            "real numbers, shape (y, x), was wanted"
        )
    return np.asarray(plane, np.float64)


def read_camera_maps(path: Path | str, *, transpose: bool = True) -> CameraMaps:
    """Read an sCMOS calibration: a .npy stack of the maps offset, variance, gain.

    Parameters
    ----------
    path : path
        A .npy file of shape (3, x, y).
    transpose : bool
        Turn the stored (x, y) into (y, x). The Zhuang lab's calibrations need it: with it the hot
        pixels of calibration and movie agree.

    Returns
    -------
    CameraMaps
        Plain float64 arrays, shape (y, x). The gain is taken to be electrons per ADU (0.47 for a
        Hamamatsu Flash 4: then its read noise comes out at the specified 1.6 electrons); a file
        with ADU per electron has to be inverted first.

    Raises
    ------
    MovieError
        When the file is missing, of another shape, or holds impossible values.
    """
    path = Path(path)
    if not path.is_file():
        raise MovieError(f"{path}: no such camera calibration; check the path")
    try:
        with warnings.catch_warnings():
            # Files of Python 2 make NumPy advise to save them again; they read correctly.
            warnings.filterwarnings("ignore", message="Reading `.npy`", category=UserWarning)
            maps = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise MovieError(f"{path}: not readable as a NumPy array of numbers ({error})") from error
    if not isinstance(maps, np.ndarray) or maps.ndim != 3 or len(maps) != N_MAPS:
        shape = getattr(maps, "shape", "an archive")
        raise MovieError(
            f"{path}: three maps (offset, variance, gain) as an array of shape (3, x, y) were "
            f"wanted, but it holds {shape}"
        )
    offset, variance, gain = (
        np.ascontiguousarray(plane.T if transpose else plane, dtype=np.float64) for plane in maps
    )
    if not np.isfinite(maps).all() or (variance < 0).any() or (gain <= 0).any():
        raise MovieError(
            f"{path}: the maps must be finite, with variance >= 0 and gain > 0; found variance "
            f"from {variance.min():g} and gain from {gain.min():g}. Are the maps in the order "
            "offset, variance, gain?"
        )
    return CameraMaps(offset, variance, gain)
