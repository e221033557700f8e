"""One training run: Keras' own loop with callbacks for time, checkpoints, validation, tracking."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.run import RunConfig
from hdsmlm.io.writing import atomic_path
from hdsmlm.network.losses import HybridTversky
from hdsmlm.network.schedule import WarmupCosineStepLR
from hdsmlm.network.unet3d import build_unet3d
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.training.checkpoint import FILE, Progress, load_checkpoint, save_checkpoint
from hdsmlm.training.feed import SampleFeed
from hdsmlm.training.forward import FinishedNetwork, run_network
from hdsmlm.training.start import take_weights

BEST = "best.npz"
STAGNATION = "no further improvement"

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


def compile_model(config: RunConfig) -> keras.Model:
    """Return the network with optimizer and loss of a run, freshly initialized."""
    training = config.training
    keras.config.set_dtype_policy(training.precision)
    try:
        model = build_unet3d(config.network, training.seed)
    finally:
        keras.config.set_dtype_policy("float32")
    optimizer = keras.optimizers.Adam(
        WarmupCosineStepLR(training.schedule, training.steps),
        global_clipnorm=training.clip_norm,
        use_ema=training.ema_momentum > 0,
        ema_momentum=training.ema_momentum or 0.999,
    )
    model.compile(optimizer=optimizer, loss=HybridTversky(training.loss), jit_compile=_jit())
    optimizer.build(model.trainable_variables)
    return model


def _jit() -> bool:
    """Compile on JAX; on torch a compiled 3D U-Net was slower than the eager one."""
    return keras.backend.backend() == "jax"


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Put the moving average of the weights into the model for a while."""
    optimizer = model.optimizer
    if not optimizer.use_ema:
        yield
        return
    own = [keras.ops.convert_to_numpy(v.value) for v in model.trainable_variables]
    averages = optimizer._model_variables_moving_average
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        variable.assign(average.value)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, own, strict=True):
            variable.assign(value)


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
        self.model = compile_model(config)
        self.progress = Progress()
        if self.checkpoint.exists():
            self.progress = load_checkpoint(self.checkpoint, self.model)
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

    def _workers(self) -> int:
        """Return the configured number of samplers, or enough to keep this device busy."""
        wanted = self.config.training.workers
        if wanted is not None:
            return wanted
        return max(1, (os.cpu_count() or 2) - 1) if _trains_on_gpu() else 1

    def run(self, limits: TrainingLimits) -> TrainingOutcome:
        """Train until the last step, the time limit, stagnation or Ctrl-C; always checkpoint."""
        remaining = self.config.training.steps - self.progress.step
        if remaining <= 0:
            return TrainingOutcome("finished", self.progress)
        every = self.config.training.validation.every_steps
        with SampleFeed(self.config, self.progress.step, self._workers()) as feed:
            keeper = _Keeper(self, feed, limits)
            first_epoch, epochs = (
                self.progress.step // every,
                -(-self.config.training.steps // every),
            )
            with _stop_request(keeper):
                self.model.fit(
                    _as_tuples(iter(feed)),
                    initial_epoch=first_epoch,
                    epochs=epochs,
                    steps_per_epoch=every,
                    callbacks=[keeper],
                    shuffle=False,
                    verbose=0,
                )
        return TrainingOutcome(keeper.reason, self.progress)


@contextmanager
def _stop_request(keeper: _Keeper) -> Iterator[None]:
    """Let the first Ctrl-C or termination end the run after its step; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(*_: object) -> None:
        if keeper.interrupted:
            raise KeyboardInterrupt
        keeper.interrupted = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _trains_on_gpu() -> bool:
    if keras.backend.backend() == "torch":
        import torch

        return bool(torch.cuda.is_available())
    import jax

    return jax.default_backend() != "cpu"


def _as_tuples(batches: Any) -> Iterator[tuple[Any, Any, Any]]:
    for batch in batches:
        yield batch.frames[..., np.newaxis], batch.classes, batch.weights


class _Keeper(keras.callbacks.Callback):
    """Watches the clock and the steps: validates, logs, checkpoints, stops."""

    def __init__(self, trainer: Trainer, feed: SampleFeed, limits: TrainingLimits) -> None:
        super().__init__()
        self.trainer = trainer
        self.feed = feed
        self.limits = limits
        self.reason = "finished"
        self.started = self.last_save = time.monotonic()
        self.seconds_before = trainer.progress.seconds
        self.interrupted = False
        self.train_loss = float("nan")
        self.window_started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        del batch
        trainer, training = self.trainer, self.trainer.config.training
        progress = trainer.progress
        progress.step += 1
        now = time.monotonic()
        progress.seconds = self.seconds_before + now - self.started
        if logs:
            self.train_loss = float(logs["loss"])
        if progress.step % 50 == 0:
            self._log(now)
        if progress.step % training.validation.every_steps == 0 or progress.step == training.steps:
            self._validate()
        if now - self.last_save > 60 * training.checkpoint_minutes:
            self.save()
        if self.interrupted:
            self._stop("interrupted")
        elif progress.step >= training.steps:
            self._stop("finished")
        elif self._time_is_up(now):
            self._stop("time is up")
        elif 0 < training.validation.patience <= progress.stale:
            self._stop(STAGNATION)

    def save(self) -> None:
        """Write the checkpoint now."""
        # Keras brings the variables up to date (JAX) when a callback asks for its model.
        save_checkpoint(self.trainer.checkpoint, self.model, self.trainer.progress)
        self.last_save = time.monotonic()

    def _time_is_up(self, now: float) -> bool:
        minutes = self.limits.max_minutes
        return minutes is not None and now - self.started > 60 * minutes

    def _stop(self, reason: str) -> None:
        self.reason = reason
        self.save()  # before Keras' fit ends: it then overwrites the weights with their average
        self.model.stop_training = True

    def _log(self, now: float) -> None:
        trainer, training = self.trainer, self.trainer.config.training
        step = trainer.progress.step
        rate = 50 * training.batch_size / max(now - self.window_started, 1e-9)
        metrics = {
            "train_loss": self.train_loss,
            "learning_rate": float(self.model.optimizer.learning_rate),
            "patches_per_s": rate,
            "feed_wait_share": self.feed.wait_share,
        }
        trainer.sink(metrics, step)
        what = f"loss {metrics['train_loss']:.4f}, {rate:.0f} patches/s"
        trainer.listener(Event("train", step, training.steps, what, "steps"))
        self.window_started = now
        self.feed.reset_clock()

    def _validate(self) -> None:
        trainer = self.trainer
        progress = trainer.progress
        with averaged_weights(self.model):
            scores = dict(trainer.validate(trainer.network))
            loss = scores.get("mixed_loss", scores["loss"])
            if trainer.config.training.validation.patience and loss < progress.best_loss:
                trainer.keep_best()
        trainer.sink({f"val_{name}": value for name, value in scores.items()}, progress.step)
        progress.history.append({"step": progress.step, **scores})
        if loss < progress.best_loss:
            progress.best_loss, progress.best_step, progress.stale = loss, progress.step, 0
        else:
            progress.stale += 1
        what = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        steps = trainer.config.training.steps
        trainer.listener(Event("validate", progress.step, steps, what, "steps"))
        self.window_started = time.monotonic()
        self.feed.reset_clock()
