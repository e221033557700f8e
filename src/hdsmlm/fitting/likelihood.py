"""One Poisson likelihood for every camera.

A camera gives photo-electrons ``e_k`` of mean ``m_k = QE·mu_k + c`` and variance
``F²·m_k + v_k``, with F² the excess noise and ``v_k = r²/g²`` the read variance of the pixel. The
scaled and shifted datum

``d_k = e_k/F² + v_k/F⁴``

has mean and variance both equal to ``scale·mu_k + offset_k``, with ``scale = QE/F²`` and
``offset_k = c/F² + v_k/F⁴``, and is treated as Poisson: for sCMOS (F² = 1) this is the likelihood
of Huang et al., Nat. Methods 10, 653 (2013), for EMCCD (F² = 2, Hirsch et al., PLoS ONE 8, e53671
(2013)) its quasi-likelihood, whose information is that of :mod:`hdsmlm.imaging.fisher`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.imaging.camera import Camera


@dataclass(frozen=True)
class PoissonData:
    """Frames as data of a Poisson model ``d ~ Poisson(scale·mu + offset)``.

    Parameters
    ----------
    counts : array, shape (t, y, x), float32
        The data d; read noise makes single ones negative, which the likelihood takes as it is.
    offset : array, shape (y, x), float32
        Mean of d without light.
    scale : float
        Mean of d per photon: QE/F².
    multiplied : bool
        Whether a register multiplied the electrons, which gives d a longer tail than Poisson's.
    """

    counts: NDArray[np.float32]
    offset: NDArray[np.float32]
    scale: float
    multiplied: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(t, y, x)."""
        return self.counts.shape


def poisson_data(frames: NDArray[np.generic], camera: Camera) -> PoissonData:
    """Return the data of grey values.

    Parameters
    ----------
    frames : array, shape (t, y, x), ADU
        Raw frames.
    camera : Camera
        The camera that took them; its maps must have the shape (y, x) of a frame.
    """
    f2, efficiency = camera.excess_noise_factor2, camera.quantum_efficiency
    variance = np.asarray(camera.input_read_variance_e2, dtype=np.float64) / f2**2
    electrons = efficiency * camera.to_photons(frames) + camera.dark_e
    counts = electrons / f2 + variance
    offset = np.broadcast_to(camera.dark_e / f2 + variance, frames.shape[1:])
    return PoissonData(
        counts=counts.astype(np.float32),
        offset=np.ascontiguousarray(offset, dtype=np.float32),
        scale=efficiency / f2,
        multiplied=f2 > 1.0,
    )
