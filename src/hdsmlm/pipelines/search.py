"""Search: every trial is a training run of its own; killed searches go on, failures are recorded.

The folder holds ``search.yaml`` and ``base.yaml`` (what was asked for), ``search.json`` (the parent
run of the record), ``trials/0001/`` with ``trial.json`` (state and scores), ``worker.log`` and
``run/`` (an ordinary run folder), and in the end ``results.csv``, ``results.json``, ``report.html``
and ``best/`` (the best bundle).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from hdsmlm.compute.device import Need
from hdsmlm.compute.holder import held
from hdsmlm.compute.inventory import usable_cores
from hdsmlm.compute.local_runner import LocalRunner
from hdsmlm.compute.memory import estimate_memory
from hdsmlm.compute.ray_runner import RayRunner
from hdsmlm.compute.task import Outcome, Runner, Status, Task
from hdsmlm.config.base import load_section, section_to_yaml
from hdsmlm.config.run import RunConfig
from hdsmlm.config.search import HalvingMethod, SearchConfig, base_values, load_search
from hdsmlm.errors import ConfigError, Interrupted, OutputError, require_extra
from hdsmlm.io.writing import atomic_path, output_folder
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.search.halving import Halving, rung_steps
from hdsmlm.search.record import Attempt, State, TrialRecord, read_record, write_record
from hdsmlm.search.report import REPORT, TABLE, write_results
from hdsmlm.search.space import Trial, draw_trials
from hdsmlm.search.summary import Summary
from hdsmlm.tracking.mlflow_tracker import (
    PARENT_VARIABLE,
    MlflowTracker,
    end_lost_runs,
    register_bundle,
)

SEARCH = "search.yaml"
BASE = "base.yaml"
STATE = "search.json"
TRIALS = "trials"
RUN = "run"
BUNDLE = "bundle"
"""Of the run folder; pipelines.train, which writes it, loads Keras, and this module need not."""
FUNCTION = "hdsmlm.pipelines.trial:run_trial"
BEST = "best"
FREE_TO_CHANGE = ("metric", "goal", "retries", "memory_retries")
"""Search fields that a continued search may change (metric and goal not with halving)."""
_WAIT_S = 1.0


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
        Ctrl-C; running trials wrote their checkpoints, and the same command goes on.
    """
    config = load_search(job.space)
    base = base_values(config, job.space.parent)
    trials = draw_trials(config, base)
    _check_rungs(config, trials)
    for library in ("keras", "torch", "onnx", *(() if job.tracking is None else ("mlflow",))):
        require_extra(library, "train", "to train a network")
    output_folder(job.out)
    with held(job.out):
        _write_plan(config, base, job.out)
        parent = _open_parent(config, job)
        search = _Search(job, config, trials, parent.run_id if parent else "", listener)
        complete = False
        try:
            search.run()
            complete = True
        except KeyboardInterrupt:
            raise Interrupted("finished trials are kept; run the same command to go on") from None
        finally:
            summary = write_report(job.out)
            if parent is not None:
                _record_results(summary, job, parent)
                parent.close(complete)
    if summary.best is None:
        first = next((r.error for r in search.records.values() if r.error), "no trial is complete")
        raise OutputError(f"no trial of {job.out} succeeded; the first error: {first}")
    return summary


def write_report(folder: Path) -> Summary:
    """Write table and report of a search as it stands, running or not.

    Raises
    ------
    ConfigError
        When the folder holds no search.
    """
    path = folder / SEARCH
    if not path.is_file():
        raise ConfigError(
            f"{folder} holds no search ({SEARCH} is missing); give the --out of 'hdsmlm search'"
        )
    config = load_section(SearchConfig, path)
    base = yaml.safe_load((folder / BASE).read_text(encoding="utf-8")) or {}
    trials = draw_trials(config, base)
    records = [
        read_record(_trial_folder(folder, trial.number)) or TrialRecord(trial.number, trial.values)
        for trial in trials
    ]
    summary = Summary(config, tuple(records))
    write_results(summary, folder)
    _keep_best(summary, folder)
    return summary


