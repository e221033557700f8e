"""From trained weights to a bundle: calibrate, fold, export, score on the test set, write."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from hdsmlm.bundle import Bundle, BundleContent, BundleManifest, TrainedRange, write_bundle
from hdsmlm.config.base import section_to_yaml
from hdsmlm.config.run import RunConfig
from hdsmlm.config.test_set import TestSetConfig
from hdsmlm.network.export import export_onnx
from hdsmlm.pipelines.calibrate import CalibrationResult, calibrate
from hdsmlm.pipelines.model_card import CardFacts, write_card
from hdsmlm.pipelines.test_set import score_bundle
from hdsmlm.pipelines.validation import draw_labelled_scenes
from hdsmlm.records.events import Listener, silent
from hdsmlm.records.provenance import Provenance
from hdsmlm.training.feed import CALIBRATION_SEED
from hdsmlm.training.forward import FinishedNetwork
from hdsmlm.training.trainer import Trainer


def finish_run(
    trainer: Trainer, network: FinishedNetwork, target: Path, listener: Listener = silent
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
    listener : callable
        Receives progress.
    """
    config, settings = trainer.config, trainer.config.training.validation
    test_set = TestSetConfig(scenes_per_case=settings.test_scenes)
    scenes = draw_labelled_scenes(config, CALIBRATION_SEED, settings.calibration_scenes)
    calibration = calibrate(network, scenes, listener)
    correction = calibration.calibration
    network.fold_calibration(1.0 / correction.temperature, correction.class_bias)
    with tempfile.TemporaryDirectory() as scratch:
        weights, onnx = Path(scratch) / "model.weights.h5", Path(scratch) / "model.onnx"
        network.save_weights(weights)
        export_onnx(weights, config.network, onnx)
        content = BundleContent(
            onnx=onnx,
            weights=weights,
            config_yaml=section_to_yaml(config),
            provenance=_provenance(trainer),
            model_card="",
        )
        manifest = _manifest(config, calibration)
        untested = write_bundle(Path(scratch) / config.name, manifest, content)
        scores = score_bundle(untested, test_set, listener=listener)
        facts = CardFacts(
            config,
            trainer.progress,
            calibration,
            test_set,
            scores,
            weights=network.n_weights,
            backend=trainer.backend,
        )
        return write_bundle(
            target,
            manifest.model_copy(update={"scores": scores.to_dict()}),
            replace(content, model_card=write_card(facts)),
            overwrite=True,
        )


def _provenance(trainer: Trainer) -> Provenance:
    state = asdict(trainer.progress)
    state.pop("history")
    facts = {
        "run": trainer.config.model_dump(mode="json"),
        "progress": state,
        "keras": trainer.keras_version,
        "backend": trainer.backend,
    }
    return Provenance(stage="train", config=facts, parents={"samples": "simulated on the fly"})


def _manifest(config: RunConfig, calibration: CalibrationResult) -> BundleManifest:
    simulation, network = config.simulation, config.network
    return BundleManifest(
        name=config.name,
        description="Counts emitters in dense movies; trained on simulated EMCCD and sCMOS data.",
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
