"""Maps of gain, offset and read variance of an sCMOS chip: drawn, or measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.camera import ScmosConfig
from hdsmlm.errors import ConfigError
from hdsmlm.imaging.camera import ScmosCamera


@dataclass(frozen=True)
class MeasuredMaps:
    """Maps of a real chip, each of shape (y, x); None where the config's numbers hold.

    Parameters
    ----------
    gain_adu_per_e : array, optional
        Grey values per photo-electron.
    offset_adu : array, optional
        Mean without light, grey values.
    variance_adu2 : array, optional
        Read variance, grey values².
    """

    gain_adu_per_e: NDArray[np.floating] | None = None
    offset_adu: NDArray[np.floating] | None = None
    variance_adu2: NDArray[np.floating] | None = None


def scmos_camera(
    config: ScmosConfig,
    shape: tuple[int, int],
    rng: np.random.Generator | None = None,
    measured: MeasuredMaps | None = None,
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
    measured = measured or MeasuredMaps()
    gain = _measured(measured.gain_adu_per_e, gain, "gain")
    offset = _measured(measured.offset_adu, offset, "offset")
    variance = _measured(measured.variance_adu2, (noise_e * gain) ** 2, "variance")
    return ScmosCamera(config.quantum_efficiency, gain, offset, variance, config.dark_e)


def _normal(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    return rng.standard_normal(shape)


def _measured(
    values: NDArray[np.floating] | None, drawn: NDArray[np.float64], name: str
) -> NDArray[np.float64]:
    """Return a measured map after a check of its shape and numbers; the drawn one without it."""
    if values is None:
        return drawn
    if values.shape != drawn.shape:
        raise ConfigError(
            f"the {name} map has shape {values.shape}, the frames have {drawn.shape}; give the map "
            "of the same region of the chip"
        )
    if not np.isfinite(values).all():
        raise ConfigError(
            f"the {name} map holds {int((~np.isfinite(values)).sum())} pixels with NaN or infinity;"
            " replace them, e.g. by the median of their neighbours"
        )
    return values.astype(np.float64)
