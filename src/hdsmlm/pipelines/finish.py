"""From trained weights to a bundle: calibrate, fold, export, score on the test set, write."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from hdsmlm.bundle import (
    Bundle,
    BundleContent,
    BundleManifest,
    TrainedRange,
    load_bundle,
    write_bundle,
)
from hdsmlm.config.base import section_to_yaml
from hdsmlm.config.run import RunConfig
from hdsmlm.config.test_set import TestSetConfig
from hdsmlm.errors import BundleError
from hdsmlm.network.export import export_onnx
from hdsmlm.pipelines.calibrate import CalibrationResult, calibrate
from hdsmlm.pipelines.model_card import CardFacts, write_card
from hdsmlm.pipelines.score_binned import BinnedScore, SequenceChoice, score_binned
from hdsmlm.pipelines.test_set import score_bundle
from hdsmlm.pipelines.validation import draw_labelled_scenes
from hdsmlm.records.events import Listener, silent
from hdsmlm.records.provenance import Provenance
from hdsmlm.training.feed import CALIBRATION_SEED
from hdsmlm.training.forward import FinishedNetwork
from hdsmlm.training.sources import OpenSource
from hdsmlm.training.trainer import Trainer


def finish_run(
    trainer: Trainer,
    network: FinishedNetwork,
    target: Path,
    sources: Sequence[OpenSource] = (),
    listener: Listener = silent,
) -> Bundle:
    """Write the bundle of a trained model; its scores were measured on the exported ONNX graph.

    Parameters
    ----------
    trainer : Trainer
        The run: configuration and progress.
    network : FinishedNetwork
        What it ships; the calibration is folded into it here.
    target : Path
        Bundle folder; an older bundle there is replaced.
    sources : sequence of OpenSource
        The binned sources of the run; their held-out sequences are scored for the card.
    listener : callable
        Receives progress.
    """
    config, settings = trainer.config, trainer.config.training.validation
    test_set = TestSetConfig(scenes_per_case=settings.test_scenes)
    scenes = draw_labelled_scenes(config, CALIBRATION_SEED, settings.calibration_scenes)
    calibration = calibrate(network, scenes, listener)
    if settings.threshold is not None:
        chosen = calibration.decoding.model_copy(update={"threshold": settings.threshold})
        calibration = replace(calibration, decoding=chosen)
    correction = calibration.calibration
    network.fold_calibration(1.0 / correction.temperature, correction.class_bias)
    with tempfile.TemporaryDirectory() as scratch:
        weights, onnx = Path(scratch) / "model.weights.h5", Path(scratch) / "model.onnx"
        network.save_weights(weights)
        export_onnx(weights, config.network, onnx)
        content = BundleContent(
            onnx=onnx,
            weights=weights,
            config_yaml=section_to_yaml(_published(config)),
            provenance=_provenance(trainer, sources),
            model_card="",
        )
        manifest = _manifest(config, calibration)
        untested = write_bundle(Path(scratch) / config.name, manifest, content)
        scores = score_bundle(untested, test_set, listener=listener)
        held_out = _held_out(sources)
        binned = score_binned(untested, held_out, listener=listener)
        facts = CardFacts(
            config,
            trainer.progress,
            calibration,
            test_set,
            scores,
            weights=network.n_weights,
            backend=trainer.backend,
            sources=tuple(source.identity for source in sources),
            binned=binned,
            start_binned=_start_scores(trainer, held_out, listener),
        )
        results = scores.to_dict()
        if binned:
            results["held_out"] = {part.name: part.to_dict() for part in binned}
        return write_bundle(
            target,
            manifest.model_copy(update={"scores": results}),
            replace(content, model_card=write_card(facts)),
            overwrite=True,
        )


def _published(config: RunConfig) -> RunConfig:
    """Return the configuration without places on this machine: folders by their names."""
    return config.model_copy(update={"data": config.data.without_places()})


def _held_out(sources: Sequence[OpenSource]) -> list[SequenceChoice]:
    return [
        SequenceChoice(source.identity.name, source.sequences, source.held_out_rows)
        for source in sources
    ]


def _start_scores(
    trainer: Trainer, held_out: Sequence[SequenceChoice], listener: Listener
) -> tuple[BinnedScore, ...]:
    """Score the model that the run started from beside it, where it is still the same one."""
    start, progress = trainer.config.training.start_from, trainer.progress.start
    if start is None or not held_out:
        return ()
    try:
        bundle = load_bundle(start)
    except BundleError:
        return ()
    if bundle.sha256 != progress.get("sha256"):
        return ()
    return score_binned(bundle, held_out, listener=listener)


def _provenance(trainer: Trainer, sources: Sequence[OpenSource]) -> Provenance:
    state = asdict(trainer.progress)
    state.pop("history")
    facts = {
        "run": _published(trainer.config).model_dump(mode="json"),
        "progress": state,
        "keras": trainer.keras_version,
        "backend": trainer.backend,
        "sources": [source.identity.to_dict() for source in sources],
    }
    parents = {}
    if trainer.config.data.simulated.weight > 0:
        parents["samples"] = "simulated on the fly"
    for source in sources:
        parents[f"{source.identity.name}/movie"] = source.identity.movie_sha256
        parents[f"{source.identity.name}/truth"] = source.identity.truth_sha256
    return Provenance(stage="train", config=facts, parents=parents)


def _kinds(config: RunConfig) -> str:
    simulated = "simulated EMCCD and sCMOS data"
    if not config.data.binned:
        return simulated
    if config.data.simulated.weight == 0:
        return "binned recordings"
    return f"{simulated} and binned recordings"


def _manifest(config: RunConfig, calibration: CalibrationResult) -> BundleManifest:
    simulation, network = config.simulation, config.network
    return BundleManifest(
        name=config.name,
        description=f"Counts emitters in dense movies; trained on {_kinds(config)}.",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        network=network.model_dump(mode="json"),
        normalization=config.normalization,
        window_frames=config.training.frames,
        receptive_frames=network.receptive_frames,
        receptive_px=network.receptive_px,
        spatial_multiple=network.spatial_multiple,
        decoding=calibration.decoding,
        calibration=calibration.calibration,
        trained_range=TrainedRange(
            density_per_um2=simulation.density_per_um2,
            pixel_size_nm=simulation.pixel_size_nm,
            psf_sigma_px=simulation.sigma_px,
        ),
    )
