"""The signal-to-noise ratio that labels, curation and tiers share."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hdsmlm.imaging.camera import Camera


def background_snr(
    photons: ArrayLike,
    peak: ArrayLike,
    background: ArrayLike,
    camera: Camera,
    read_variance_e2: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Return ``N·QE·h* / sqrt(F²·(QE·b + c) + r²/g²)``.

    Background noise only; neighbours are excluded. All in photo-electrons at the brightest pixel.

    Parameters
    ----------
    photons : array, shape (n,)
        N, photons of each emitter in the frame.
    peak : array, shape (n,)
        h*, share of the PSF in its brightest pixel.
    background : array, shape (n,)
        b, background photons per pixel.
    camera : Camera
        Gives QE, F², c and r²/g² (e⁻²; for sCMOS variance/gain²).
    read_variance_e2 : array, shape (n,), optional
        r²/g² at the brightest pixels; the camera's own (or its maps' median) where left out.
    """
    if read_variance_e2 is None:
        read_variance_e2 = float(np.median(camera.input_read_variance_e2))
    efficiency = camera.quantum_efficiency
    background_e = efficiency * np.asarray(background, np.float64) + camera.dark_e
    variance = camera.excess_noise_factor2 * background_e + np.asarray(read_variance_e2)
    signal_e = np.asarray(photons, np.float64) * efficiency * np.asarray(peak)
    return signal_e / np.sqrt(np.maximum(variance, np.finfo(np.float64).tiny))
