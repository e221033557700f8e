"""Score a model on the fixed simulated test set, by density, camera and photons."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from hdsmlm.bundle import Bundle
from hdsmlm.config.evaluation import EvaluationConfig
from hdsmlm.config.prediction import EngineName, Precision
from hdsmlm.config.simulation import SimulationConfig
from hdsmlm.config.test_set import TestCase, TestSetConfig
from hdsmlm.evaluation.bins import BinScore, recall_by_snr
from hdsmlm.evaluation.calibration import CalibrationTally
from hdsmlm.evaluation.detection import random_placement
from hdsmlm.evaluation.matching import Field, match_knn
from hdsmlm.evaluation.scores import DetectionScore, score, tiers
from hdsmlm.inference.decode import decode
from hdsmlm.inference.engines import build_engine
from hdsmlm.inference.predictor import Predictor
from hdsmlm.labels.counts import count_labels
from hdsmlm.normalization import normalizer_of_array
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.simulation.scene import SceneSampler


@dataclass(frozen=True)
class CaseScore:
    """Scores of one case, its scenes pooled.

    Parameters
    ----------
    case : TestCase
        What was scored.
    tier1, everyone : DetectionScore
        kNN scores of reliable emitters (SNR >= 2) and of all emitters.
    chance_f1 : float
        Tier-1 F1 of a random placement of the same number of predictions per frame.
    reliable_share : float
        Share of the true emitters that are of tier 1.
    count_bias : float
        Mean of predicted minus true emitters per frame, relative to the true ones (all tiers).
    """

    case: TestCase
    tier1: DetectionScore
    everyone: DetectionScore
    chance_f1: float
    reliable_share: float
    count_bias: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, rounded."""
        return {
            "density_per_um2": self.case.density_per_um2,
            "camera": self.case.camera,
            "tier1": _plain(self.tier1),
            "all": _plain(self.everyone),
            "chance_f1": round(self.chance_f1, 4),
            "reliable_share": round(self.reliable_share, 4),
            "count_bias": round(self.count_bias, 4),
        }


