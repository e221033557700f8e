r"""Add sparse sequences to a dense one, in photons.

With photons ``p_i`` (the camera's inverse of the grey values) and background maps ``B_i`` of the n
summands, and b backgrounds kept,

.. math:: S = \sum_i p_i - (1 - b/n) \sum_i B_i .

The offset of the camera drops out with the inverse. The mean is that of a recording with the
emitters of all summands and b backgrounds; the variance is the sum of the n variances, since
subtracting a known map takes no noise away:

.. math:: QE^2 \, \mathrm{var}\, S = \sum_i \left[ F^2 (QE\,\mu_i + c) + r_i^2 \right]

in photo-electrons², with μ_i the light of summand i (background and emitters), c the dark electrons
and r the read noise referred to the input. An ordinary recording of the same light would have
``F²(QE (b·B + Σ emitters) + c) + R²``: the sum looks like a recording with the read noise
``R² = n·r² + F²[(n - b)·QE·B + (n - 1)·c]`` (:func:`sum_read_variance_e2`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from hdsmlm.binning.background import BackgroundMaps
from hdsmlm.binning.orientation import turned, turned_emitters
from hdsmlm.binning.plan import PlanRules, Summand
from hdsmlm.imaging.camera import Camera
from hdsmlm.records.emitters import Emitters

_SAME_PLACE_PX = 3.0
"""Distance up to which two images of one blink in a sum are doubtful spots."""


@dataclass(frozen=True)
class BinnedSequence:
    """A dense sequence, in photons.

    Parameters
    ----------
    photons : array of float64, shape (t, y, x)
        The sum S.
    background : array of float64, shape (y, x)
        Background that is left in every frame.
    emitters : Emitters
        Candidates of all summands, ``frame`` from 0; ``blink_id`` and ``emitter_id`` differ between
        summands.
    sound : array of bool, shape (n,)
        Which of them are labels; the others are doubtful spots.
    """

    photons: NDArray[np.float64]
    background: NDArray[np.float64]
    emitters: Emitters
    sound: NDArray[np.bool_]


@dataclass(frozen=True)
class SparseMovie:
    """A sparse movie and what is known of it.

    Parameters
    ----------
    read_photons : callable
        ``(start, stop) -> array (t, y, x)`` of photons.
    backgrounds : BackgroundMaps
        Its background.
    candidates : Emitters
        Localizations with ``blink_id``, sorted by frame.
    sound : array of bool, shape (n,)
        Which of them are beyond doubt.
    pixel_size_nm : float
        Side of a pixel.
    """

    read_photons: Callable[[int, int], NDArray[np.float64]]
    backgrounds: BackgroundMaps
    candidates: Emitters
    sound: NDArray[np.bool_]
    pixel_size_nm: float


def add_sequences(
    movie: SparseMovie,
    summands: tuple[Summand, ...],
    rules: PlanRules,
    backgrounds_kept: float = 1.0,
    first_id: int = 0,
) -> BinnedSequence:
    """Add sequences of a sparse movie.

    Parameters
    ----------
    movie : SparseMovie
        Where they come from.
    summands : tuple of Summand
        Which ones; a single one gives the sparse sequence itself.
    rules : PlanRules
        Length and cut-out.
    backgrounds_kept : float, optional
        b, backgrounds that stay in the sum.
    first_id : int, optional
        Smallest ``blink_id`` of the sequence.

    Returns
    -------
    BinnedSequence
        The sum and the union of the emitters.
    """
    height, width = rules.shape
    total = np.zeros((rules.sequence_frames, height, width))
    light = np.zeros((height, width))
    tables, sound, sources = [], [], []
    for summand in summands:
        stop = summand.start + rules.sequence_frames
        window = (
            slice(summand.top, summand.top + height),
            slice(summand.left, summand.left + width),
        )
        photons = movie.read_photons(summand.start, stop)[:, window[0], window[1]]
        background = movie.backgrounds.at(summand.start)[window]
        total += turned(photons, summand.orientation)
        light += turned(background, summand.orientation)
        rows = slice(*np.searchsorted(movie.candidates["frame"], [summand.start, stop]))
        table, kept = _cut_out(movie, np.arange(rows.start, rows.stop), summand, rules.shape)
        sources.append(table["blink_id"])
        _, blink = np.unique(table["blink_id"], return_inverse=True)
        table = table.with_columns(blink_id=blink + first_id, emitter_id=blink + first_id)
        first_id += int(blink.max(initial=-1)) + 1
        tables.append(table)
        sound.append(kept)
    union = Emitters.concatenate(tables)
    clear = np.concatenate(sound)
    clear &= ~_seen_twice(union, np.concatenate(sources), movie.pixel_size_nm)
    n = len(summands)
    total -= (1 - backgrounds_kept / n) * light
    return BinnedSequence(total, light * (backgrounds_kept / n), union, clear)


def _seen_twice(
    union: Emitters, source: NDArray[np.int64], pixel_size_nm: float
) -> NDArray[np.bool_]:
    """Return which rows lie beside another one of their frame that is the same blink of the movie.

    Near the axis about which a summand is mirrored an emitter stays where it is.
    """
    twice = np.zeros(len(union), bool)
    order = np.lexsort((source, union["frame"]))
    frame, blink = union["frame"][order], source[order]
    place = np.column_stack([union["x_nm"], union["y_nm"]])[order] / pixel_size_nm
    edges = np.flatnonzero((np.diff(frame) != 0) | (np.diff(blink) != 0)) + 1
    for low, high in pairwise([0, *edges.tolist(), len(order)]):
        if high - low > 1:
            near = cdist(place[low:high], place[low:high]) < _SAME_PLACE_PX
            twice[order[low:high]] = near.sum(axis=1) > 1
    return twice


def _cut_out(
    movie: SparseMovie, rows: NDArray[np.intp], summand: Summand, shape: tuple[int, int]
) -> tuple[Emitters, NDArray[np.bool_]]:
    """Return the candidates inside a summand's cut-out, in the coordinates of the sum."""
    p = movie.pixel_size_nm
    table = movie.candidates.select(rows)
    table = table.with_columns(
        frame=table["frame"] - summand.start,
        x_nm=table["x_nm"] - summand.left * p,
        y_nm=table["y_nm"] - summand.top * p,
    )
    side_nm = (shape[0] * p, shape[1] * p)
    inside = (table["x_nm"] >= 0) & (table["x_nm"] < side_nm[1])
    inside &= (table["y_nm"] >= 0) & (table["y_nm"] < side_nm[0])
    table = turned_emitters(table.select(inside), summand.orientation, side_nm)
    return table, movie.sound[rows][inside]


def sum_read_variance_e2(
    camera: Camera, background_photons: float, n: int, backgrounds_kept: float = 1.0
) -> float:
    """Return the variance that an ordinary camera's read noise must have to describe the sum.

    ``n·r² + F²[(n - b)·QE·B + (n - 1)·c]`` in photo-electrons², for the mean background B of one
    frame: a recording with b backgrounds, dark electrons c and this read noise is as noisy as the
    sum (equation of this module).

    Parameters
    ----------
    camera : Camera
        Of the sparse movie; maps enter by their median.
    background_photons : float
        B, photons per pixel.
    n : int
        Summands.
    backgrounds_kept : float, optional
        b.
    """
    read = float(np.median(camera.input_read_variance_e2))
    removed = (n - backgrounds_kept) * camera.quantum_efficiency * background_photons
    return n * read + camera.excess_noise_factor2 * (removed + (n - 1) * camera.dark_e)
