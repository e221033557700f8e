"""The model card: what a model was trained on, how it was tested, what it reached, its limits."""

from __future__ import annotations

from dataclasses import dataclass

from hdsmlm.config.run import RunConfig
from hdsmlm.config.test_set import TestSetConfig
from hdsmlm.pipelines.calibrate import F1_TOLERANCE, CalibrationResult
from hdsmlm.pipelines.score_binned import BinnedScore
from hdsmlm.pipelines.test_set import CaseScore, TestSetScores
from hdsmlm.training.checkpoint import Progress
from hdsmlm.training.sources import SourceIdentity


@dataclass(frozen=True)
class CardFacts:
    """Everything that the card states.

    Parameters
    ----------
    config : RunConfig
        The training run.
    progress : Progress
        Steps, time, validation history.
    calibration : CalibrationResult
        Confidence and decoding.
    test_set : TestSetConfig
        What was tested on.
    scores : TestSetScores
        What was reached.
    weights : int
        Number of trained weights.
    backend : str
        Keras backend of the training.
    sources : tuple of SourceIdentity
        Binned recordings that it learnt from.
    binned, start_binned : tuple of BinnedScore
        Their held-out sequences: scores of this model, and of the one that it started from.
    """

    config: RunConfig
    progress: Progress
    calibration: CalibrationResult
    test_set: TestSetConfig
    scores: TestSetScores
    weights: int
    backend: str
    sources: tuple[SourceIdentity, ...] = ()
    binned: tuple[BinnedScore, ...] = ()
    start_binned: tuple[BinnedScore, ...] = ()


def write_card(facts: CardFacts) -> str:
    """Return the card as Markdown; every number in it was measured in this run."""
    return "\n".join(
        [
            f"# Model card: {facts.config.name}",
            "",
            "A 3D U-Net that gives every pixel of every frame of a single-molecule localization",
            "microscopy movie the probability of 0, 1, 2 or 3+ emitters.",
            "",
            *_training(facts),
            *_calibration(facts),
            *_headline(facts),
            *_reference(facts),
            *_binned(facts),
            *_limits(facts),
        ]
    )


def _training(facts: CardFacts) -> list[str]:
    simulation, training = facts.config.simulation, facts.config.training
    samples = facts.progress.step * training.batch_size
    history = facts.progress.history
    lines = [
        "## Training",
        "",
        f"- Data: {_data(facts)}; the ranges of the simulations are in `config.yaml`: "
        f"density {_span(simulation.density_per_um2)} per µm², "
        f"photons {_span(simulation.photons)}, "
        f"background {_span(simulation.background.photons)} photons per pixel, "
        f"PSF sigma {_span(simulation.sigma_px)} px, "
        f"pixels of {_span(simulation.pixel_size_nm)} nm; EMCCD, sCMOS and ideal cameras.",
        f"- {facts.weights:,} weights; {facts.progress.step:,} steps of {training.batch_size} "
        "patches "
        f"({samples:,} samples of {training.frames}×{training.patch_px}×{training.patch_px}), "
        f"{facts.progress.seconds / 60:.0f} minutes, Keras on {facts.backend}, "
        f"{training.precision}.",
        "- Labels: emitters with SNR < 2 were excluded from learning.",
    ]
    if facts.progress.start:
        start = facts.progress.start
        lines.append(
            f"- The run started from the weights of {start['name']} of {start['created']} "
            f"(bundle {start['sha256'][:12]}...)."
        )
    if len(facts.progress.plans) > 1:
        plans = ", ".join(f"{total} from step {first}" for first, total in facts.progress.plans)
        lines.append(f"- The length of the run was planned anew while it ran: {plans} on.")
    if history:
        head = "| step | validation loss | recall | precision | F1 |"
        lines += ["", head, "|---|---|---|---|---|"]
        picks = sorted({round(k * (len(history) - 1) / 7) for k in range(8)})
        lines += [
            f"| {row['step']:.0f} | {row['loss']:.4f} | {row['recall']:.3f} "
            f"| {row['precision']:.3f} | {row['f1']:.3f} |"
            for row in (history[index] for index in picks)
        ]
    return [*lines, ""]


def _data(facts: CardFacts) -> str:
    data = facts.config.data
    if not data.binned:
        return "simulated only, every sample drawn afresh"
    shares = zip(data.names, data.weights, strict=True)
    parts = ", ".join(f"{name} {share:.0%}" for name, share in shares)
    return f"a mixture ({parts} of the scenes), simulated samples drawn afresh"


def _binned(facts: CardFacts) -> list[str]:
    if not facts.sources:
        return []
    lines = [
        "## Binned recordings",
        "",
        "Sparse movies whose frames were added up to dense ones; what was localized in the sparse "
        "frames is their truth. The pixels around spots that were in doubt, and around emitters "
        "with SNR < 2, were not learnt from.",
        "",
        "| source | made from (SHA-256) | frames added | sequences | frame, px | pixel, nm "
        "| emitters | doubtful |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {s.name} | {s.origin_sha256[:12]}... | {s.factor} "
            f"| {s.n_sequences} of {s.sequence_frames} | {s.height}×{s.width} "
            f"| {s.pixel_size_nm:.0f} | {s.n_emitters:,} | {s.n_doubtful:,} |"
            for s in facts.sources
        ),
        "",
        "Scores on the sequences of each source that were held out, tier 1, decoded as calibrated; "
        "`count bias` and `count error` (mean over frames of the absolute error) are relative to "
        "the true counts. Held-out sequences are other sums of the frames that were learnt from: "
        "these scores show what was learnt, not how it carries over, and their truth is itself a "
        "measurement.",
        "",
        "| source | model | emitters/µm² | F1 | recall | precision | chance F1 | loss | count bias "
        "| count error |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for score in facts.binned:
        lines.append(_binned_row(score, facts.config.name))
        before = [part for part in facts.start_binned if part.name == score.name]
        lines += [_binned_row(part, f"{facts.progress.start['name']} (start)") for part in before]
    return [*lines, ""]