@dataclass(frozen=True)
class TestSetScores:
    """Scores of a model on the whole test set.

    Parameters
    ----------
    headline, reference : tuple of CaseScore
        Cases in the order of the config.
    by_snr : tuple of BinScore
        Recall by SNR, all headline cases pooled, all tiers.
    expected_calibration_error : float
        Of the probability that a pixel holds an emitter, over the pixels where it is not near 0.
    """

    __test__ = False

    headline: tuple[CaseScore, ...]
    reference: tuple[CaseScore, ...]
    by_snr: tuple[BinScore, ...]
    expected_calibration_error: float

    def mean(self, name: str) -> float:
        """Return a tier-1 score ("f1", "recall", "precision") averaged over the headline cases."""
        return float(np.mean([getattr(case.tier1, name) for case in self.headline]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the bundle."""
        return {
            "headline_tier1": {
                name: round(self.mean(name), 4) for name in ("f1", "recall", "precision")
            },
            "expected_calibration_error": round(self.expected_calibration_error, 5),
            "recall_by_snr": {part.label: round(part.score.recall, 4) for part in self.by_snr},
            "headline": {case.case.name: case.to_dict() for case in self.headline},
            "reference": {case.case.name: case.to_dict() for case in self.reference},
        }


def simulation_of_case(case: TestCase, config: TestSetConfig) -> SimulationConfig:
    """Return the simulator's ranges for one case."""
    base = config.microscopes
    return base.model_copy(
        update={
            "density_per_um2": (case.density_per_um2, case.density_per_um2),
            "pixel_size_nm": (config.pixel_size_nm, config.pixel_size_nm),
            "sigma_px": case.sigma_px,
            "photons": case.photons,
            "cameras": type(base.cameras)(**_only(case.camera, ("emccd", "scmos", "ideal"))),
            "psfs": type(base.psfs)(**_only(case.psf, tuple(type(base.psfs).model_fields))),
            "structures": type(base.structures)(
                **_only("uniform", tuple(type(base.structures).model_fields))
            ),
            "photophysics": base.photophysics.model_copy(
                update={"mean_on_frames": case.mean_on_frames}
            ),
            "background": base.background.model_copy(update={"photons": case.background_photons}),
        }
    )


def score_bundle(
    bundle: Bundle,
    config: TestSetConfig,
    engine: EngineName = "auto",
    precision: Precision = "f32",
    listener: Listener = silent,
) -> TestSetScores:
    """Simulate the test set, predict it with a bundle, decode and score."""
    predictor = Predictor(build_engine(engine, bundle, precision=precision), bundle.manifest)
    scorer = _Scorer(bundle, config, predictor, listener)
    headline = tuple(scorer.score(case) for case in config.headline)
    by_snr = scorer.recall_by_snr()
    error = scorer.calibration.result().ece_occupied
    reference = tuple(scorer.score(case) for case in config.reference)
    return TestSetScores(headline, reference, by_snr, error)


class _Scorer:
    def __init__(
        self, bundle: Bundle, config: TestSetConfig, predictor: Predictor, listener: Listener
    ) -> None:
        self.bundle = bundle
        self.config = config
        self.listener = listener
        self.predictor = predictor
        self.calibration = CalibrationTally()
        self.settings = EvaluationConfig()
        self.snr: list[tuple[BinScore, ...]] = []
        self.done = 0

    def recall_by_snr(self) -> tuple[BinScore, ...]:
        """Return the recall by SNR, pooled over the cases scored so far."""
        pooled = []
        for parts in zip(*self.snr, strict=True):
            tp, fn = sum(part.score.tp for part in parts), sum(part.score.fn for part in parts)
            pooled.append(BinScore(parts[0].low, parts[0].high, DetectionScore(tp, 0, fn)))
        return tuple(pooled)

    def score(self, case: TestCase) -> CaseScore:
        config = self.config
        sampler = SceneSampler(simulation_of_case(case, config), config.shape)
        truths, found = [], []
        for index in range(config.scenes_per_case):
            scene = sampler.draw(config.seed, scene_number(case, index))
            frames = normalizer_of_array(scene.frames, self.bundle.manifest.normalization)
            p = self.predictor.predict(frames(scene.frames, 0))
            labels = count_labels(scene.emitters, scene.frames.shape, scene.pixel_size_nm)
            self.calibration.update(p, labels)
            offset = index * config.shape[0]
            decoded = decode(
                p,
                self.bundle.manifest.decoding,
                pixel_size_nm=scene.pixel_size_nm,
                first_frame=offset,
            )
            truths.append(scene.emitters.with_columns(frame=scene.emitters["frame"] + offset))
            found.append(decoded)
            self.done += 1
            total = config.scenes_per_case * (len(config.headline) + len(config.reference))
            self.listener(Event("score", self.done, total, case.name, "scenes"))
        return self._compare(case, Emitters.concatenate(truths), Emitters.concatenate(found))

    def _compare(self, case: TestCase, truth: Emitters, found: Emitters) -> CaseScore:
        t, height, width = self.config.shape
        field = Field(t * self.config.scenes_per_case, height, width, self.config.pixel_size_nm)
        reliable = tiers(truth) == 1
        matching = self._match(truth, found)
        self.snr.append(recall_by_snr(matching, truth, self.settings.snr_edges))
        rng = np.random.default_rng(self.settings.chance_seed)
        chance = self._match(truth, random_placement(found, field, rng))
        return CaseScore(
            case=case,
            tier1=score(matching, reliable),
            everyone=score(matching),
            chance_f1=score(chance, reliable).f1,
            reliable_share=float(reliable.mean()),
            count_bias=(len(found) - len(truth)) / len(truth),
        )

    def _match(self, truth: Emitters, found: Emitters) -> Any:
        return match_knn(
            truth,
            found,
            self.config.pixel_size_nm,
            k=self.settings.k_neighbours,
            tolerance_px=self.settings.tolerance_px,
        )


def scene_number(case: TestCase, index: int) -> int:
    """Number scenes by the case's name, so that a new case leaves the others as they are."""
    return zlib.crc32(case.name.encode()) + index


def _only(kind: str, kinds: tuple[str, ...]) -> dict[str, float]:
    return {name: float(name == kind) for name in kinds}


def _plain(result: DetectionScore) -> dict[str, float]:
    names = ("precision", "recall", "f1", "jaccard", "rmse_nm")
    return {name: round(float(getattr(result, name)), 4) for name in names}
