"""Sums of a sparse movie as a camera would have recorded them, with their labels.

What ``bin`` writes and ``titrate`` predicts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hdsmlm.binning.adding import BinnedSequence, add_sequences, sum_read_variance_e2
from hdsmlm.binning.plan import draw_sum
from hdsmlm.config.binning import BinningConfig
from hdsmlm.config.camera import CameraConfig, EmccdConfig, ScmosConfig
from hdsmlm.imaging.build import build_camera
from hdsmlm.imaging.camera import MAX_ADU, Camera
from hdsmlm.imaging.snr import background_snr
from hdsmlm.pipelines.sparse import Sparse
from hdsmlm.records.emitters import Emitters

DOUBTFUL = 1
"""Value of ``flags`` in the truth for a doubtful spot; 0 is a label."""
_BASELINE_SIGMAS = 6.0


@dataclass(frozen=True)
class SumScene:
    """One recorded sum.

    Parameters
    ----------
    frames : array of uint16, shape (t, y, x)
        Grey values.
    table : Emitters
        Labels and doubtful spots (``flags``); ``frame`` counts from the start of the sequence.
    pixel_size_nm : float
        Side of a pixel.
    background : float
        Mean background photons per pixel that are left.
    clipped : int
        Pixels that left the 16-bit range.
    """

    frames: NDArray[np.uint16]
    table: Emitters
    pixel_size_nm: float
    background: float
    clipped: int

    @property
    def emitters(self) -> Emitters:
        """The labels."""
        return self.table.select(self.table["flags"] == 0)

    @property
    def doubtful(self) -> Emitters:
        """Spots of which it is not known how many emitters they are."""
        return self.table.select(self.table["flags"] != 0)


class Sums:
    """Sequence after sequence of sums; each is a function of the config and its number.

    Parameters
    ----------
    sparse : Sparse
        The measured movie.
    config : BinningConfig
        Lag, length, background, seed, how many.
    factor : int, optional
        Summands in place of ``config.factor``; 1 gives the sparse sequences themselves.

    Raises
    ------
    MovieError, ConfigError
        When the movie is too short for such sums.
    """

    def __init__(self, sparse: Sparse, config: BinningConfig, factor: int | None = None) -> None:
        self.sparse, self.config = sparse, config
        self.rules = replace(sparse.rules(config), factor=factor or config.factor)
        self.rules.check()
        self.read_variance_e2 = sum_read_variance_e2(
            sparse.camera,
            sparse.movie.backgrounds.mean(),
            self.rules.factor,
            config.backgrounds_kept,
        )
        self.camera_config = camera_of_sums(
            sparse.microscope.camera, sparse.camera, self.read_variance_e2
        )
        self._camera = build_camera(self.camera_config, self.rules.shape)

    @property
    def n_sequences(self) -> int:
        """Number of sequences."""
        return self.config.sequences

    @property
    def shape(self) -> tuple[int, int, int]:
        """(t, y, x) of a sequence."""
        return (self.rules.sequence_frames, *self.rules.shape)

    @property
    def pixel_size_nm(self) -> float:
        """Side of a pixel."""
        return self.sparse.movie.pixel_size_nm

    def sequence(self, index: int, first_id: int = 0) -> SumScene:
        """Return one sum; its blinks are numbered from ``first_id``."""
        summands = draw_sum(self.rules, self.config.seed, index)
        sequence = add_sequences(
            self.sparse.movie, summands, self.rules, self.config.backgrounds_kept, first_id
        )
        adu = np.rint(self._camera.mean_adu(sequence.photons))
        return SumScene(
            np.clip(adu, 0, MAX_ADU).astype(np.uint16),
            self._labels(sequence),
            self.pixel_size_nm,
            float(sequence.background.mean()),
            int(((adu < 0) | (adu > MAX_ADU)).sum()),
        )

    def _labels(self, sequence: BinnedSequence) -> Emitters:
        table, p = sequence.emitters, self.pixel_size_nm
        height, width = self.rules.shape
        row = np.clip((table["y_nm"] / p).astype(int), 0, height - 1)
        column = np.clip((table["x_nm"] / p).astype(int), 0, width - 1)
        background = sequence.background[row, column]
        snr = table["snr"]
        if self.config.snr_of == "sum":
            variance = np.full(len(table), self.read_variance_e2)
            peak = self.sparse.peaks(table)
            snr = background_snr(table["photons"], peak, background, self._camera, variance)
        nothing = np.zeros(len(table))
        return Emitters(
            {
                "frame": table["frame"],
                "x_nm": table["x_nm"],
                "y_nm": table["y_nm"],
                "z_nm": table["z_nm"] if self.sparse.psf.is_3d else nothing,
                "photons": table["photons"],
                "background": background,
                "sigma_nm": table["sigma_nm"] if "sigma_nm" in table.names else nothing,
                "snr": snr,
                "emitter_id": table["emitter_id"],
                "blink_id": table["blink_id"],
                "flags": np.where(sequence.sound, 0, DOUBTFUL),
            }
        ).sorted()


def camera_of_sums(config: CameraConfig, camera: Camera, read_variance_e2: float) -> CameraConfig:
    """Return the camera that a movie of sums looks like it was taken with.

    Gain and quantum efficiency are those of the sparse movie (medians of maps), the read noise has
    ``read_variance_e2`` (photo-electrons² at the input), and the baseline is higher by six of its
    standard deviations, so that no grey value falls below zero. A camera without read noise becomes
    an sCMOS camera of the same numbers, since that kind has one.
    """
    read_noise_e = float(np.sqrt(read_variance_e2))
    dark, light = (float(np.median(camera.mean_adu(value))) for value in (0.0, 1.0))
    gain = (light - dark) / camera.quantum_efficiency
    baseline_adu = round(dark - gain * camera.dark_e + _BASELINE_SIGMAS * gain * read_noise_e)
    if isinstance(config, EmccdConfig):
        noise = {"read_noise_e": read_noise_e * config.em_gain, "baseline_adu": baseline_adu}
        return config.model_copy(update=noise)
    return ScmosConfig(
        quantum_efficiency=config.quantum_efficiency,
        gain_adu_per_e=gain,
        read_noise_e=read_noise_e,
        baseline_adu=baseline_adu,
        dark_e=camera.dark_e,
    )
