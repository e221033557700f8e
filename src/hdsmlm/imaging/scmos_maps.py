"""Maps of gain, offset and read variance of an sCMOS chip: drawn, or read from a calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.camera import ScmosConfig
from hdsmlm.errors import ConfigError
from hdsmlm.imaging.camera import ScmosCamera


def scmos_camera(
    config: ScmosConfig, shape: tuple[int, int], rng: np.random.Generator | None = None
) -> ScmosCamera:
    """Return the camera of a field of ``shape`` (y, x).

    Measured maps win; else pixels differ as the spreads of ``config`` say: normal gain and offset,
    log-normal read noise, and a share of hot pixels whose read noise is 4 to 12 times the median
    (the long tail of Huang et al., Nat. Methods 2013, Fig. 1).
    """
    rng = rng or np.random.default_rng(config.map_seed)
    gain = config.gain_adu_per_e * np.clip(1 + config.gain_spread * _normal(rng, shape), 0.3, 1.7)
    offset = config.baseline_adu + config.baseline_spread_adu * _normal(rng, shape)
    noise_e = config.read_noise_e * np.exp(config.read_noise_spread * _normal(rng, shape))
    hot = rng.random(shape) < config.hot_pixel_fraction
    noise_e[hot] = config.read_noise_e * rng.uniform(4, 12, int(hot.sum()))
    if config.gain_map is not None:
        gain = _read_map(config.gain_map, shape)
    if config.offset_map is not None:
        offset = _read_map(config.offset_map, shape)
    variance = (noise_e * gain) ** 2
    if config.variance_map is not None:
        variance = _read_map(config.variance_map, shape)
    return ScmosCamera(config.quantum_efficiency, gain, offset, variance, config.dark_e)


def _normal(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    return rng.standard_normal(shape)


def _read_map(path: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Read a calibration map as float64 and check its shape."""
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path)
        else:
            import tifffile  # only calibrated cameras need it

            array = tifffile.imread(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"calibration map {path} cannot be read ({error}); give a .npy or .tif of shape {shape}"
        ) from None
    if array.shape != tuple(shape):
        raise ConfigError(
            f"calibration map {path} has shape {array.shape}, the frames have {tuple(shape)}; "
            "give the map of the same region of the chip"
        )
    return array.astype(np.float64)
