"""Which localizations of the sparse frames are labels, and which are doubtful spots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hdsmlm.config.binning import SoundConfig
from hdsmlm.errors import MovieError, TableError
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.flags import Flag

WANTED = ("photons", "uncertainty_x_nm", "uncertainty_y_nm", "log_likelihood_ratio")
"""Columns that the filter needs beside the positions."""
_SPOILT = (
    Flag.NOT_CONVERGED
    | Flag.AT_BOUND
    | Flag.NEAR_BORDER
    | Flag.SATURATED
    | Flag.AMBIGUOUS
    | Flag.DEGENERATE
    | Flag.BAD_PIXEL
)


@dataclass(frozen=True)
class SoundSpots:
    """Outcome of :func:`split_sound`.

    Parameters
    ----------
    sound : array of bool, shape (n,)
        Which candidates are beyond doubt.
    crowded : array of bool, shape (n,)
        Which have a neighbour that is too near.
    """

    sound: NDArray[np.bool_]
    crowded: NDArray[np.bool_]

    @property
    def crowded_share(self) -> float:
        """Share of the candidates with a neighbour that is too near."""
        return float(self.crowded.mean()) if len(self.crowded) else 0.0


def split_sound(
    candidates: Emitters, sigma_px: float, pixel_size_nm: float, config: SoundConfig
) -> SoundSpots:
    """Apply the strict filter to the candidates of all frames.

    Parameters
    ----------
    candidates : Emitters
        Localizations with the columns :data:`WANTED`, and ``flags`` and ``probability`` where there
        are any.
    sigma_px : float
        Standard deviation of the PSF.
    pixel_size_nm : float
        Side of a pixel.
    config : SoundConfig
        Limits.

    Raises
    ------
    TableError
        When a column is missing.
    """
    missing = [name for name in WANTED if name not in candidates]
    if missing:
        raise TableError(
            f"the localizations lack the column {', '.join(missing)}, by which sound spots are "
            "told from doubtful ones; localize with `hdsmlm localize --fit frame`"
        )
    limit_nm = config.max_uncertainty_px * pixel_size_nm
    sound = candidates["log_likelihood_ratio"] >= config.min_log_likelihood_ratio
    for axis in ("x", "y"):
        sound &= candidates[f"uncertainty_{axis}_nm"] <= limit_nm  # false for NaN too
    if "flags" in candidates:
        sound &= (candidates["flags"] & int(_SPOILT)) == 0
    if "probability" in candidates:
        sound &= candidates["probability"] >= config.min_probability
    serious = candidates["log_likelihood_ratio"] >= config.neighbour_log_likelihood_ratio
    reach_nm = config.min_distance_sigmas * sigma_px * pixel_size_nm
    crowded = _crowded(candidates, serious, reach_nm, config.neighbour_share)
    return SoundSpots(sound & ~crowded, crowded)


def missed_candidates(
    found: Emitters,
    candidates: Emitters,
    sigma_px: float,
    pixel_size_nm: float,
    config: SoundConfig,
) -> Emitters:
    """Return the candidates that stand for emitters which the localizer may have missed.

    Those nearer than ``min_distance_sigmas`` to something that was found are parts of it; of the
    others, those that gain no likelihood and have no neighbour (of two candidates for one emitter
    neither gains much beside the other) are noise.
    """
    reach_nm = config.min_distance_sigmas * sigma_px * pixel_size_nm
    if not len(candidates) or reach_nm <= 0:
        return candidates
    lonely = np.ones(len(candidates), bool)
    if len(found):
        distance, _ = cKDTree(_places(found, reach_nm)).query(_places(candidates, reach_nm))
        lonely = np.asarray(distance > reach_nm)
    rest = candidates.select(lonely)
    every = np.ones(len(rest), bool)
    real = rest["log_likelihood_ratio"] >= config.doubt_log_likelihood_ratio
    return rest.select(real | _crowded(rest, every, reach_nm, 0.0))


def require_sparse(spots: SoundSpots, max_share: float, per_um2: float) -> None:
    """Refuse a movie whose spots overlap.

    Raises
    ------
    MovieError
        With the density and what to do.
    """
    if spots.crowded_share > max_share:
        raise MovieError(
            f"the movie is too dense to bin: {100 * spots.crowded_share:.0f} % of its spots have a "
            f"neighbour within reach of their PSF (at most {100 * max_share:.0f} % may), at "
            f"{per_um2:.2g} candidates per um2 and frame. Bin a sparser movie, for instance a "
            "later part of this one, or raise max_doubtful_share if you accept few labels"
        )


def _crowded(
    candidates: Emitters, serious: NDArray[np.bool_], reach_nm: float, share: float
) -> NDArray[np.bool_]:
    """Return which rows have a serious one of their frame, bright enough, within ``reach_nm``."""
    crowded = np.zeros(len(candidates), bool)
    if not len(candidates) or reach_nm <= 0:
        return crowded
    places = _places(candidates, reach_nm)
    one, other = cKDTree(places).query_pairs(reach_nm, output_type="ndarray").T
    photons = candidates["photons"]
    for mine, its in ((one, other), (other, one)):
        crowded[mine[serious[its] & (photons[its] >= share * photons[mine])]] = True
    return crowded


def _places(table: Emitters, reach_nm: float) -> NDArray[np.float64]:
    """Return x, y and a third axis on which frames lie further apart than the reach."""
    return np.column_stack([table["x_nm"], table["y_nm"], table["frame"] * (2.0 * reach_nm)])
