"""Cramér-Rao bound of blinks: one position for all frames in which an emitter is on.

Parameters of a run of frames are x and y of every blink (and z, where the PSF changes with depth),
its photons in every frame in which it is on, and one background per frame. The information of all
frames adds in the positions; photons and background of a frame occur in that frame alone and are
eliminated there (Schur complement):

``J = sum_t (A_t - B_t·C_t⁻¹·B_tᵀ)``,  bound² = diagonal of ``J⁻¹``,

with ``A_t`` (positions), ``C_t`` (photons and background) and ``B_t`` (mixed) the blocks of
:func:`hdsmlm.imaging.fisher.fisher_information` of frame t. If every blink lasts for one frame,
this is the bound frame by frame. Which blinks there are, and when each is on, counts as known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hdsmlm.imaging.camera import Camera
from hdsmlm.imaging.fisher import EmitterModel, fisher_information
from hdsmlm.imaging.psf import Psf

_CUTOFF = 1e-13
"""Eigenvalues below this share of the largest, of a matrix of unit diagonal, count as zero."""


@dataclass(frozen=True)
class BlinkRun:
    """Emitters of a run of frames; one row per blink and frame in which it is on.

    Parameters
    ----------
    frame, blink : array of int, shape (n,)
        Frame of a row, and the blink that it belongs to (any whole numbers).
    position : array, shape (n, 3)
        x and y in pixels from the outer corner, z in nm; the same in all rows of a blink.
    photons : array, shape (n,)
        Photons in that frame.
    background : array, shape (n,)
        Photons per pixel; the mean over the rows of a frame is that frame's background.
    """

    frame: NDArray[np.int64]
    blink: NDArray[np.int64]
    position: NDArray[np.float64]
    photons: NDArray[np.float64]
    background: NDArray[np.float64]

    def as_single_frames(self) -> BlinkRun:
        """Return the same rows with no frame knowing of another: each row is a blink."""
        return BlinkRun(
            self.frame, np.arange(len(self.frame)), self.position, self.photons, self.background
        )


def place_bound(
    run: BlinkRun, psf: Psf, camera: Camera, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the least standard deviations of the place of every row, shape (n, 2) or (n, 3).

    Parameters
    ----------
    run : BlinkRun
        The true emitters.
    psf : Psf
        The point-spread function; where it changes with depth, z is unknown too.
    camera : Camera
        Gives the variance of the photo-electrons.
    shape : tuple of int
        (y, x) of the frames.

    Returns
    -------
    array, shape (n, 2) or (n, 3)
        x and y in pixels and, of a three-dimensional PSF, z in nm; the same values in all rows of a
        blink. Emitters that the frames cannot tell apart get an infinite or very large bound, so
        that a median, not a mean, sums them up.

    Examples
    --------
    >>> from hdsmlm.imaging.camera import IdealCamera
    >>> from hdsmlm.imaging.psf import GaussianPsf
    >>> place = np.array([[7.5, 7.5, 0.0]] * 4)
    >>> run = BlinkRun(np.arange(4), np.zeros(4, int), place, np.full(4, 1e3), np.full(4, 0.001))
    >>> camera = IdealCamera(1.0, 1.0, 0.0)
    >>> joint = place_bound(run, GaussianPsf(1.3), camera, (15, 15))
    >>> alone = place_bound(run.as_single_frames(), GaussianPsf(1.3), camera, (15, 15))
    >>> [round(float(value), 4) for value in (joint / alone)[0]]
    [0.5, 0.5]
    """
    frames, frame = np.unique(run.frame, return_inverse=True)
    names, blink = np.unique(run.blink, return_inverse=True)
    size = len(frames) + len(names)
    links = (np.ones(len(frame)), (frame, blink + len(frames)))
    known_together = coo_array(links, shape=(size, size))
    _, part = connected_components(known_together, directed=False)
    bound = np.empty((len(frame), 3 if psf.is_3d else 2))
    for number in np.unique(part[: len(frames)]):
        rows = np.flatnonzero(part[frame] == number)
        bound[rows] = _bound_of_part(_rows(run, rows), psf, camera, shape)
    return bound


def lateral_bound_px(
    run: BlinkRun, psf: Psf, camera: Camera, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the least lateral error ``sqrt(var x + var y)`` of every row, in pixels, shape (n,).

    Parameters and what the values mean are those of :func:`place_bound`.
    """
    bound = place_bound(run, psf, camera, shape)
    return np.asarray(np.hypot(bound[:, 0], bound[:, 1]))


def _rows(run: BlinkRun, rows: NDArray[np.intp]) -> BlinkRun:
    return BlinkRun(
        run.frame[rows],
        run.blink[rows],
        run.position[rows],
        run.photons[rows],
        run.background[rows],
    )


def _bound_of_part(
    run: BlinkRun, psf: Psf, camera: Camera, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the bound of rows whose frames share blinks, shape (rows, axes)."""
    names, blink = np.unique(run.blink, return_inverse=True)
    n_blinks, axes = len(names), 3 if psf.is_3d else 2
    information = np.zeros((axes * n_blinks, axes * n_blinks))
    for frame in np.unique(run.frame):
        rows = np.flatnonzero(run.frame == frame)
        model = EmitterModel(
            run.position[rows], run.photons[rows], float(run.background[rows].mean())
        )
        own = _position_information(fisher_information(model, psf, camera, shape), axes * len(rows))
        index = np.concatenate([blink[rows] + axis * n_blinks for axis in range(axes)])
        information[np.ix_(index, index)] += own
    spread = np.sqrt(_inverse_diagonal(information)).reshape(axes, n_blinks).T
    return np.asarray(spread[blink])


def _position_information(information: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return ``A - B·C⁻¹·Bᵀ``: what a frame tells of its first ``n`` parameters."""
    mixed = information[:n, n:]
    values, vectors, scale = _scaled_eigen(information[n:, n:])
    # a combination of photons that changes nothing has no part in the mixed block either
    inverse = np.where(values > _CUTOFF * values.max(), 1 / np.maximum(values, 1e-300), 0.0)
    turned = (mixed / scale) @ vectors
    return np.asarray(information[:n, :n] - (turned * inverse) @ turned.T)


def _inverse_diagonal(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the diagonal of the inverse; infinite where the matrix is singular."""
    values, vectors, scale = _scaled_eigen(matrix)
    known = values > _CUTOFF * values.max()
    weights = np.square(vectors)
    finite = weights[:, known] @ (1 / values[known])
    lost = weights[:, ~known].sum(axis=1) > 1e-12
    return np.where(lost, np.inf, finite) / scale**2


def _scaled_eigen(
    matrix: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return eigenvalues and vectors of the matrix scaled to a unit diagonal, and the scale."""
    scale = np.sqrt(np.maximum(np.diag(matrix), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    return values, vectors, scale
