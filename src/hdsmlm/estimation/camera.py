"""From the photon transfer line to a camera: what the noise tells, and what has to be assumed.

The line gives ``K = F²·gain`` and ``z = offset - read variance/K``. The likelihood of the fit needs
exactly these two numbers (:mod:`hdsmlm.fitting.likelihood`: its data are ``(adu - z)/K``), so that
positions and their uncertainties do not depend on how z splits into offset and read noise. The
background in photons does, and so does anything that F² and the quantum efficiency scale:

- F² is 2 for an EMCCD (Hirsch et al., PLoS ONE 8, e53671, 2013) and 1 otherwise: the kind decides;
- the read noise is taken as typical of the kind, within an interval; the offset follows from z;
- the quantum efficiency cannot be seen in a movie at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hdsmlm.config.base import parse_section
from hdsmlm.config.camera import CameraConfig, EmccdConfig, IdealConfig, ScmosConfig
from hdsmlm.estimation.photon_transfer import PhotonTransfer

Kind = Literal["auto", "emccd", "scmos", "ideal"]

_EMCCD_GAIN_ADU = 6.0
"""Slope from which a register is more plausible than a single amplifier with 16 bit."""
_PATTERN_E = 0.25
"""Fixed pattern of the offset, photo-electrons, above which pixels have amplifiers of their own."""
_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Interval:
    """A value with the interval in which the truth is expected (95 %, or all plausible values)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


@dataclass(frozen=True)
class _Typical:
    """What a kind of camera is taken to have."""

    excess_noise_factor2: float
    quantum_efficiency: Interval
    read_noise_e: Interval


_TYPICAL: dict[str, _Typical] = {
    "emccd": _Typical(2.0, Interval(0.9, 0.8, 0.95), Interval(0.3, 0.0, 1.0)),
    "scmos": _Typical(1.0, Interval(0.8, 0.6, 0.95), Interval(1.6, 0.7, 2.5)),
    "ideal": _Typical(1.0, Interval(1.0, 1.0, 1.0), Interval(0.0, 0.0, 0.0)),
}


@dataclass(frozen=True)
class CameraEstimate:
    """A camera as far as a movie tells it.

    Parameters
    ----------
    config : CameraConfig
        The camera.
    kind_is_guess : bool
        Whether the kind was chosen by plausibility.
    gain_adu_per_e : Interval
        Grey values per photo-electron (EMCCD: after the register).
    offset_adu : Interval
        Grey value without light.
    read_noise_e : Interval
        Read noise referred to photo-electrons.
    quantum_efficiency : Interval
        Assumed.
    assumptions : tuple of str
        What was taken for granted.
    """

    config: CameraConfig
    kind_is_guess: bool
    gain_adu_per_e: Interval
    offset_adu: Interval
    read_noise_e: Interval
    quantum_efficiency: Interval
    assumptions: tuple[str, ...]

    def photons(self, adu: float) -> float:
        """Return the photons of a grey value."""
        electrons = (adu - self.offset_adu.value) / self.gain_adu_per_e.value
        return electrons / self.quantum_efficiency.value


def guess_kind(line: PhotonTransfer) -> Literal["emccd", "scmos"]:
    """Return the more plausible kind: a register gives many grey values per photo-electron."""
    if line.fixed_pattern_adu > _PATTERN_E * line.slope_adu:
        return "scmos"
    return "emccd" if line.slope_adu > _EMCCD_GAIN_ADU else "scmos"


def estimate_camera(line: PhotonTransfer, kind: Kind = "auto") -> CameraEstimate:
    """Return the camera that a significant photon transfer line belongs to.

    Raises
    ------
    ConfigError
        When the numbers are impossible for a camera, e.g. an offset below 0.
    """
    chosen = guess_kind(line) if kind == "auto" else kind
    typical = _TYPICAL[chosen]
    f2 = typical.excess_noise_factor2
    gain = _scaled(line.slope_adu, line.slope_error_adu, 1 / f2)
    read = _read_noise(line, typical, gain.value)
    offset = _offset(line, read, gain.value)
    values: dict[str, object] = {
        "kind": chosen,
        "quantum_efficiency": typical.quantum_efficiency.value,
        "baseline_adu": round(offset.value, 3),
    }
    if chosen == "emccd":
        em_gain = EmccdConfig().em_gain
        values |= {
            "em_gain": em_gain,
            "e_per_adu": float(f"{em_gain / gain.value:.6g}"),
            "read_noise_e": float(f"{read.value * em_gain:.4g}"),
            "spurious_charge_e": 0.0,
        }
    else:
        values["gain_adu_per_e"] = float(f"{gain.value:.6g}")
    if chosen == "scmos":
        values["read_noise_e"] = float(f"{read.value:.4g}")
    return CameraEstimate(
        config=_parse(chosen, values),
        kind_is_guess=kind == "auto",
        gain_adu_per_e=gain,
        offset_adu=offset,
        read_noise_e=read,
        quantum_efficiency=typical.quantum_efficiency,
        assumptions=_assumptions(chosen, typical, kind == "auto"),
    )


def _parse(kind: str, values: dict[str, object]) -> CameraConfig:
    source = "camera estimated from the movie"
    if kind == "emccd":
        return parse_section(EmccdConfig, values, source)
    if kind == "ideal":
        return parse_section(IdealConfig, values, source)
    return parse_section(ScmosConfig, values, source)


def _scaled(value: float, error: float, factor: float) -> Interval:
    half = _NORMAL_95 * error
    return Interval(value * factor, max(value - half, 0.0) * factor, (value + half) * factor)


def _read_noise(line: PhotonTransfer, typical: _Typical, gain: float) -> Interval:
    """Return the typical read noise, bounded by the variance of the darkest pixels."""
    darkest_e2 = max(float(np.min(line.variance_adu2)), 0.0) / gain**2
    limit = float(np.sqrt(darkest_e2))
    read = typical.read_noise_e
    return Interval(min(read.value, limit), min(read.low, limit), min(read.high, limit))


def _offset(line: PhotonTransfer, read: Interval, gain: float) -> Interval:
    half = _NORMAL_95 * line.zero_error_adu

    def offset(noise_e: float) -> float:
        return line.zero_adu + (noise_e * gain) ** 2 / line.slope_adu

    return Interval(offset(read.value), offset(read.low) - half, offset(read.high) + half)


def _assumptions(kind: str, typical: _Typical, guessed: bool) -> tuple[str, ...]:
    lines = []
    if guessed:
        lines.append(
            f"the kind of camera ({kind}) is a GUESS from gain and fixed pattern; state it with "
            "--kind if you know it. A wrong kind makes photons and gain wrong by the factor 2"
        )
    if kind == "ideal":
        return (*lines, "an ideal camera counts every photon and has no read noise")
    efficiency = typical.quantum_efficiency
    lines.append(
        f"quantum efficiency {efficiency.value:g} (usual {efficiency.low:g} to "
        f"{efficiency.high:g}): no movie tells it; take it from the data sheet at your wavelength"
    )
    if kind == "emccd":
        lines.append(
            f"EM gain {EmccdConfig().em_gain:g}: only gain per electron per grey value is seen; "
            "the split has no effect on the fit"
        )
    lines.append(
        f"read noise {typical.read_noise_e.value:g} photo-electrons (usual "
        f"{typical.read_noise_e.low:g} to {typical.read_noise_e.high:g}): a movie with light in "
        "every pixel does not tell it apart from the offset; a hundred dark frames do"
    )
    return tuple(lines)
