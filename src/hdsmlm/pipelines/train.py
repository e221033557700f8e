"""Train a model: samples on the fly, validation, tracking, checkpoints, and at the end a bundle.

The run folder holds ``config.yaml`` (every field), ``sources.json`` (hashes of the binned
recordings that it learns from), ``checkpoint.npz``, ``validation.json`` and pictures, and in the
end ``bundle/``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdsmlm.bundle import Bundle
from hdsmlm.config.base import load_section, section_to_yaml
from hdsmlm.config.run import RunConfig
from hdsmlm.errors import ConfigError, OutputError
from hdsmlm.io.writing import atomic_path, output_folder
from hdsmlm.pipelines.finish import finish_run
from hdsmlm.pipelines.validation import Network, ValidationSet, draw_validation
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.tracking.mlflow_tracker import MlflowTracker, register_bundle
from hdsmlm.tracking.tracker import NullTracker, Tracker
from hdsmlm.training.feed import VALIDATION_SEED
from hdsmlm.training.parallel import open_replicas
from hdsmlm.training.sources import OpenSource, open_sources
from hdsmlm.training.trainer import (
    MetricSink,
    Trainer,
    TrainingLimits,
    TrainingOutcome,
)

CONFIG = "config.yaml"
SOURCES = "sources.json"
HISTORY = "validation.json"
PICTURES = "validation"
BUNDLE = "bundle"
FREE_TO_CHANGE = ("workers", "checkpoint_minutes", "steps", "devices")
"""Training fields that a continued run may change; a new length is noted in the provenance."""


@dataclass(frozen=True)
class RunRequest:
    """One call of ``hdsmlm train``.

    Parameters
    ----------
    config : RunConfig
        What to train.
    folder : Path
        Run folder.
    max_minutes : float or None
        Length of this piece; None trains to the end.
    tracking : Path or None
        Folder of the MLflow record; None keeps none.
    overwrite : bool
        Delete the run that the folder holds.
    register : bool
        Put the finished model into the record's registry, under the name of the run.
    """

    config: RunConfig
    folder: Path
    max_minutes: float | None = None
    tracking: Path | None = None
    overwrite: bool = False
    register: bool = False


@dataclass(frozen=True)
class RunResult:
    """How a piece of a run ended.

    Parameters
    ----------
    outcome : TrainingOutcome
        Why it stopped and where it stands.
    bundle : Bundle or None
        The model, when the run is complete.
    """

    outcome: TrainingOutcome
    bundle: Bundle | None


def run_training(request: RunRequest, listener: Listener = silent) -> RunResult:
    """Train, or continue to train; after the last step write the bundle.

    Raises
    ------
    ConfigError
        When a source of the run is missing, damaged or does not fit, there are fewer devices than
        asked for, or the folder holds a run with another configuration or other data.
    ReplicaError
        When one of several processes that train is lost; the checkpoint is there to go on from.
    OutputError
        When the folder cannot be written, or to overwrite it is asked but it holds no run.
    """
    config, folder = request.config, request.folder
    sources = open_sources(config, verify=True)
    open_replicas(config.training.devices)  # too few devices: told before anything is touched
    if request.overwrite:
        _remove_run(folder)
    output_folder(folder)
    check_same_run(config, folder)
    check_same_data(sources, folder)
    _write_plan(config, sources, folder)
    listener(Event("validate", 0, config.training.validation.scenes, "drawing scenes", "scenes"))
    validation = ValidationSet(config, VALIDATION_SEED, sources)

    def validate(network: Network) -> Mapping[str, float]:
        scores = validation.score(network)
        draw_validation(validation, folder / PICTURES)
        return scores

    sink = _LateSink()
    trainer = Trainer(config, folder, validate, sink, listener)
    tracker = _open_tracker(request, trainer.progress.tracking_id)
    trainer.progress.tracking_id, sink.target = tracker.run_id, tracker.log_metrics
    tracker.log_params(config.model_dump(mode="json"))
    tracker.log_params({"backend": trainer.backend, "weights": trainer.n_weights})
    tracker.log_params(mixture_params(config, sources))
    complete, bundle = False, None
    try:
        outcome = trainer.run(TrainingLimits(request.max_minutes))
        if outcome.complete:
            network = trainer.finished(outcome)
            bundle = finish_run(trainer, network, folder / BUNDLE, sources, listener)
            _record_bundle(tracker, bundle, outcome.progress.step)
            if request.register and request.tracking is not None:
                register_bundle(request.tracking, config.name, tracker.run_id)
        complete = outcome.complete
    finally:
        _write_history(folder, trainer)
        for path in (folder / CONFIG, folder / HISTORY, folder / PICTURES):
            if path.exists():
                tracker.log_file(path)
        tracker.close(complete)
    return RunResult(outcome, bundle)


def mixture_params(config: RunConfig, sources: Sequence[OpenSource]) -> dict[str, Any]:
    """Return what the record of a run says about its data: the shares, and which recordings."""
    shares = zip(config.data.names, config.data.weights, strict=True)
    params: dict[str, Any] = {"mixture": ", ".join(f"{name} {share:.3g}" for name, share in shares)}
    for source in sources:
        params[f"source.{source.identity.name}"] = (
            f"movie {source.identity.movie_sha256[:16]}, truth {source.identity.truth_sha256[:16]}"
        )
    return params


def _write_plan(config: RunConfig, sources: Sequence[OpenSource], folder: Path) -> None:
    with atomic_path(folder / CONFIG) as temporary:
        temporary.write_text(section_to_yaml(config), encoding="utf-8")
    with atomic_path(folder / SOURCES) as temporary:
        records = [source.identity.to_dict() for source in sources]
        temporary.write_text(json.dumps(records, indent=1), encoding="utf-8")


class _LateSink:
    """Passes metrics on; the tracker opens only after the checkpoint has named its run."""

    target: MetricSink | None = None

    def __call__(self, metrics: Mapping[str, float], step: int) -> None:
        if self.target is not None:
            self.target(metrics, step)


def _open_tracker(request: RunRequest, run_id: str) -> Tracker:
    if request.tracking is None:
        return NullTracker()
    return MlflowTracker(request.tracking, request.config.name, run_id)


def _record_bundle(tracker: Tracker, bundle: Bundle, step: int) -> None:
    headline = bundle.manifest.scores["headline_tier1"]
    known = {f"test_{name}": value for name, value in headline.items() if value is not None}
    tracker.log_metrics(known, step)
    tracker.log_file(bundle.folder, "bundle")


def _remove_run(folder: Path) -> None:
    if not folder.exists():
        return
    if any(folder.iterdir()) and not (folder / CONFIG).is_file():
        raise OutputError(f"{folder} holds no run that could be overwritten; choose another --out")
    shutil.rmtree(folder)


def check_same_run(config: RunConfig, folder: Path) -> None:
    """Compare ``config`` with the one that the run folder was started with.

    Raises
    ------
    ConfigError
        When a field that shapes the result differs; names the fields. Binned sources may have been
        moved: :func:`check_same_data` looks at what they hold.
    """
    path = folder / CONFIG
    if not path.exists():
        return
    configs = (load_section(RunConfig, path), config)
    before, now = (
        one.model_copy(update={"data": one.data.without_places()}).model_dump() for one in configs
    )
    for values in (before, now):
        for key in FREE_TO_CHANGE:
            values["training"].pop(key)
    if before != now:
        changed = ", ".join(_differences(before, now))
        raise ConfigError(
            f"{folder} holds a run with another configuration ({changed}); continue it with "
            f"its own {CONFIG}, choose another --out, or give --overwrite to start afresh"
        )


def check_same_data(sources: Sequence[OpenSource], folder: Path) -> None:
    """Compare the binned sources with those that the run folder was started with.

    Raises
    ------
    ConfigError
        When a movie or a truth has changed; names the sources.
    """
    path = folder / SOURCES
    if not path.exists():
        return
    before = {record["name"]: record for record in json.loads(path.read_text(encoding="utf-8"))}
    now = {source.identity.name: source.identity.to_dict() for source in sources}
    changed = [name for name in now if name in before and now[name] != before[name]]
    if changed:
        raise ConfigError(
            f"{folder} holds a run that began with other data: {', '.join(changed)} changed since "
            "then (movie or truth); give it the folders that it began with, choose another --out, "
            "or give --overwrite to start afresh"
        )


def _write_history(folder: Path, trainer: Trainer) -> None:
    with atomic_path(folder / HISTORY) as temporary:
        temporary.write_text(json.dumps(trainer.progress.history, indent=1), encoding="utf-8")


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key in now:
        old, new = before.get(key), now[key]
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            names += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            names.append(f"{prefix}{key}: {old} -> {new}")
    return names
