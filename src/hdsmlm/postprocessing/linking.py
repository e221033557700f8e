"""Join the localizations of one blink across frames, and make one row of each blink.

Frame by frame, each localization joins the open blink that is nearest in units of the allowed
distance; the nearest pairs are joined first, each blink and each localization once. A blink is
where its localizations so far are on average (weights: inverse variances), and is open until it was
unseen for more than ``max_dark_frames`` frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.postprocessing import LinkConfig
from hdsmlm.errors import TableError
from hdsmlm.records.columns import COLUMNS
from hdsmlm.records.emitters import Emitters

_AXES = ("x", "y", "z")


def link_blinks(emitters: Emitters, config: LinkConfig) -> Emitters:
    """Give each row the ``blink_id`` of the blink that it belongs to.

    With uncertainties s (in x, y, and z where the table has it) a localization i may join a blink b
    when ``sum((r_i - r_b)² / (s_i² + s_b²)) < n_sigmas²``; with a radius, when the lateral distance
    is less than ``radius_nm``.

    Parameters
    ----------
    emitters : Emitters
        Localizations; old ``blink_id`` are replaced.
    config : LinkConfig
        Distance and dark frames.

    Returns
    -------
    Emitters
        The same rows in the same order; blinks are numbered by their first frame, then position.

    Raises
    ------
    TableError
        Without a radius and without uncertainties.
    """
    from hdsmlm.postprocessing.linking_kernel import link_rows

    order = np.lexsort((emitters["y_nm"], emitters["x_nm"], emitters["frame"]))
    position, variance = _geometry(emitters, config)
    frames = emitters["frame"][order].astype(np.int64)
    starts = np.flatnonzero(np.diff(frames, prepend=frames[:1] - 1))
    blinks = np.empty(len(emitters), np.int64)
    blinks[order] = link_rows(
        frames,
        np.append(starts, len(frames)),
        position[order],
        variance[order],
        config.max_dark_frames,
        config.radius_nm is None,
    )
    return emitters.with_columns(blink_id=blinks)


def _geometry(
    emitters: Emitters, config: LinkConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions (n, d) and the variances (n, d) that scale distances and weigh the mean."""
    if config.radius_nm is not None:
        position = np.column_stack([emitters["x_nm"], emitters["y_nm"]])
        return position, np.full(position.shape, config.radius_nm**2)
    axial = "z_nm" in emitters and "uncertainty_z_nm" in emitters
    axes = _AXES if axial else _AXES[:2]
    missing = [name for name in (f"uncertainty_{a}_nm" for a in axes) if name not in emitters]
    if missing:
        raise TableError(
            f"linking needs the column {', '.join(missing)}, which the table lacks; give the "
            "largest distance instead, e.g. --radius-nm 50"
        )
    position = np.column_stack([emitters[f"{axis}_nm"] for axis in axes])
    sigma = np.column_stack([sound_sigma(emitters[f"uncertainty_{axis}_nm"]) for axis in axes])
    return position, (config.n_sigmas * sigma) ** 2


def sound_sigma(sigma_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return uncertainties with the median in place of those that are not finite and positive.

    Raises
    ------
    TableError
        When none is.
    """
    sound = np.isfinite(sigma_nm) & (sigma_nm > 0)
    if not sound.any() and len(sigma_nm):
        raise TableError(
            "the table has uncertainties, but none of them is a positive number; give a fixed "
            "width or distance instead"
        )
    return np.where(sound, sigma_nm, np.median(sigma_nm[sound])) if len(sigma_nm) else sigma_nm


def blink_table(emitters: Emitters) -> Emitters:
    """Return one row per ``blink_id``.

    ``frame`` is its first, ``n_frames`` counts its localizations and ``duration_frames`` the frames
    from first to last. Positions are means with weights 1/s² (photons where there are no
    uncertainties), with the standard error ``(sum 1/s²)^(-1/2)``. Where all rows of a blink share
    their position, it was fitted jointly, and its uncertainty is that of its rows: nothing is
    gained a second time. Photons and log-likelihood ratios add up, background and PSF width are
    means, flags are united.

    Raises
    ------
    TableError
        When the table has no ``blink_id``.
    """
    from hdsmlm.postprocessing.linking_kernel import unite_flags

    blinks, index, counts = np.unique(emitters["blink_id"], return_inverse=True, return_counts=True)
    n_blinks = len(blinks)

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = np.zeros(n_blinks)
        np.add.at(sums, index, values)
        return sums

    first = np.full(n_blinks, np.iinfo(np.int32).max, np.int64)
    last = np.full(n_blinks, -1, np.int64)
    np.minimum.at(first, index, emitters["frame"])
    np.maximum.at(last, index, emitters["frame"])
    columns: dict[str, NDArray[Any]] = {
        "frame": first,
        "n_frames": counts,
        "duration_frames": last - first + 1,
        "blink_id": blinks,
    }
    for axis in _AXES:
        if f"{axis}_nm" in emitters:
            columns |= _mean_position(emitters, axis, index, counts, total)
    for name in ("photons", "log_likelihood_ratio"):
        if name in emitters:
            columns[name] = total(emitters[name])
    for name in ("background", "sigma_nm"):
        if name in emitters:
            columns[name] = total(emitters[name]) / counts
    if "uncertainty_photons" in emitters:
        columns["uncertainty_photons"] = np.sqrt(total(emitters["uncertainty_photons"] ** 2))
    if "flags" in emitters:
        columns["flags"] = unite_flags(index, emitters["flags"].astype(np.int64), n_blinks)
    if "emitter_id" in emitters:
        columns["emitter_id"] = emitters["emitter_id"][_first_rows(index, n_blinks)]
    ordered = {name: columns[name] for name in COLUMNS if name in columns}
    return Emitters(ordered).sorted()


def _mean_position(
    emitters: Emitters,
    axis: str,
    index: NDArray[np.int64],
    counts: NDArray[np.int64],
    total: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> dict[str, NDArray[np.float64]]:
    values = emitters[f"{axis}_nm"]
    name = f"uncertainty_{axis}_nm"
    if name in emitters:
        sigma = sound_sigma(emitters[name])
        weights = sigma**-2.0
    else:
        weights = _photon_weights(emitters)
    # Relative to the blink's first row, so that a shared position stays exactly what it is.
    origin = values[_first_rows(index, len(counts))]
    shift = values - origin[index]
    sums = total(weights)
    columns = {f"{axis}_nm": origin + total(weights * shift) / sums}
    if name in emitters:
        shared = total((shift != 0).astype(float)) == 0
        columns[name] = np.sqrt(np.where(shared & (counts > 1), counts, 1.0) / sums)
    return columns


def _photon_weights(emitters: Emitters) -> NDArray[np.float64]:
    if "photons" not in emitters:
        return np.ones(len(emitters))
    photons = emitters["photons"]
    return np.where(np.isfinite(photons) & (photons > 1.0), photons, 1.0)


def _first_rows(index: NDArray[np.int64], n_blinks: int) -> NDArray[np.int64]:
    """Return a row of each blink: the first in the table."""
    rows: NDArray[np.int64] = np.empty(n_blinks, np.int64)
    rows[index[::-1]] = np.arange(len(index))[::-1]
    return rows
