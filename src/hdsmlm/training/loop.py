"""The loop over steps: Keras' own, with callbacks for time, checkpoints, validation, tracking."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from hdsmlm.config.run import RunConfig
from hdsmlm.errors import DivergedError, ReplicaError
from hdsmlm.machine import own_cores
from hdsmlm.records.events import Event
from hdsmlm.training.checkpoint import save_checkpoint
from hdsmlm.training.feed import SampleFeed
from hdsmlm.training.model import averaged_weights
from hdsmlm.training.parallel import Rank

if TYPE_CHECKING:
    from hdsmlm.training.trainer import Trainer, TrainingLimits

STAGNATION = "no further improvement"
REASONS = ("", STAGNATION, "time is up", "finished", "interrupted")
"""Why a piece of training stops; of several reasons the later one counts."""


def fit(
    model: keras.Model,
    feed: SampleFeed,
    config: RunConfig,
    first_step: int,
    callback: keras.callbacks.Callback,
) -> None:
    """Take steps until the callback stops the model; an epoch ends with a validation."""
    every = config.training.validation.every_steps
    model.fit(
        _as_tuples(iter(feed)),
        initial_epoch=first_step // every,
        epochs=-(-config.training.steps // every),
        steps_per_epoch=every,
        callbacks=[callback],
        shuffle=False,
        verbose=0,
    )


def check_finite(loss: float, step: int) -> None:
    """Refuse to go on from weights that are lost.

    Raises
    ------
    DivergedError
        When the loss is infinite or not a number.
    """
    if not math.isfinite(loss):
        raise DivergedError(
            f"training diverged: the loss is {loss} at step {step}; lower "
            "training.schedule.learning_rate or training.clip_norm, or lengthen "
            "training.schedule.warmup_steps, and start anew"
        )


def n_samplers(wanted: int | None, ranks: int) -> int:
    """Return the processes that draw samples for one of the ranks: an even share, rounded up.

    Where the number is left open, one beside a processor, and beside a GPU all cores but one of
    those that are meant for this run.
    """
    if wanted is None and not _trains_on_gpu():
        return 1
    if wanted is None:
        return max(1, own_cores() // ranks - 1)
    return -(-wanted // ranks)


@contextmanager
def stop_request(keeper: Keeper) -> Iterator[None]:
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


class Keeper(keras.callbacks.Callback):
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
        """Count, log, validate and save where it is time; agree with the other ranks to stop."""
        del batch
        trainer, training = self.trainer, self.trainer.config.training
        progress = trainer.progress
        progress.step += 1
        now = time.monotonic()
        progress.seconds = self.seconds_before + now - self.started
        if logs:
            self.train_loss = float(logs["loss"])
            check_finite(self.train_loss, progress.step)
        if progress.step % 50 == 0:
            self._log(now)
        if progress.step % training.validation.every_steps == 0 or progress.step == training.steps:
            self._validate()
        if now - self.last_save > 60 * training.checkpoint_minutes:
            self.save()
        reason = REASONS[trainer.replicas.agree(REASONS.index(self._reason_to_stop(now)))]
        if reason:
            self._stop(reason)

    def _reason_to_stop(self, now: float) -> str:
        progress, training = self.trainer.progress, self.trainer.config.training
        if self.interrupted:
            return "interrupted"
        if progress.step >= training.steps:
            return "finished"
        if self._time_is_up(now):
            return "time is up"
        if 0 < training.validation.patience <= progress.stale:
            return STAGNATION
        return ""

    def save(self) -> None:
        """Write the checkpoint now."""
        # Keras brings the variables up to date (JAX) when a callback asks for its model.
        save_checkpoint(self.trainer.checkpoint, self.model, self.trainer.progress)
        self.trainer.saved_step = self.trainer.progress.step
        self.last_save = time.monotonic()

    @contextmanager
    def saving_when_alone(self) -> Iterator[None]:
        """Write the checkpoint when another rank is lost: this one stands behind a whole step."""
        try:
            yield
        except ReplicaError:
            self.save()
            raise

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
            check_finite(loss, progress.step)
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


class Follower(keras.callbacks.Callback):
    """Stops with the other ranks; asks them to when this process is asked to end.

    Parameters
    ----------
    replicas : Rank
        The ranks.
    """

    def __init__(self, replicas: Rank) -> None:
        super().__init__()
        self._replicas = replicas
        self._asked = False

    def ask_to_stop(self, *_: object) -> None:
        """End the run after this step; may be a signal handler."""
        self._asked = True

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Agree with the other ranks whether to go on."""
        del batch, logs
        if self._replicas.agree(len(REASONS) - 1 if self._asked else 0):
            self.model.stop_training = True
