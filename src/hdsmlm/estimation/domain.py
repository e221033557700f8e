"""Domain gap: how well a movie can be told from the nearest that a model was trained on.

A classifier two-sample test (Lopez-Paz & Oquab, ICLR 2017) on named features of patches. One movie
is a point in the training distribution - one camera, one PSF, one sample - so that a test against
the whole distribution would call every movie strange. Therefore

1. scenes are drawn from the training ranges, and around those that resemble the movie most new ones
   are drawn, never outside the ranges (:mod:`hdsmlm.estimation.domain_search`);
2. blocks of the movie, each with as many patches as a scene, are told from the nearest K scenes,
   with mean accuracy a;
3. each of these K scenes is told from the others in the same way; a0 is the accuracy that five of
   six do not reach: so much does one recording of such a microscope differ from others;
4. the score is ``max(0, (a - a0)/(1 - a0))``: 0 for one recording among others, 1 if every patch of
   the movie is recognized although no scene can be recognized so well.

Beside it each feature's standardized difference to the nearest scenes and its rank among all scenes
that were drawn from the ranges say what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.config.simulation import SimulationConfig
from hdsmlm.errors import MovieError
from hdsmlm.estimation.domain_classifier import accuracy
from hdsmlm.estimation.domain_features import (
    FEATURES,
    PATCH_PX,
    Feature,
    cut_patches,
    patch_features,
)
from hdsmlm.estimation.domain_search import mix
from hdsmlm.estimation.sample import MIN_FRAMES, FrameSample
from hdsmlm.simulation.conditions import Conditions, draw_conditions
from hdsmlm.simulation.recording import Recording

FRAMES = MIN_FRAMES
"""Frames of a patch: as few as the shortest movie that can be examined."""
SCENE_PX = 96
REFERENCE_SCENES = 64
SEED = 2_000_000_011
"""Stream of scenes that no training seed (at most 10^9) can reach."""
EDGE, OUTSIDE = 0.4, 0.7
"""Scores from which a movie lies at the edge of the training distribution, or outside."""
_ROUNDS, _PARENTS, _CHILDREN, _NEAREST = 2, 8, 16, 12
_BLOCKS = 6
"""Blocks of a movie; each is told from the scenes on its own."""
_BLOCK_PATCHES = (SCENE_PX // PATCH_PX) ** 2
_FEWEST_PATCHES = 6
_GROUP = 3
"""Patches of a scene that share a fold."""
_USUAL = 5 / 6
_SHRINK = 0.05
_NORMAL_95 = 1.96
_NOTABLE = 0.8
"""A large standardized difference (Cohen, 1988)."""


@dataclass(frozen=True)
class PatchSet:
    """Features of the patches of one movie or of some scenes.

    Parameters
    ----------
    features : array of float64, shape (n, len(FEATURES))
        One row per patch.
    blocks : array of int, shape (n,)
        The block of the movie, or the recording, that each patch is from.
    """

    features: NDArray[np.float64]
    blocks: NDArray[np.intp]


@dataclass(frozen=True)
class FeatureGap:
    """How one feature of the movie compares.

    Parameters
    ----------
    feature : Feature
        Which.
    difference : float
        Movie minus nearest training scenes, in standard deviations of the patches of both.
    rank : float
        Share of the scenes drawn from the training ranges whose mean lies below the movie's.
    """

    feature: Feature
    difference: float
    rank: float

    @property
    def sentence(self) -> str:
        """What differs, in words."""
        what = self.feature.high if self.difference > 0 else self.feature.low
        share = self.rank if self.difference > 0 else 1 - self.rank
        return (
            f"{what}: {self.difference:+.1f} SD from the nearest trained scenes, beyond "
            f"{100 * share:.0f} % of all"
        )


@dataclass(frozen=True)
class DomainGap:
    """How well a movie is told from the nearest scenes of a training distribution.

    Parameters
    ----------
    score, low, high : float
        0 (indistinguishable) to 1 (fully separable), with its interval of 95 %.
    accuracy : float
        Cross-validated balanced accuracy, movie against the nearest scenes.
    scene_accuracy : float
        Accuracy of one of these scenes against the others that five of six do not reach.
    features : tuple of FeatureGap
        Largest standardized difference first.
    """

    score: float
    low: float
    high: float
    accuracy: float
    scene_accuracy: float
    features: tuple[FeatureGap, ...]

    @property
    def verdict(self) -> str:
        """The score in words."""
        if self.score < EDGE:
            return "within what it was trained on"
        if self.score < OUTSIDE:
            return "at the edge of what it was trained on"
        return "outside what it was trained on"

    @property
    def range_text(self) -> str:
        """The score with its interval."""
        return f"{self.score:.2f} ({self.low:.2f} to {self.high:.2f})"

    @property
    def notable(self) -> tuple[FeatureGap, ...]:
        """Up to four features that differ much; empty below ``EDGE``."""
        if self.score < EDGE:
            return ()
        large = tuple(gap for gap in self.features if abs(gap.difference) >= _NOTABLE)
        return (large or self.features)[:4]

    def rows(self) -> list[str]:
        """Return score and verdict and, from ``EDGE`` on, what differs; one text per line."""
        return [f"{self.range_text}, {self.verdict}", *(gap.sentence for gap in self.notable)]


class TrainingScenes:
    """Scenes of a training distribution, by their features.

    Parameters
    ----------
    simulation : SimulationConfig
        The ranges.
    normalization : NormalizationConfig
        How the model's input is scaled.
    n_scenes : int
        Scenes drawn from the ranges.
    seed : int
        The same seed gives the same scenes.
    """

    def __init__(
        self,
        simulation: SimulationConfig,
        normalization: NormalizationConfig,
        n_scenes: int = REFERENCE_SCENES,
        seed: int = SEED,
    ) -> None:
        self.simulation = simulation
        self.normalization = normalization
        self.seed = seed
        self.conditions = [
            draw_conditions(simulation, np.random.default_rng([seed, k])) for k in range(n_scenes)
        ]
        self.features = np.array([self.record(c, k) for k, c in enumerate(self.conditions)])

    def record(self, conditions: Conditions, key: int) -> NDArray[np.float64]:
        """Return the features (patches, d) of a scene under given conditions."""
        recording = Recording(conditions, (SCENE_PX, SCENE_PX), (self.seed, 1, key), horizon=FRAMES)
        frames, _ = recording.read(FRAMES)
        return patch_features(cut_patches(_scaled(frames, self.normalization)))


def patches_of_sample(sample: FrameSample, normalization: NormalizationConfig) -> PatchSet:
    """Return patches from places and times that are spread over a movie.

    Raises
    ------
    MovieError
        When its frames are too small, or hold no contrast.
    """
    height, width = sample.shape
    if min(height, width) < PATCH_PX or len(sample.runs[0]) < FRAMES:
        raise MovieError(
            f"{sample.n_frames} frames of {height} x {width} pixels came; to compare a movie with "
            f"training scenes at least {FRAMES} frames of {PATCH_PX} x {PATCH_PX} pixels are needed"
        )
    together = np.concatenate(sample.runs)
    low, high = _levels(together, normalization)
    if not high > low:
        raise MovieError(
            f"the movie holds no contrast: the percentiles {normalization.low_percentile:g} and "
            f"{normalization.high_percentile:g} of its grey values are both {low:g}; check the "
            "shutter and the file, then give a movie with molecules"
        )
    side = tuple(min(SCENE_PX, length) // PATCH_PX * PATCH_PX for length in (height, width))
    per_window = side[0] * side[1] // PATCH_PX**2
    per_block = -(-_BLOCK_PATCHES // per_window)
    starts = [(run, t) for run in sample.runs for t in range(0, len(run) - FRAMES + 1, FRAMES)]
    places = max(1, height * width // (side[0] * side[1]))
    n_windows = min(_BLOCKS * per_block, len(starts) * places)
    if n_windows * per_window < _FEWEST_PATCHES:
        raise MovieError(
            f"{sample.n_frames} frames of {height} x {width} pixels hold {n_windows * per_window} "
            f"patches of {FRAMES} x {PATCH_PX} x {PATCH_PX}; at least {_FEWEST_PATCHES} are needed "
            "to compare a movie with training scenes: record more frames or a larger field"
        )
    windows = []
    rng = np.random.default_rng(SEED)
    for number in range(n_windows):
        run, t = starts[int((number + 0.5) * len(starts) / n_windows)]
        y = int(rng.integers(height - side[0] + 1))
        x = int(rng.integers(width - side[1] + 1))
        windows.append(run[t : t + FRAMES, y : y + side[0], x : x + side[1]])
    patches = np.concatenate([cut_patches(2 * (w - low) / (high - low) - 1) for w in windows])
    # neighbouring times go to different blocks, so that every block sees the whole movie
    n_blocks = max(1, n_windows // per_block)
    blocks = np.repeat(np.arange(n_windows) % n_blocks, per_window)
    return PatchSet(patch_features(patches), blocks)


def patches_of_scenes(
    scenes: Sequence[NDArray[np.generic]], normalization: NormalizationConfig
) -> PatchSet:
    """Return the patches of recordings (t, y, x), each scaled by its own percentiles.

    Raises
    ------
    MovieError
        When a recording is too short or too small, or there is none.
    """
    features, blocks = [], []
    for number, frames in enumerate(scenes):
        if frames.shape[0] < FRAMES or min(frames.shape[1:]) < PATCH_PX:
            raise MovieError(
                f"a recording of shape (t, y, x) = {frames.shape} came; to compare it with "
                f"training scenes at least {FRAMES} frames of {PATCH_PX} x {PATCH_PX} pixels are "
                "needed"
            )
        block = cut_patches(_middle(_scaled(frames[:FRAMES], normalization)))
        features.append(patch_features(block))
        blocks.append(np.full(len(block), number // -(-_FEWEST_PATCHES // len(block))))
    if not features:
        raise MovieError("no recording came to be compared with training scenes")
    return PatchSet(np.concatenate(features), np.concatenate(blocks))


def domain_gap(movie: PatchSet, training: TrainingScenes) -> DomainGap:
    """Compare a movie with the nearest scenes that its training ranges allow.

    Deterministic: the same movie, ranges and seed give the same numbers.
    """
    first = training.features
    centre, spread = first.mean(axis=(0, 1)), first.std(axis=(0, 1)) + 1e-9
    within = (first - first.mean(axis=1, keepdims=True)) / spread
    covariance = np.einsum("spi,spj->ij", within, within) / (within.shape[0] * within.shape[1])
    metric = np.linalg.inv(covariance + _SHRINK * np.eye(len(FEATURES)))
    x = (movie.features - centre) / spread
    scenes = _nearest_scenes(x.mean(axis=0), training, (centre, spread), metric)
    told = np.array([_told(x[movie.blocks == block], scenes) for block in set(movie.blocks)])
    others = np.array([_told(s, np.delete(scenes, i, axis=0)) for i, s in enumerate(scenes)])
    value, base = float(told.mean()), min(float(np.quantile(others, _USUAL)), 0.95)
    scatter = max(float(told.std()), float(others.std())) if len(told) < 3 else float(told.std())
    half = _NORMAL_95 * float(np.sqrt(scatter**2 / len(told) + others.var() / len(others)))
    low, middle, high = (
        float(np.clip((a - base) / (1 - base), 0, 1)) for a in (value - half, value, value + half)
    )
    return DomainGap(
        middle,
        low,
        high,
        value,
        base,
        _feature_gaps(x, scenes, (first.mean(axis=1) - centre) / spread),
    )


def _told(block: NDArray[np.float64], scenes: NDArray[np.float64]) -> float:
    """Return the accuracy with which a block of patches is told from scenes (k, patches, d)."""
    k, n, d = scenes.shape
    groups = np.arange(k * n) // _GROUP
    return accuracy(block, np.arange(len(block)) // _GROUP, scenes.reshape(k * n, d), groups)


def _nearest_scenes(
    mean: NDArray[np.float64],
    training: TrainingScenes,
    scale: tuple[NDArray[np.float64], NDArray[np.float64]],
    metric: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the standardized features (scenes, patches, d) of scenes drawn toward a movie."""
    conditions = list(training.conditions)
    scenes = [(features - scale[0]) / scale[1] for features in training.features]

    def order() -> NDArray[np.intp]:
        offset = np.array([scene.mean(axis=0) for scene in scenes]) - mean
        return np.argsort(np.einsum("si,ij,sj->s", offset, metric, offset), kind="stable")

    rng = np.random.default_rng([training.seed, 2])
    for _ in range(_ROUNDS):
        parents = order()[:_PARENTS]
        for _ in range(_CHILDREN):
            a, b = rng.choice(parents, 2, replace=False)
            child = mix(conditions[a], conditions[b], training.simulation, rng)
            scenes.append((training.record(child, len(scenes)) - scale[0]) / scale[1])
            conditions.append(child)
    return np.array([scenes[k] for k in order()[:_NEAREST]])


