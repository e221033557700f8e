"""Search: every trial is a training run of its own; killed ones go on, failures are recorded."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hdsmlm.compute.device import Need
from hdsmlm.compute.holder import held, is_held
from hdsmlm.compute.inventory import this_machine
from hdsmlm.compute.leases import FOLDER_VARIABLE, Balancer
from hdsmlm.compute.local_runner import LocalRunner
from hdsmlm.compute.memory import estimate_memory
from hdsmlm.compute.ray_runner import RayRunner
from hdsmlm.compute.task import Outcome, Runner, Status, Task
from hdsmlm.config.run import RunConfig
from hdsmlm.config.search import HalvingMethod, SearchConfig, base_values, load_search
from hdsmlm.errors import ConfigError, Interrupted, OutputError, require_extra
from hdsmlm.io.writing import output_folder
from hdsmlm.pipelines.search_folder import (
    RUN,
    keep_best,
    read_state,
    trial_folder,
    write_outcome,
    write_plan,
    write_state,
)
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.search.halving import Halving, rung_steps
from hdsmlm.search.record import Attempt, State, TrialRecord, read_record, write_record
from hdsmlm.search.report import REPORT, TABLE
from hdsmlm.search.space import Trial, draw_trials
from hdsmlm.search.summary import Summary
from hdsmlm.tracking.mlflow_tracker import (
    PARENT_VARIABLE,
    MlflowTracker,
    end_lost_runs,
    register_bundle,
)

FUNCTION = "hdsmlm.pipelines.trial:run_trial"
_WAIT_S = 1.0
_TELL_S = 15.0
"""Time between two looks for trials that wait for a device."""
_PASSED_ON = ("MLFLOW_TRACKING_URI", FOLDER_VARIABLE)
"""Environment variables that a worker on another machine must have too, where they are set."""


@dataclass(frozen=True)
class SearchJob:
    """One call of ``hdsmlm search``.

    Parameters
    ----------
    space : Path
        YAML file of the search.
    out : Path
        Folder; an unfinished search in it goes on.
    workers : int
        Trials at a time.
    runner : str
        "local" or "ray".
    address : str or None
        Ray cluster.
    tracking : Path or None
        Folder of the MLflow record; None keeps none.
    retry_failed : bool
        Try failed trials of an earlier call again.
    backend : str
        Keras backend of all trials.
    function : str
        What a trial calls in its worker, in place of training.
    """

    space: Path
    out: Path
    workers: int = 1
    runner: Literal["local", "ray"] = "local"
    address: str | None = None
    tracking: Path | None = None
    retry_failed: bool = False
    backend: Literal["torch", "jax"] = "torch"
    function: str = FUNCTION


def run_search(job: SearchJob, listener: Listener = silent) -> Summary:
    """Run all trials that are not done, then write table, report and the best bundle.

    Raises
    ------
    ConfigError
        A space that is wrong, another search in the folder, an unknown metric.
    OutputError
        A folder that cannot be written or that another process works in; no trial succeeded.
    Interrupted
        Ctrl-C or a termination; running trials wrote their checkpoints, and the same command goes
        on.
    """
    config = load_search(job.space)
    base = base_values(config, job.space.parent)
    trials = draw_trials(config, base)
    _check_rungs(config, trials)
    _check_metric(config, trials)
    for library in ("keras", job.backend, "torch", "onnx"):
        require_extra(library, "jax" if library == "jax" else "train", "to train a network")
    if job.tracking is not None:
        require_extra("mlflow", "train", "to keep a record")
    output_folder(job.out)
    with held(job.out), _termination_is_ctrl_c():
        write_plan(config, base, job.backend, job.out)
        parent = _open_parent(config, job)
        search = _Search(job, config, trials, parent.run_id if parent else "", listener)
        try:
            search.run()
        except BaseException as error:
            with suppress(Exception):  # what went wrong first is what has to be told
                _finish(job, parent, complete=False)
            if isinstance(error, KeyboardInterrupt):
                words = "finished trials are kept; run the same command to go on"
                raise Interrupted(words) from None
            raise
        summary = _finish(job, parent, complete=True)
    if summary.best is None:
        first = next((r.error for r in search.records.values() if r.error), "no trial is complete")
        raise OutputError(f"no trial of {job.out} succeeded; the first error: {first}")
    return summary


def _finish(job: SearchJob, parent: MlflowTracker | None, complete: bool) -> Summary:
    """Write what came out, into the folder and into the record."""
    summary = write_outcome(job.out)
    keep_best(summary, job.out)
    if parent is not None:
        _record_results(summary, job, parent)
        parent.close(complete)
    return summary


def write_report(folder: Path) -> Summary:
    """Write table and report of a search as it stands, running or not.

    The best bundle so far is copied too, unless the search runs: then it does that in the end.

    Raises
    ------
    ConfigError
        When the folder holds no search.
    """
    summary = write_outcome(folder)
    if not is_held(folder):
        keep_best(summary, folder)
    return summary


@contextmanager
def _termination_is_ctrl_c() -> Iterator[None]:
    """Let a termination end the block as Ctrl-C does: trials write their checkpoints."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_metric(config: SearchConfig, trials: tuple[Trial, ...]) -> None:
    for trial in trials:
        if config.metric not in trial.config.score_names:
            raise ConfigError(
                f"metric: the runs have no score '{config.metric}'; choose one of: "
                f"{', '.join(trial.config.score_names)}"
            )


