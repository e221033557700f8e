"""A camera whose chip was measured: maps of offset, variance and gain from dark and flat frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hdsmlm.config.base import parse_section
from hdsmlm.config.camera import ScmosConfig
from hdsmlm.errors import ConfigError
from hdsmlm.estimation.camera import CameraEstimate, Interval
from hdsmlm.estimation.photon_transfer import PhotonTransfer
from hdsmlm.io.calibration import CameraMaps
from hdsmlm.records.movie import MovieInfo

_EFFICIENCY = Interval(0.8, 0.6, 0.95)
_FAR_ADU = 10.0
_SIGNIFICANT = 5.0


def calibrated_camera(
    maps: CameraMaps, line: PhotonTransfer, info: MovieInfo
) -> tuple[CameraEstimate, tuple[str, ...]]:
    """Return the camera of measured maps, and notes where movie and maps disagree.

    A calibration that holds the offset relative to the camera's baseline is shifted by the
    baseline, which the photon transfer line of the movie gives.

    Raises
    ------
    ConfigError
        When the maps have another size than the movie.
    """
    if maps.offset_adu.shape != (info.height, info.width):
        raise ConfigError(
            f"the calibration is for {maps.offset_adu.shape} pixels (y, x), the movie has "
            f"{(info.height, info.width)}; give the maps of the same region of the chip"
        )
    gain = float(np.median(maps.gain_adu_per_e))
    variance = float(np.median(maps.variance_adu2))
    offset = float(np.median(maps.offset_adu)) + baseline_of(maps, line)
    notes = []
    if offset != float(np.median(maps.offset_adu)):
        notes.append(
            f"the calibration's offsets (median {np.median(maps.offset_adu):.3g}) are relative to "
            f"the camera's baseline, about {baseline_of(maps, line):.4g} in this movie; it is added"
        )
    if line.is_significant and abs(line.slope_adu / gain - 1) > 0.15:
        notes.append(
            f"the movie's noise gives a gain of {line.slope_adu:.3g} grey values per "
            f"photo-electron, the calibration {gain:.3g}; check that it belongs to this camera"
        )
    read = float(np.sqrt(variance)) / gain
    config = parse_section(
        ScmosConfig,
        {
            "quantum_efficiency": _EFFICIENCY.value,
            "gain_adu_per_e": float(f"{gain:.6g}"),
            "read_noise_e": float(f"{read:.4g}"),
            "baseline_adu": round(offset, 3),
        },
        "camera calibration",
    )
    estimate = CameraEstimate(
        config=config,
        kind_is_guess=False,
        gain_adu_per_e=_spread(maps.gain_adu_per_e),
        offset_adu=Interval(offset, offset, offset),
        read_noise_e=Interval(read, read, read),
        quantum_efficiency=_EFFICIENCY,
        assumptions=(
            f"quantum efficiency {_EFFICIENCY.value:g} (usual {_EFFICIENCY.low:g} to "
            f"{_EFFICIENCY.high:g}): no movie tells it; take it from the data sheet",
        ),
    )
    return estimate, tuple(notes)


def calibrated_line(maps: CameraMaps, line: PhotonTransfer) -> PhotonTransfer:
    """Return the photon transfer line of the median pixel of the maps."""
    gain = float(np.median(maps.gain_adu_per_e))
    offset = float(np.median(maps.offset_adu)) + baseline_of(maps, line)
    zero = offset - float(np.median(maps.variance_adu2)) / gain
    return replace(line, slope_adu=gain, zero_adu=zero)


def baseline_of(maps: CameraMaps, line: PhotonTransfer) -> float:
    """Return what has to be added to the offsets of a calibration; 0 where they are absolute."""
    gain = float(np.median(maps.gain_adu_per_e))
    expected = float(np.median(maps.offset_adu) - np.median(maps.variance_adu2) / gain)
    missing = line.zero_adu - expected
    far = max(_FAR_ADU, _SIGNIFICANT * line.zero_error_adu)
    return round(missing, 1) if line.is_significant and missing > far else 0.0


def _spread(values: np.ndarray) -> Interval:
    low, middle, high = np.percentile(values, [2.5, 50, 97.5])
    return Interval(float(middle), float(low), float(high))
