"""All detection scores of a prediction, with the score that chance reaches beside each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.evaluation import EvaluationConfig
from hdsmlm.evaluation.bins import (
    BinScore,
    local_density_per_um2,
    recall_by_snr,
    score_by_density,
)
from hdsmlm.evaluation.matching import (
    Field,
    Matching,
    Pairing,
    inside_border,
    match_knn,
    match_within,
)
from hdsmlm.evaluation.scores import DetectionScore, rmsmd_nm, score, tiers
from hdsmlm.records.emitters import Emitters


@dataclass(frozen=True)
class ScoreRow:
    """One line of the score table.

    Parameters
    ----------
    key : str
        Name in ``scores.json``, e.g. ``knn_tier1``.
    title : str
        What it is, for a person.
    pairing : {"optimal", "greedy"}
        How one-to-one was reached.
    score : DetectionScore
        The counts.
    efficiency : float
        Lateral efficiency in %.
    chance_f1 : float
        Mean F1 of a random placement of the same number of predictions in each frame.
    axial_rmse_nm, efficiency_axial : float
        NaN unless both tables have z.
    """

    key: str
    title: str
    pairing: Pairing
    score: DetectionScore
    efficiency: float
    chance_f1: float = float("nan")
    axial_rmse_nm: float = float("nan")
    efficiency_axial: float = float("nan")


@dataclass(frozen=True)
class Detection:
    """All detection scores.

    Parameters
    ----------
    matching : Matching
        Of the headline metric (kNN, optimal, all tiers), for overlays.
    rows : tuple of ScoreRow
        The score table; the first is the headline.
    by_density, by_snr : tuple of BinScore
        Tier 1 by local density; recall of all tiers by SNR (empty without an ``snr`` column).
    rmsmd_nm, chance_rmsmd_nm : float
        Of all emitters, and of a random placement.
    """

    matching: Matching
    rows: tuple[ScoreRow, ...]
    by_density: tuple[BinScore, ...]
    by_snr: tuple[BinScore, ...]
    rmsmd_nm: float
    chance_rmsmd_nm: float

    def row(self, key: str) -> ScoreRow:
        """Return the line called ``key``."""
        return next(row for row in self.rows if row.key == key)


def detect_scores(
    truth: Emitters, predicted: Emitters, field: Field, config: EvaluationConfig
) -> Detection:
    """Score a prediction and, as often as ``config.chance_repeats``, random ones like it.

    Parameters
    ----------
    truth, predicted : Emitters
        In nm. A prediction outside ``field`` counts as false unless it matches.
    field : Field
        Extent of the movie, in which chance places its emitters.
    config : EvaluationConfig
        Tolerances and bins.

    Returns
    -------
    Detection
    """
    real = _measure(truth, predicted, field, config)
    some_truth, some_predicted = _thin_frames(truth, predicted, field, config.chance_max_emitters)
    rng = np.random.default_rng(config.chance_seed)
    chances = [
        _measure(some_truth, random_placement(some_predicted, field, rng), field, config)
        for _ in range(config.chance_repeats)
    ]
    rows = tuple(
        replace(row, chance_f1=_mean([chance.rows[i].score.f1 for chance in chances]))
        for i, row in enumerate(real.rows)
    )
    by_density = tuple(
        replace(part, chance_f1=_mean([chance.by_density[i].score.f1 for chance in chances]))
        for i, part in enumerate(real.by_density)
    )
    return replace(
        real,
        rows=rows,
        by_density=by_density,
        chance_rmsmd_nm=_mean([chance.rmsmd_nm for chance in chances]),
    )


def random_placement(predicted: Emitters, field: Field, rng: np.random.Generator) -> Emitters:
    """Return as many emitters in each frame as ``predicted`` has, evenly spread over the field.

    z, where there is one, is drawn from the predicted values.
    """
    columns = {
        "frame": predicted["frame"],
        "x_nm": rng.uniform(0.0, field.width_nm, len(predicted)),
        "y_nm": rng.uniform(0.0, field.height_nm, len(predicted)),
    }
    if "z_nm" in predicted:
        columns["z_nm"] = rng.permutation(predicted["z_nm"])
    return Emitters(columns)


def _measure(
    truth: Emitters, predicted: Emitters, field: Field, config: EvaluationConfig
) -> Detection:
    tier = tiers(truth)
    knn = match_knn(truth, predicted, field.pixel_size_nm, config.k_neighbours, config.tolerance_px)
    rows = _tier_rows("knn", f"kNN {config.tolerance_px:g} px", knn, tier, config)
    rows += _smlm2016_rows(truth, predicted, field, config)
    radius_nm = config.local_radius_nm
    by_density = score_by_density(
        knn,
        local_density_per_um2(truth, truth, field, radius_nm, are_truth=True),
        local_density_per_um2(predicted, truth, field, radius_nm, are_truth=False),
        config.density_edges_per_um2,
        tier == 1,
    )
    return Detection(
        matching=knn,
        rows=tuple(rows),
        by_density=by_density,
        by_snr=recall_by_snr(knn, truth, config.snr_edges),
        rmsmd_nm=rmsmd_nm(truth, predicted),
        chance_rmsmd_nm=float("nan"),
    )


def _smlm2016_rows(
    truth: Emitters, predicted: Emitters, field: Field, config: EvaluationConfig
) -> list[ScoreRow]:
    """Score by the rules of the SMLM 2016 challenge, its border left out in both tables."""
    truth = truth.select(inside_border(truth, field, config.border_nm))
    predicted = predicted.select(inside_border(predicted, field, config.border_nm))
    tier = tiers(truth)
    rows: list[ScoreRow] = []
    official_nm, strict_nm = config.lateral_tolerance_nm, config.strict_tolerance_nm
    choices: tuple[tuple[str, str, float, Pairing], ...] = (
        ("smlm2016", f"SMLM 2016 {official_nm:g} nm", official_nm, "greedy"),
        ("smlm2016_optimal", f"SMLM 2016 {official_nm:g} nm", official_nm, "optimal"),
        ("strict", f"within {strict_nm:g} nm", strict_nm, "greedy"),
    )
    for key, title, tolerance_nm, pairing in choices:
        matching = match_within(truth, predicted, tolerance_nm, config.axial_tolerance_nm, pairing)
        new = _tier_rows(key, title, matching, tier, config)
        rows += [
            _with_axial(row, matching, wanted, truth, predicted, config)
            for row, wanted in zip(new, (tier == 1, tier > 0), strict=True)
        ]
    return rows


def _tier_rows(
    key: str,
    title: str,
    matching: Matching,
    tier: NDArray[np.int8],
    config: EvaluationConfig,
) -> list[ScoreRow]:
    rows = []
    for suffix, name, wanted in (("tier1", "tier 1", tier == 1), ("all", "all", tier > 0)):
        result = score(matching, wanted)
        rows.append(
            ScoreRow(
                key=f"{key}_{suffix}",
                title=f"{title}, {name}",
                pairing=matching.pairing,
                score=result,
                efficiency=result.efficiency(config.alpha_lateral_per_nm),
            )
        )
    return rows


def _with_axial(
    row: ScoreRow,
    matching: Matching,
    wanted: NDArray[np.bool_],
    truth: Emitters,
    predicted: Emitters,
    config: EvaluationConfig,
) -> ScoreRow:
    counted = wanted[matching.truth_rows]
    if "z_nm" not in truth or "z_nm" not in predicted or not counted.any():
        return row
    error_nm = (truth["z_nm"][matching.truth_rows] - predicted["z_nm"][matching.predicted_rows])[
        counted
    ]
    axial_rmse_nm = float(np.sqrt(np.mean(error_nm**2)))
    axial = replace(row.score, rmse_nm=axial_rmse_nm)
    return replace(
        row,
        axial_rmse_nm=axial_rmse_nm,
        efficiency_axial=axial.efficiency(config.alpha_axial_per_nm),
    )


def _thin_frames(
    truth: Emitters, predicted: Emitters, field: Field, max_emitters: int
) -> tuple[Emitters, Emitters]:
    """Keep evenly spaced frames so that at most about ``max_emitters`` true emitters remain."""
    step = max(1, -(-len(truth) // max_emitters))
    if step == 1:
        return truth, predicted
    step = min(step, field.n_frames)
    return (
        truth.select(truth["frame"] % step == 0),
        predicted.select(predicted["frame"] % step == 0),
    )


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