def _check_rungs(config: SearchConfig, trials: tuple[Trial, ...]) -> None:
    if not isinstance(config.method, HalvingMethod):
        return
    for trial in trials:
        every = trial.config.training.validation.every_steps
        if config.method.min_steps % every:
            raise ConfigError(
                f"method.min_steps {config.method.min_steps} must be a multiple of "
                f"training.validation.every_steps, which is {every} in trial {trial.number}"
            )


def _open_parent(config: SearchConfig, job: SearchJob) -> MlflowTracker | None:
    """Open, or open again, the parent run of the record."""
    if job.tracking is None:
        return None
    tracker = MlflowTracker(job.tracking, config.name, read_state(job.out).get("parent_run", ""))
    end_lost_runs(job.tracking, tracker.run_id)  # nobody else works in this folder
    tracker.log_params({"method": config.method.kind, "metric": config.metric})
    write_state(job.out, parent_run=tracker.run_id)
    return tracker


def open_runner(job: SearchJob) -> Runner:
    """Return the runner that was asked for."""
    if job.runner == "ray":
        return RayRunner(job.workers, job.address)
    if job.address is not None:
        raise ConfigError("--address names a Ray cluster; add --runner ray")
    return LocalRunner(job.workers)


class _Search:
    """The loop of one call: submit, hear, write down, decide."""

    def __init__(
        self,
        job: SearchJob,
        config: SearchConfig,
        trials: tuple[Trial, ...],
        parent_run: str,
        listener: Listener,
    ) -> None:
        self.job = job
        self.config = config
        self.trials = {trial.number: trial for trial in trials}
        self.records = {trial.number: self._record(trial) for trial in trials}
        self._parent_run = parent_run
        self._listener = listener
        self._halving: Halving | None = None
        if isinstance(config.method, HalvingMethod):
            self._halving = Halving(config.method, config.goal, self.records.values())

    def run(self) -> None:
        """Run every trial that has no final state."""
        waiting = [number for number, r in self.records.items() if not r.state.final]
        self._tell("finished before" if len(waiting) < len(self.trials) else "starting")
        if not waiting:
            return
        runner = open_runner(self.job)
        try:
            for number in waiting:
                runner.submit(self._task(number, runner.cores))
            told = time.monotonic()
            while any(not record.state.final for record in self.records.values()):
                outcome = runner.wait(_WAIT_S)
                if outcome is not None:
                    number = int(outcome.task.rsplit("-", 1)[-1])
                    self._hear(number, outcome)
                    if not self.records[number].state.final:
                        runner.submit(self._task(number, runner.cores))
                elif time.monotonic() - told > _TELL_S:
                    told = time.monotonic()
                    self._tell_waiting()
        finally:
            runner.close()

    def _tell_waiting(self) -> None:
        """Say which trials wait for a device of this machine, so that nobody wonders."""
        own = {f"{self.config.name}-{number:04d}" for number in self.trials}
        titles = [w.title for w in Balancer(this_machine()).waiting() if w.title in own]
        if titles:
            self._tell(f"{', '.join(titles)}: waiting for a device (see 'hdsmlm devices')")

    def _record(self, trial: Trial) -> TrialRecord:
        found = read_record(trial_folder(self.job.out, trial.number))
        if found is None:
            return TrialRecord(trial.number, trial.values)
        return found.again() if found.state is State.failed and self.job.retry_failed else found

    def _task(self, number: int, cores: int) -> Task:
        folder = trial_folder(self.job.out, number)
        run = with_whole_paths(self._run_config(number))
        devices = run.training.devices
        tracking = self.job.tracking
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        if self._parent_run:
            environment[PARENT_VARIABLE] = self._parent_run
        return Task(
            name=run.name,
            function=self.job.function,
            arguments={
                "config": run.model_dump(mode="json"),
                "folder": str((folder / RUN).resolve()),
                "tracking": str(tracking.resolve()) if tracking else None,
                "stop_step": self._next_rung(number),
            },
            folder=folder,
            need=Need(
                estimate_memory(run, gpu=True, devices=devices).total_bytes,
                cores=cores,
                devices=devices,
            ),
            environment={"KERAS_BACKEND": self.job.backend, **environment},
        )

    def _run_config(self, number: int) -> RunConfig:
        run, batch = self.trials[number].config, self.records[number].batch_size
        if batch is None:
            return run
        return run.model_copy(
            update={"training": run.training.model_copy(update={"batch_size": batch})}
        )

    def _next_rung(self, number: int) -> int | None:
        if not isinstance(self.config.method, HalvingMethod):
            return None
        done = {rung.step for rung in self.records[number].rungs}
        steps = rung_steps(self.config.method, self.trials[number].config.training.steps)
        return next((step for step in steps if step not in done), None)

    def _hear(self, number: int, outcome: Outcome) -> None:
        record = replace(self.records[number], place=outcome.place or self.records[number].place)
        if outcome.status is Status.done:
            record = self._scored(record, outcome.value)
        elif outcome.status is not Status.cancelled:
            record = self._after_failure(record, outcome)
        self.records[number] = record
        write_record(record, trial_folder(self.job.out, number))
        self._tell(f"trial {number} {_verdict(record, self.config.metric, outcome)}")

    def _scored(self, record: TrialRecord, value: Mapping[str, Any]) -> TrialRecord:
        scores = dict(value["scores"])
        if self.config.metric not in scores:
            words = f"the run has no score '{self.config.metric}', but {', '.join(scores)}"
            attempt = Attempt(Status.failed.value, words, record.batch_size or 0)
            return replace(record, attempts=(*record.attempts, attempt), state=State.failed)
        record = replace(
            record,
            scores=scores,
            step=value["step"],
            seconds=value["seconds"],
            run_id=value["run_id"],
        )
        if value["complete"]:
            return replace(record, state=State.complete)
        assert self._halving is not None  # only a rung ends a trial before its end
        score = scores[self.config.metric]
        goes_on = self._halving.goes_on(record.number, record.step, score)
        rungs = (*record.rungs, self._halving.rung(record.step, score))
        return replace(record, rungs=rungs, state=State.waiting if goes_on else State.stopped)

    def _after_failure(self, record: TrialRecord, outcome: Outcome) -> TrialRecord:
        run = self._run_config(record.number)
        attempt = Attempt(outcome.status.value, outcome.error, run.training.batch_size)
        record = replace(record, attempts=(*record.attempts, attempt))
        again = sum(past.status == outcome.status.value for past in record.attempts)
        if outcome.status is Status.out_of_memory:
            smaller = smaller_batch(run)
            if smaller is not None and again <= self.config.memory_retries:
                return replace(record, batch_size=smaller)
        elif outcome.status is not Status.failed and again <= self.config.retries:
            return record
        return replace(record, state=State.failed)

    def _tell(self, what: str) -> None:
        done = sum(record.state.final for record in self.records.values())
        self._listener(Event("search", done, len(self.records), what, "trials"))


