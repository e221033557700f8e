"""The frame-wise fit: from detections and frames to localizations with uncertainties.

Each frame is fitted by itself. Detections are grouped (:mod:`hdsmlm.fitting.groups`), each group is
fitted with its neighbours held fixed (:mod:`hdsmlm.fitting.group_fit`), sweep by sweep, the number
of emitters is chosen (:mod:`hdsmlm.fitting.count_choice`), and the fit is assessed
(:mod:`hdsmlm.fitting.group_quality`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.fitting import FitConfig
from hdsmlm.errors import ConfigError, MovieError, TableError
from hdsmlm.fitting.count_choice import ChoiceRules, choose_counts, empty_choice, existence
from hdsmlm.fitting.evidence import place_map
from hdsmlm.fitting.fit_table import Source, localization_table, rejected_counts
from hdsmlm.fitting.frame_state import FrameProblem, FrameState
from hdsmlm.fitting.group_fit import Limits, start_groups
from hdsmlm.fitting.groups import GroupRules
from hdsmlm.fitting.likelihood import PoissonData
from hdsmlm.fitting.psf_kernels import fittable_psf
from hdsmlm.fitting.region_fit import COMMON_SHAPE, FIXED_SHAPE, FREE_SHAPE
from hdsmlm.fitting.result import FitResult
from hdsmlm.imaging.psf import Psf
from hdsmlm.machine import usable_cores
from hdsmlm.records.emitters import Emitters


def fit_frames(
    detections: Emitters,
    data: PoissonData,
    psf: Psf,
    pixel_size_nm: float,
    config: FitConfig,
    count_map: NDArray[np.floating] | None = None,
    saturated: NDArray[np.bool_] | None = None,
) -> FitResult:
    """Fit the detections of a stack of frames by maximum likelihood, frame by frame.

    Parameters
    ----------
    detections : Emitters
        Where to start; ``frame`` counts from the first frame of ``data``. ``z_nm`` starts the depth
        where there is one. Other columns are carried over.
    data : PoissonData
        The frames; NaN marks a pixel that is not to be used.
    psf : Psf
        The point-spread function that the simulator would draw with.
    pixel_size_nm : float
        Side of a pixel.
    config : FitConfig
        Regions, groups, choice of the number of emitters.
    count_map : array, shape (t, 4, y, x), optional
        Probabilities of 0, 1, 2 and 3+ emitters per pixel: the prior of their number and places.
    saturated : array of bool, shape (t, y, x), optional
        Pixels at the camera's largest grey value; rows whose pixels hold one are flagged.

    Returns
    -------
    FitResult
        Localizations with the columns frame, x_nm, y_nm, z_nm (3D), photons, background, sigma_nm,
        uncertainty_*, probability, log_likelihood_ratio, group_id, flags, and those carried over.

    Raises
    ------
    ConfigError
        For a PSF without a kernel or an option that it lacks.
    MovieError, TableError
        For a map, mask or table that does not fit the frames.
    """
    _check(detections, data, pixel_size_nm, count_map, saturated)
    problem = _problem(data, psf, pixel_size_nm, config)
    maps, rules = _prior_maps(count_map), _choice_rules(problem, config)
    state = FrameState.of(detections, problem, pixel_size_nm).grouped(problem)
    depths = problem.depths if "z_nm" not in detections else problem.depths[:1]
    state.run(problem, start_groups, depths)
    if len(depths) > 1:  # groups share light at their neighbours' depths, known only now
        state.run(problem, start_groups, depths[:1])
    converged = state.sweep(problem, config.sweeps)
    numbers = alternatives = None
    if config.choose_count and len(state.frame):
        numbers = empty_choice(len(state.groups), config.max_group_size)
        state.run(problem, choose_counts, (numbers, rules, maps))
        if config.keep_alternatives:
            alternatives = rejected_counts(state, numbers, problem.psf, pixel_size_nm)
        state = state.chosen(numbers).grouped(problem)
        converged = state.sweep(problem, config.sweeps)
    quality = state.assess(problem, converged)
    probability = np.zeros(len(state.frame))
    state.run(problem, existence, (probability, quality, rules, maps))
    source = Source(detections, pixel_size_nm, saturated, numbers)
    return FitResult(localization_table(state, quality, probability, problem, source), alternatives)


def _prior_maps(
    count_map: NDArray[np.floating] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if count_map is None:
        return np.empty((1, 4, 0, 0), np.float32), np.empty((1, 0, 0), np.float32)
    return np.ascontiguousarray(count_map, dtype=np.float32), place_map(count_map)


def _choice_rules(problem: FrameProblem, config: FitConfig) -> ChoiceRules:
    psf = problem.psf
    depth = float(psf.shape_high - psf.shape_low) if psf.is_3d else 0.0
    ranges = (config.photons_low, config.photons_high, depth)
    return ChoiceRules(float(psf.sigma_px), float(psf.shape_start), ranges)


def _problem(data: PoissonData, psf: Psf, pixel_size_nm: float, config: FitConfig) -> FrameProblem:
    fittable = fittable_psf(psf, config.z_range_nm)
    require_pixel_size = getattr(psf, "require_pixel_size", None)
    if require_pixel_size is not None:
        require_pixel_size(pixel_size_nm)
    if config.free_width and fittable.is_3d:
        raise ConfigError(
            "free_width: only a Gaussian PSF has a width to fit; the width of a three-dimensional "
            "PSF follows from z. Set free_width to false"
        )
    mode = COMMON_SHAPE if config.free_width else FREE_SHAPE if fittable.is_3d else FIXED_SHAPE
    half = max(round(config.region_sigmas * fittable.reach_px - 0.5), 1)
    link = config.group_sigmas * fittable.sigma_px
    limits = Limits(
        mode,
        config.max_iterations,
        half,
        config.max_shift_px,
        # a whole number here would compile every kernel once more
        float(fittable.shape_low),
        float(fittable.shape_high),
        float(link),
        float(data.shape[2]),
        float(data.shape[1]),
        data.multiplied,
    )
    support = fittable.support_px * (2.0 if config.free_width else 1.0)
    rules = GroupRules(link, config.max_group_size, half, support)
    return FrameProblem(data, fittable, limits, rules, config.threads or usable_cores())


def _check(
    detections: Emitters,
    data: PoissonData,
    pixel_size_nm: float,
    count_map: NDArray[np.floating] | None,
    saturated: NDArray[np.bool_] | None,
) -> None:
    t, height, width = data.shape
    if not pixel_size_nm > 0:
        raise ConfigError(f"pixel_size_nm must be above 0, got {pixel_size_nm}")
    if count_map is not None and count_map.shape != (t, 4, height, width):
        raise MovieError(
            f"the count map has the shape {count_map.shape}, the frames need "
            f"{(t, 4, height, width)}; predict the same movie with the same crop and frames"
        )
    if count_map is not None and not np.isfinite(count_map).all():
        raise MovieError("the count map holds NaN or infinite values; predict the movie again")
    if saturated is not None and saturated.shape != data.shape:
        raise MovieError(
            f"the mask of saturated pixels has the shape {saturated.shape}, the frames "
            f"{data.shape}; make it from the same frames"
        )
    if data.offset.shape != (height, width):
        raise MovieError(
            f"the camera's maps have the shape {data.offset.shape}, the frames {(height, width)}; "
            "crop the maps to the movie's region of the chip"
        )
    frame = detections["frame"]
    if len(frame) and (frame.min() < 0 or frame.max() >= t):
        raise TableError(
            f"detections lie in frames {frame.min()} to {frame.max()}, but there are frames 0 to "
            f"{t - 1}; frame numbers must count from the first frame given"
        )
    for name in ("x_nm", "y_nm"):
        if not np.isfinite(detections[name]).all():
            raise TableError(f"column '{name}' of the detections holds NaN; drop those rows")
