"""Fisher information and Cramér-Rao bound of several emitters and a background.

The model is ``mu_k = sum_i N_i·h_k(x_i, y_i, z_i) + b`` photons. With photo-electrons
``m_k = QE·mu_k + c`` and the variance ``V_k = F²·m_k + r²/g²`` that the camera gives them,

``I_ab = sum_k (dm_k/da)·(dm_k/db) / V_k``.

For an ideal camera this is the Poisson information; for sCMOS that of the Poisson approximation of
Huang et al., Nat. Methods 10, 653 (2013); for EMCCD the excess noise F² = 2 halves it (Chao, Ward &
Ober, Multidim. Syst. Signal Process. 23, 349 (2012), whose exact information is a little larger at
a few photons per pixel).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.imaging.camera import Camera
from hdsmlm.imaging.psf import Psf


@dataclass(frozen=True)
class EmitterModel:
    """The emitters of a small region and the background under them.

    Parameters
    ----------
    position : array, shape (n, 3)
        x and y in pixels from the region's outer corner, z in nm.
    photons : array, shape (n,)
        Photons of each emitter.
    background : float
        Photons per pixel.
    """

    position: NDArray[np.float64]
    photons: NDArray[np.float64]
    background: float


@dataclass(frozen=True)
class Precision:
    """Least standard deviations of an unbiased estimator; arrays of shape (n,), one per emitter.

    ``z_nm`` is NaN for a PSF that does not depend on depth.
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    z_nm: NDArray[np.float64]
    photons: NDArray[np.float64]
    background: float


def expected_photons(model: EmitterModel, psf: Psf, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return ``sum_i N_i·h(x_i, y_i, z_i) + b``, shape (y, x)."""
    images = psf.images(*_columns(model.position), shape)
    return np.einsum("n,nyx->yx", model.photons, images.share) + model.background


def _columns(
    position: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    return position[:, 0], position[:, 1], position[:, 2]


def photon_gradients(model: EmitterModel, psf: Psf, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return d(mu)/d(parameter), shape (parameters, y, x).

    Order: all x, all y, all z (3D PSFs only), all photons, background.
    """
    images = psf.images(*_columns(model.position), shape)
    weight = model.photons[:, None, None]
    parts = [weight * images.by_x, weight * images.by_y]
    if psf.is_3d:
        parts.append(weight * images.by_z)
    return np.concatenate([*parts, images.share, np.ones((1, *shape))])


def fisher_information(
    model: EmitterModel, psf: Psf, camera: Camera, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the information matrix, in the parameter order of :func:`photon_gradients`."""
    efficiency = camera.quantum_efficiency
    electrons = efficiency * expected_photons(model, psf, shape) + camera.dark_e
    variance = camera.excess_noise_factor2 * electrons + camera.input_read_variance_e2
    gradients = efficiency * photon_gradients(model, psf, shape)
    flat = gradients.reshape(len(gradients), -1)
    weight = np.broadcast_to(1 / variance, shape).ravel()
    return np.asarray((flat * weight) @ flat.T)  # one matrix product: hundreds of emitters


def cramer_rao_bound(
    model: EmitterModel, psf: Psf, camera: Camera, shape: tuple[int, int]
) -> Precision:
    """Return the bound: square roots of the diagonal of the inverse information.

    Parameters that the data cannot tell apart (e.g. emitters at one place) get an infinite or very
    large bound, never an error.

    Examples
    --------
    >>> from hdsmlm.imaging.camera import IdealCamera
    >>> from hdsmlm.imaging.psf import GaussianPsf
    >>> one = EmitterModel(np.array([[7.5, 7.5, 0.0]]), np.array([1000.0]), 0.001)
    >>> bound = cramer_rao_bound(one, GaussianPsf(1.3), IdealCamera(1.0, 1.0, 0.0), (15, 15))
    >>> round(float(bound.x_px[0]), 3)
    0.042
    """
    information = fisher_information(model, psf, camera, shape)
    # parameters differ by orders of magnitude: scale the matrix to a unit diagonal first
    scale = np.sqrt(np.maximum(np.diag(information), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    with np.errstate(divide="ignore"):
        inverse = np.where(values > 1e-14 * values.max(), 1 / values, np.inf)
    spread = np.sqrt(_quadratic(vectors, inverse)) / scale
    n = len(model.photons)
    depth = spread[2 * n : 3 * n] if psf.is_3d else np.full(n, np.nan)
    rest = spread[(3 if psf.is_3d else 2) * n :]
    return Precision(spread[:n], spread[n : 2 * n], depth, rest[:n], float(rest[n]))


def _quadratic(vectors: NDArray[np.float64], inverse: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the diagonal of V·diag(inverse)·Vᵀ, where 0·∞ counts as 0."""
    weights = np.square(vectors)
    weights[weights < 1e-20] = 0
    with np.errstate(invalid="ignore"):
        terms = np.where(weights > 0, weights * inverse, 0)
    return terms.sum(axis=1)