def _trial_folder(out: Path, number: int) -> Path:
    return out / TRIALS / f"{number:04d}"


def _write_plan(config: SearchConfig, base: Mapping[str, Any], out: Path) -> None:
    """Write what is asked for; a folder with another search is refused."""
    path, base_path = out / SEARCH, out / BASE
    base_text = yaml.safe_dump(dict(base), sort_keys=True)
    if path.is_file():
        before = load_section(SearchConfig, path)
        free = FREE_TO_CHANGE[2:] if config.method.kind == "halving" else FREE_TO_CHANGE
        old, new = (c.model_dump(mode="json", exclude={*free, "base"}) for c in (before, config))
        changed = [key for key in new if old[key] != new[key]]
        if base_path.is_file() and base_path.read_text(encoding="utf-8") != base_text:
            changed.append("base")
        if changed:
            raise ConfigError(
                f"{out} holds a search that differs in {', '.join(changed)}; go on with its own "
                f"{SEARCH}, or choose another --out"
            )
    for target, text in ((base_path, base_text), (path, section_to_yaml(config))):
        with atomic_path(target) as temporary:
            temporary.write_text(text, encoding="utf-8")


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
    path = job.out / STATE
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    tracker = MlflowTracker(job.tracking, config.name, known.get("parent_run", ""))
    end_lost_runs(job.tracking, tracker.run_id)  # nobody else works in this folder
    tracker.log_params({"method": config.method.kind, "metric": config.metric})
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"parent_run": tracker.run_id}) + "\n", encoding="utf-8")
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
                runner.submit(self._task(number))
            while any(not record.state.final for record in self.records.values()):
                outcome = runner.wait(_WAIT_S)
                if outcome is not None:
                    number = int(outcome.task.rsplit("-", 1)[-1])
                    self._hear(number, outcome)
                    if not self.records[number].state.final:
                        runner.submit(self._task(number))
        finally:
            runner.close()

    def _record(self, trial: Trial) -> TrialRecord:
        found = read_record(_trial_folder(self.job.out, trial.number))
        if found is None:
            return TrialRecord(trial.number, trial.values)
        return found.again() if found.state is State.failed and self.job.retry_failed else found

    def _task(self, number: int) -> Task:
        folder = _trial_folder(self.job.out, number)
        run = self._run_config(number)
        devices = run.training.devices
        cores = 1 if self.job.address else max(1, usable_cores() // self.job.workers)
        tracking = self.job.tracking
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
            environment={PARENT_VARIABLE: self._parent_run} if self._parent_run else {},
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
        write_record(record, _trial_folder(self.job.out, number))
        self._tell(f"trial {number} {_verdict(record, self.config.metric, outcome)}")

    def _scored(self, record: TrialRecord, value: Mapping[str, Any]) -> TrialRecord:
        scores = dict(value["scores"])
        if self.config.metric not in scores:
            raise ConfigError(
                f"the runs have no score '{self.config.metric}'; set metric to one of: "
                f"{', '.join(scores)}"
            )
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


def _verdict(record: TrialRecord, metric: str, outcome: Outcome) -> str:
    if outcome.status is Status.done:
        word = {State.waiting: "goes on", State.stopped: "stopped"}.get(record.state, "complete")
        return f"{word}: {metric} {record.scores[metric]:.4f} at step {record.step}"
    if record.state is State.failed:
        return f"failed: {outcome.error[:200]}"
    return f"{outcome.status.value.replace('_', ' ')}, tried again"


def _keep_best(summary: Summary, out: Path) -> None:
    """Copy the bundle of the best trial to ``best/``."""
    if summary.best is None:
        return
    source = _trial_folder(out, summary.best.number) / RUN / BUNDLE
    with atomic_path(out / BEST) as temporary:
        shutil.copytree(source, temporary)
        shutil.rmtree(out / BEST, ignore_errors=True)


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
