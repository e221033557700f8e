"""Train a model: samples on the fly, validation, tracking, checkpoints, and at the end a bundle.

The run folder holds ``config.yaml`` (every field), ``checkpoint.npz`` while the run is unfinished,
``validation.json`` and pictures, and in the end ``bundle/``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.base import load_section, section_to_yaml
from hdsmlm.config.run import RunConfig
from hdsmlm.errors import ConfigError
from hdsmlm.io.writing import atomic_path, output_folder
from hdsmlm.pipelines.validation import ValidationSet
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.tracking.tracker import Tracker
from hdsmlm.training.feed import VALIDATION_SEED
from hdsmlm.training.trainer import Trainer, TrainingLimits, TrainingOutcome

CONFIG = "config.yaml"
HISTORY = "validation.json"


@dataclass(frozen=True)
class TrainingResult:
    """What :func:`train_model` did.

    Parameters
    ----------
    outcome : TrainingOutcome
        Why it stopped and where it stands.
    trainer : Trainer
        Holds the model; with averaged weights when the run is complete.
    """

    outcome: TrainingOutcome
    trainer: Trainer


def network_of(model: keras.Model) -> Any:
    """Return a function from normalized frames (t, y, x) to probabilities (t, 4, y, x)."""

    def run(frames: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = keras.ops.convert_to_tensor(frames[None, ..., None])
        probabilities = keras.ops.convert_to_numpy(model(batch, training=False))[0]
        return np.ascontiguousarray(probabilities.transpose(0, 3, 1, 2), dtype=np.float32)

    if keras.backend.backend() != "torch":
        return run

    import torch

    def run_without_gradient(frames: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return run(frames)

    return run_without_gradient


def check_same_run(config: RunConfig, folder: Path) -> None:
    """Compare ``config`` with the one that the run folder was started with.

    Raises
    ------
    ConfigError
        When a field that shapes the result differs; names the fields.
    """
    path = folder / CONFIG
    if not path.exists():
        return
    before, now = load_section(RunConfig, path).model_dump(), config.model_dump()
    for values in (before, now):  # how fast, not what
        for key in ("workers", "checkpoint_minutes"):
            values["training"].pop(key)
    if before != now:
        changed = ", ".join(_differences(before, now))
        raise ConfigError(
            f"{folder} holds a run with another configuration ({changed}); continue it with its own "
            f"{CONFIG}, choose another --out, or give --overwrite to start afresh"
        )


def train_model(
    config: RunConfig,
    folder: Path,
    tracker: Tracker,
    limits: TrainingLimits,
    listener: Listener = silent,
) -> TrainingResult:
    """Train, or continue to train, the model of ``config`` in ``folder``.

    Raises
    ------
    ConfigError
        When the folder holds another run.
    OutputError
        When the folder cannot be written.
    """
    output_folder(folder)
    check_same_run(config, folder)
    with atomic_path(folder / CONFIG) as temporary:
        temporary.write_text(section_to_yaml(config), encoding="utf-8")
    listener(Event("validate", 0, config.training.validation.scenes, "drawing scenes", "scenes"))
    validation = ValidationSet(config, VALIDATION_SEED)

    def validate(model: keras.Model) -> Mapping[str, float]:
        return validation.score(network_of(model))

    trainer = Trainer(config, folder, validate, tracker.log_metrics, listener)
    trainer.progress.tracking_id = tracker.run_id
    tracker.log_params(config.model_dump(mode="json"))
    tracker.log_params(
        {"backend": keras.backend.backend(), "weights": trainer.model.count_params()}
    )
    complete = False
    try:
        outcome = trainer.run(limits)
        complete = outcome.complete
    finally:
        _write_history(folder, trainer)
        tracker.log_file(folder / CONFIG)
        tracker.log_file(folder / HISTORY)
        tracker.close(complete)
    return TrainingResult(outcome, trainer)


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