def _binned_row(score: BinnedScore, model: str) -> str:
    found = score.detection
    return (
        f"| {score.name} | {model} | {score.density_per_um2:.2f} | {found.f1:.3f} "
        f"| {found.recall:.3f} | {found.precision:.3f} | {score.chance_f1:.3f} "
        f"| {score.loss:.4f} | {score.count_bias:+.3f} | {score.count_error:.3f} |"
    )


def _calibration(facts: CardFacts) -> list[str]:
    result = facts.calibration
    return [
        "## Calibration and decoding",
        "",
        "On scenes apart from training and test: temperature "
        f"{result.calibration.temperature:.3f} (folded into the last convolution); cross-entropy "
        f"{result.loss_before:.5f} → {result.loss_after:.5f}. Decoding threshold "
        f"{result.decoding.threshold:.3g}: {_reason(facts)}.",
        "",
    ]


def _reason(facts: CardFacts) -> str:
    """Say where the decoding threshold comes from."""
    if facts.config.training.validation.threshold is not None:
        return "set in the configuration, which says why"
    return f"the lowest whose F1 there is within {F1_TOLERANCE:g} of the best"


def _headline(facts: CardFacts) -> list[str]:
    scores, test_set = facts.scores, facts.test_set
    return [
        "## Scores on the fixed simulated test set, tier 1 (SNR ≥ 2)",
        "",
        f"Seed {test_set.seed}, {test_set.scenes_per_case} scenes of "
        f"{'×'.join(map(str, test_set.shape))} per case; uniform fields, photons, background, PSF "
        "width and camera parameters drawn per scene, photons and background again while the "
        f"median SNR is below {test_set.microscopes.min_median_snr:g}. "
        "kNN matching, k = 8, 1.5 px. "
        "`chance F1` is the score of the same number of random positions.",
        "",
        "| case | F1 | recall | precision | chance F1 | tier-1 share | count bias |",
        "|---|---|---|---|---|---|---|",
        *(_headline_row(case) for case in scores.headline),
        f"| **mean** | **{scores.mean('f1'):.3f}** | **{scores.mean('recall'):.3f}** "
        f"| **{scores.mean('precision'):.3f}** | | | |",
        "",
        "Recall by SNR, all cases pooled:",
        "",
        "| SNR | " + " | ".join(part.label for part in scores.by_snr) + " |",
        "|---" * (len(scores.by_snr) + 1) + "|",
        "| recall | " + " | ".join(f"{part.score.recall:.3f}" for part in scores.by_snr) + " |",
        "",
        "Expected calibration error of the probability that a pixel holds an emitter, over the "
        "pixels where it is 0.05 or more: "
        f"{scores.expected_calibration_error:.4f}.",
        "",
    ]


def _headline_row(case: CaseScore) -> str:
    s = case.tier1
    return (
        f"| {case.case.name} | {s.f1:.3f} | {s.recall:.3f} | {s.precision:.3f} "
        f"| {case.chance_f1:.3f} | {case.reliable_share:.2f} | {case.count_bias:+.3f} |"
    )


def _reference(facts: CardFacts) -> list[str]:
    return [
        "## Fixed photons, ALL emitters (tiers 2 and 3 included)",
        "",
        "Background 20 photons per pixel, sigma 1.3 px, mean on-time 2 frames.",
        "",
        "| case | F1 | recall | precision | RMSE nm | F1 tier 1 |",
        "|---|---|---|---|---|---|",
        *(
            f"| {case.case.name} | {case.everyone.f1:.3f} | {case.everyone.recall:.3f} "
            f"| {case.everyone.precision:.3f} | {case.everyone.rmse_nm:.0f} | {case.tier1.f1:.3f} |"
            for case in facts.scores.reference
        ),
        "",
    ]


def _limits(facts: CardFacts) -> list[str]:
    simulation = facts.config.simulation
    return [
        "## Limits",
        "",
        "- Positions are the centres of probability mass on the pixel grid, before any fit.",
        f"- Outside density {_span(simulation.density_per_um2)} per µm² or pixels of "
        f"{_span(simulation.pixel_size_nm)} nm the model extrapolates, and `hdsmlm predict` warns. "
        f"Nobody checks that the PSF sigma lies in {_span(simulation.sigma_px)} px: look.",
        _trust(facts),
        "",
    ]


def _trust(facts: CardFacts) -> str:
    if not facts.sources:
        return (
            "- Trained on simulations: on a real movie check the overlays before trusting the "
            "counts."
        )
    return (
        "- What it learnt of real light is of the recordings above alone; on a movie of another "
        "microscope check the overlays before trusting the counts. Confidence and decoding were "
        "calibrated on simulated scenes."
    )


def _span(pair: tuple[float, float]) -> str:
    return f"{pair[0]:g}-{pair[1]:g}"