def smaller_batch(run: RunConfig) -> int | None:
    """Return the largest batch of at most half the size that its group and its devices can share.

    Learning rate and number of steps stay: the trial then sees fewer patches, which its record and
    the report say.
    """
    group, devices = run.training.patches_per_group, run.training.devices
    smaller = range(run.training.batch_size // 2, 0, -1)
    return next((n for n in smaller if group % n == 0 and n % devices == 0), None)


def with_whole_paths(run: RunConfig) -> RunConfig:
    """Return a run whose folders are found from any working folder: on another machine, too."""
    binned = tuple(
        source.model_copy(update={"folder": source.folder.absolute()}) for source in run.data.binned
    )
    start = run.training.start_from
    if start is not None and Path(start).exists():
        start = str(Path(start).absolute())
    return run.model_copy(
        update={
            "data": run.data.model_copy(update={"binned": binned}),
            "training": run.training.model_copy(update={"start_from": start}),
        }
    )


def _verdict(record: TrialRecord, metric: str, outcome: Outcome) -> str:
    if outcome.status is Status.done and record.state is not State.failed:
        word = {State.waiting: "goes on", State.stopped: "stopped"}.get(record.state, "complete")
        return f"{word}: {metric} {record.scores[metric]:.4f} at step {record.step}"
    if record.state is State.failed:
        return f"failed: {record.error[:200]}"
    return f"{outcome.status.value.replace('_', ' ')}, tried again"


def _record_results(summary: Summary, job: SearchJob, parent: MlflowTracker) -> None:
    """Put table, report and best score into the parent run, and the best bundle in the registry."""
    for name in (TABLE, REPORT):
        parent.log_file(job.out / name)
    if summary.best is None or job.tracking is None:
        return
    score = summary.best.scores[summary.config.metric]
    parent.log_metrics({f"best_{summary.config.metric}": score}, summary.best.number)
    if summary.best.run_id:
        register_bundle(job.tracking, summary.config.name, summary.best.run_id)