def _feature_gaps(
    x: NDArray[np.float64], scenes: NDArray[np.float64], all_means: NDArray[np.float64]
) -> tuple[FeatureGap, ...]:
    near = scenes.reshape(-1, scenes.shape[-1])
    mean = x.mean(axis=0)
    pooled = np.sqrt(0.5 * (x.var(axis=0) + near.var(axis=0))) + 1e-9
    difference = (mean - near.mean(axis=0)) / pooled
    rank = (all_means < mean).mean(axis=0)
    gaps = [
        FeatureGap(feature, float(difference[j]), float(rank[j]))
        for j, feature in enumerate(FEATURES)
    ]
    return tuple(sorted(gaps, key=lambda gap: -abs(gap.difference)))


def _middle(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the middle, no larger than a scene: as many patches are told apart as in a scene."""
    rows, columns = (
        slice(max(0, (side - SCENE_PX) // 2), max(0, (side - SCENE_PX) // 2) + SCENE_PX)
        for side in frames.shape[1:]
    )
    return frames[:, rows, columns]


def _levels(frames: NDArray[np.generic], normalization: NormalizationConfig) -> tuple[float, float]:
    ends = (normalization.low_percentile, normalization.high_percentile)
    low, high = np.percentile(frames.astype(np.float32), ends)
    return float(low), float(high)


def _scaled(frames: NDArray[np.generic], normalization: NormalizationConfig) -> NDArray[np.float32]:
    """Return a training recording as the network sees it; a flat one spans one grey value."""
    low, high = _levels(frames, normalization)
    span = high - low if high > low else 1.0
    return ((frames.astype(np.float32) - low) * (2 / span) - 1).astype(np.float32)
