"""Cameras: from expected photons to grey values and back, with mean and variance in closed form.

All three share one chain (science: forward model): photons -> photo-electrons (Poisson) ->
amplification -> read noise -> grey values, rounded and clipped to 16 bit. The means and variances
below leave out rounding (1/12 grey value²) and clipping.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hdsmlm.imaging.checks import require

_require = partial(require, "camera")

MAX_ADU = 65535
"""Largest grey value of a 16-bit frame."""


@runtime_checkable
class Camera(Protocol):
    """A camera; arrays broadcast against its maps, whose shape is (y, x)."""

    @property
    def quantum_efficiency(self) -> float:
        """QE: photo-electrons per photon."""

    @property
    def excess_noise_factor2(self) -> float:
        """F²: variance of the amplified signal over that of an ideal amplifier."""

    @property
    def dark_e(self) -> float:
        """Electrons per pixel and frame without light, before amplification."""

    @property
    def input_read_variance_e2(self) -> NDArray[np.float64] | float:
        """r²/g²: variance of the read noise referred to photo-electrons, e⁻²."""

    def sample(self, photons: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.uint16]:
        """Draw one frame or stack of grey values for expected ``photons`` (…, y, x)."""

    def to_photons(self, adu: ArrayLike) -> NDArray[np.float64]:
        """Return the unbiased estimate of photons from grey values: the inverse of the mean."""

    def mean_adu(self, photons: ArrayLike) -> NDArray[np.float64]:
        """Return the expected grey value."""

    def variance_adu(self, photons: ArrayLike) -> NDArray[np.float64]:
        """Return the variance of the grey value."""


def _digitize(adu: NDArray[np.floating]) -> NDArray[np.uint16]:
    np.rint(adu, out=adu)
    np.clip(adu, 0, MAX_ADU, out=adu)
    return adu.astype(np.uint16)


def _require_efficiency(quantum_efficiency: float) -> None:
    _require(
        0 < quantum_efficiency <= 1,
        "quantum_efficiency must be above 0 and at most 1",
        quantum_efficiency,
    )


@dataclass(frozen=True)
class EmccdCamera:
    """Electron-multiplying CCD.

    ``n ~ Poisson(QE·mu + c)``, ``G ~ Gamma(shape=n, scale=g)``,
    ``adu = (G + Normal(0, r)) / e_per_adu + baseline``.
    Mean ``(QE·mu + c)·g/e + baseline``, variance ``(2·(QE·mu + c)·g² + r²)/e²``: F² = 2.

    References
    ----------
    Hirsch et al., PLoS ONE 8, e53671 (2013).
    """

    quantum_efficiency: float
    em_gain: float
    read_noise_e: float
    spurious_charge_e: float
    e_per_adu: float
    baseline_adu: float

    def __post_init__(self) -> None:
        _require_efficiency(self.quantum_efficiency)
        _require(self.em_gain > 1, "em_gain must be above 1", self.em_gain)
        _require(self.e_per_adu > 0, "e_per_adu must be above 0", self.e_per_adu)
        _require(self.read_noise_e >= 0, "read_noise_e must not be negative", self.read_noise_e)
        _require(
            self.spurious_charge_e >= 0,
            "spurious_charge_e must not be negative",
            self.spurious_charge_e,
        )

    @property
    def excess_noise_factor2(self) -> float:
        """F² = 2, exact for the Gamma model of the register."""
        return 2.0

    @property
    def dark_e(self) -> float:
        """Spurious charge c, electrons per pixel and frame."""
        return self.spurious_charge_e

    @property
    def input_read_variance_e2(self) -> float:
        """(r/g)², e⁻²."""
        return (self.read_noise_e / self.em_gain) ** 2

    def sample(self, photons: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.uint16]:
        """Draw grey values for expected photons."""
        electrons = rng.poisson(self.quantum_efficiency * photons + self.spurious_charge_e)
        amplified = rng.standard_gamma(electrons.astype(np.float32), dtype=np.float32)
        amplified *= np.float32(self.em_gain / self.e_per_adu)
        noise = rng.standard_normal(amplified.shape, dtype=np.float32)
        noise *= np.float32(self.read_noise_e / self.e_per_adu)
        amplified += noise
        amplified += np.float32(self.baseline_adu)
        return _digitize(amplified)

    def to_photons(self, adu: ArrayLike) -> NDArray[np.float64]:
        """Return ``((adu - baseline)·e/g - c) / QE``."""
        electrons = (np.asarray(adu, np.float64) - self.baseline_adu) * (
            self.e_per_adu / self.em_gain
        )
        return (electrons - self.spurious_charge_e) / self.quantum_efficiency

    def mean_adu(self, photons: ArrayLike) -> NDArray[np.float64]:
        """Return ``(QE·mu + c)·g/e + baseline``."""
        electrons = (
            self.quantum_efficiency * np.asarray(photons, np.float64) + self.spurious_charge_e
        )
        return electrons * (self.em_gain / self.e_per_adu) + self.baseline_adu

    def variance_adu(self, photons: ArrayLike) -> NDArray[np.float64]:
        """Return ``(2·(QE·mu + c)·g² + r²) / e²``."""
        electrons = (
            self.quantum_efficiency * np.asarray(photons, np.float64) + self.spurious_charge_e
        )
        return (2 * electrons * self.em_gain**2 + self.read_noise_e**2) / self.e_per_adu**2


@dataclass(frozen=True)
class ScmosCamera:
    """Scientific CMOS: ``n ~ Poisson(QE·mu + c)``, ``adu = n·gain + Normal(offset, variance)``.

    ``gain_adu_per_e``, ``offset_adu`` and ``variance_adu2`` are maps of shape (y, x) or numbers.

    References
    ----------
    Huang et al., Nat. Methods 10, 653 (2013).
    """

    quantum_efficiency: float
    gain_adu_per_e: NDArray[np.float64] | float
    offset_adu: NDArray[np.float64] | float
    variance_adu2: NDArray[np.float64] | float
    dark_e: float = 0.0

    def __post_init__(self) -> None:
        _require_efficiency(self.quantum_efficiency)
        gain, variance = np.asarray(self.gain_adu_per_e), np.asarray(self.variance_adu2)
        _require(bool((gain > 0).all()), "every gain_adu_per_e must be above 0", gain.min())
        _require(bool((variance >= 0).all()), "no variance may be negative", variance.min())
        _require(self.dark_e >= 0, "dark_e must not be negative", self.dark_e)
        shapes = {
            np.shape(value)
            for value in (self.gain_adu_per_e, self.offset_adu, self.variance_adu2)
            if np.ndim(value)
        }
        _require(len(shapes) <= 1, "gain, offset and variance maps must have one shape", shapes)

    @property
    def excess_noise_factor2(self) -> float:
        """F² = 1: no multiplication."""
        return 1.0

    @property
    def input_read_variance_e2(self) -> NDArray[np.float64] | float:
        """variance/gain², e⁻²."""
        return self.variance_adu2 / np.square(self.gain_adu_per_e)

    def sample(self, photons: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.uint16]:
        """Draw grey values for expected photons."""
        electrons = rng.poisson(self.quantum_efficiency * photons + self.dark_e)
        noise = rng.standard_normal(electrons.shape, dtype=np.float32)
        noise *= np.sqrt(self.variance_adu2, dtype=np.float32)
        noise += electrons * np.asarray(self.gain_adu_per_e, np.float32)
        noise += np.asarray(self.offset_adu, np.float32)
        return _digitize(noise)

    def to_photons(self, adu: ArrayLike) -> NDArray[np.float64]:
        """Return ``((adu - offset)/gain - c) / QE``."""
        electrons = (np.asarray(adu, np.float64) - self.offset_adu) / self.gain_adu_per_e
        return (electrons - self.dark_e) / self.quantum_efficiency

    def mean_adu(self, photons: ArrayLike) -> NDArray[np.float64]:
        """Return ``(QE·mu + c)·gain + offset``."""
        electrons = self.quantum_efficiency * np.asarray(photons, np.float64) + self.dark_e
        return electrons * self.gain_adu_per_e + self.offset_adu

    def variance_adu(self, photons: ArrayLike) -> NDArray[np.float64]:
        """Return ``(QE·mu + c)·gain² + variance``."""
        electrons = self.quantum_efficiency * np.asarray(photons, np.float64) + self.dark_e
        return electrons * np.square(self.gain_adu_per_e) + self.variance_adu2


@dataclass(frozen=True)
class IdealCamera:
    """Shot noise alone: ``n ~ Poisson(QE·mu)``, ``adu = n·gain + baseline``."""

    quantum_efficiency: float
    gain_adu_per_e: float
    baseline_adu: float

    def __post_init__(self) -> None:
        _require_efficiency(self.quantum_efficiency)
        _require(self.gain_adu_per_e > 0, "gain_adu_per_e must be above 0", self.gain_adu_per_e)

    @property
    def excess_noise_factor2(self) -> float:
        """F² = 1."""
        return 1.0

    @property
    def dark_e(self) -> float:
        """No dark charge."""
        return 0.0

    @property
    def input_read_variance_e2(self) -> float:
        """No read noise."""
        return 0.0

    def sample(self, photons: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.uint16]:
        """Draw grey values for expected photons."""
        # a whole gain and baseline would leave whole numbers, which are not rounded in place
        adu = rng.poisson(self.quantum_efficiency * photons) * float(self.gain_adu_per_e)
        return _digitize(adu + self.baseline_adu)

    def to_photons(self, adu: ArrayLike) -> NDArray[np.float64]:
        """Return ``(adu - baseline) / (gain·QE)``."""
        signal = np.asarray(adu, np.float64) - self.baseline_adu
        return signal / (self.gain_adu_per_e * self.quantum_efficiency)

    def mean_adu(self, photons: ArrayLike) -> NDArray[np.float64]:
        """Return ``QE·mu·gain + baseline``."""
        electrons = self.quantum_efficiency * np.asarray(photons, np.float64)
        return electrons * self.gain_adu_per_e + self.baseline_adu

    def variance_adu(self, photons: ArrayLike) -> NDArray[np.float64]:
        """Return ``QE·mu·gain²``."""
        return self.quantum_efficiency * np.asarray(photons, np.float64) * self.gain_adu_per_e**2
