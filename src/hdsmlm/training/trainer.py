"""One training run, in resumable pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.run import RunConfig
from hdsmlm.errors import ReplicaError
from hdsmlm.io.writing import atomic_path
from hdsmlm.records.events import Listener, silent
from hdsmlm.training.checkpoint import FILE, Progress, load_checkpoint
from hdsmlm.training.feed import SampleFeed
from hdsmlm.training.forward import FinishedNetwork, run_network
from hdsmlm.training.loop import STAGNATION, Keeper, fit, n_samplers, stop_request
from hdsmlm.training.model import averaged_weights, compile_model
from hdsmlm.training.parallel import open_replicas
from hdsmlm.training.start import take_weights

BEST = "best.npz"

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Normalized frames (t, y, x) to probabilities (t, 4, y, x)."""

Validator = Callable[[Network], Mapping[str, float]]
"""Scores the network on the fixed validation set.

Must return ``loss`` among the scores; early stopping follows ``mixed_loss`` where there is one.
"""

MetricSink = Callable[[Mapping[str, float], int], None]
"""Receives metrics and their step; the tracker's ``log_metrics``."""


@dataclass(frozen=True)
class TrainingLimits:
    """How long this piece of the run may take.

    Parameters
    ----------
    max_minutes : float or None
        Stop after this time with a checkpoint; the same command goes on later.
    """

    max_minutes: float | None = None


@dataclass(frozen=True)
class TrainingOutcome:
    """How a piece of training ended.

    Parameters
    ----------
    reason : str
        "finished", "time is up", "no further improvement" or "interrupted".
    progress : Progress
        State at the end.
    """

    reason: str
    progress: Progress

    @property
    def complete(self) -> bool:
        """Whether the run needs no further piece."""
        return self.reason in ("finished", STAGNATION)


class Trainer:
    """Trains one model in resumable pieces.

    Parameters
    ----------
    config : RunConfig
        The run.
    folder : Path
        Where the checkpoint lives; an existing one is resumed.
    validate : callable
        Scores the averaged model on the fixed validation set.
    sink : callable
        Receives metrics.
    listener : callable
        Receives progress.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        validate: Validator,
        sink: MetricSink,
        listener: Listener = silent,
    ) -> None:
        self.config = config
        self.validate = validate
        self.sink = sink
        self.listener = listener
        self.checkpoint = folder / FILE
        self.best = folder / BEST
        self.replicas = open_replicas(config.training.devices)
        self.model = compile_model(config, self.replicas)
        self.progress = Progress()
        self.saved_step = 0
        if self.checkpoint.exists():
            self.progress = load_checkpoint(self.checkpoint, self.model)
            self.saved_step = self.progress.step
        elif config.training.start_from is not None:
            self.progress.start = take_weights(self.model, config.training.start_from)
        plans, steps = self.progress.plans, config.training.steps
        if not plans or plans[-1][1] != steps:
            plans.append([self.progress.step, steps])

    @property
    def n_weights(self) -> int:
        """Number of trained weights."""
        return int(self.model.count_params())

    @property
    def backend(self) -> str:
        """Keras backend that trains."""
        return str(keras.backend.backend())

    @property
    def keras_version(self) -> str:
        """Version of Keras."""
        return str(keras.__version__)

    def network(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the model as it is: normalized (t, y, x) to probabilities (t, 4, y, x)."""
        return run_network(self.model, frames)

    def finished(self, outcome: TrainingOutcome) -> FinishedNetwork:
        """Return the network to ship: averaged weights, the best ones after an early stop."""
        if outcome.reason == STAGNATION and self.best.exists():
            with np.load(self.best, allow_pickle=False) as archive:
                weights = [archive[name] for name in sorted(archive.files)]
        else:
            with averaged_weights(self.model):
                weights = self.model.get_weights()
        return FinishedNetwork(self.config.network, weights)

    def keep_best(self) -> None:
        """Write the weights that are in the model now, for a run that may stop early."""
        arrays = {f"{index:04d}": w for index, w in enumerate(self.model.get_weights())}
        with atomic_path(self.best) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)

    def run(self, limits: TrainingLimits) -> TrainingOutcome:
        """Train until the last step, the time limit, stagnation or Ctrl-C; always checkpoint.

        Raises
        ------
        ReplicaError
            When another process of the run is lost; what it takes to go on is in the checkpoint.
        """
        training, first_step = self.config.training, self.progress.step
        if first_step >= training.steps:
            return TrainingOutcome("finished", self.progress)
        workers = n_samplers(training.workers, self.replicas.ranks)
        try:
            with (
                self.replicas.running(self.config, self.model, first_step),
                self.replicas.scope(),
                SampleFeed(self.config, first_step, workers, self.replicas) as feed,
            ):
                keeper = Keeper(self, feed, limits)
                with stop_request(keeper), keeper.saving_when_alone():
                    fit(self.model, feed, self.config, first_step, keeper)
        except ReplicaError as error:
            raise ReplicaError(
                f"{error}; there is a checkpoint of step {self.saved_step} of {training.steps}, "
                "run the same command again to go on"
            ) from error
        return TrainingOutcome(keeper.reason, self.progress)
