"""One trial of a search, as a worker process runs it: a normal training run, up to a decision."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from hdsmlm.config.base import load_section, parse_section
from hdsmlm.config.run import RunConfig
from hdsmlm.io.writing import atomic_path
from hdsmlm.pipelines.train import CONFIG, HISTORY, RunRequest, RunResult, run_training
from hdsmlm.records.events import Event
from hdsmlm.training.loop import STAGNATION

RESULT = "result.json"


def run_trial(
    config: dict[str, Any],
    folder: str,
    tracking: str | None = None,
    stop_step: int | None = None,
) -> dict[str, Any]:
    """Train one trial, or continue it; arguments and answer are JSON.

    A run with another batch size in the folder (the memory ran out) is replaced.

    Parameters
    ----------
    config : mapping
        Plain values of the run.
    folder : str
        Run folder.
    tracking : str or None
        Folder of the MLflow record.
    stop_step : int or None
        Stop with a checkpoint once this step is done and validated.

    Returns
    -------
    dict
        ``scores``, ``step``, ``seconds``, ``run_id``, ``complete``.
    """
    path = Path(folder)
    run = parse_section(RunConfig, config, folder)
    overwrite = _has_other_batch(path, run)
    result = path / RESULT
    if result.is_file() and not overwrite:  # done for a search that was killed before it knew
        return dict(json.loads(result.read_text(encoding="utf-8")))
    os.environ.setdefault("KERAS_BACKEND", "torch")
    request = RunRequest(
        config=run,
        folder=path,
        tracking=Path(tracking) if tracking else None,
        overwrite=overwrite,
    )
    answer = _answer(run_training(request, _Brake(stop_step)), stop_step, path)
    if answer["complete"]:
        with atomic_path(result) as temporary:
            temporary.write_text(json.dumps(answer) + "\n", encoding="utf-8")
    return answer


class _Brake:
    """Ends training at a step, the way that Ctrl-C does: after its validation, with a checkpoint.

    A run that was killed behind the step stops at the next event; the score is that of the step.
    """

    def __init__(self, step: int | None) -> None:
        self._step = step

    def __call__(self, event: Event) -> None:
        if self._step is not None and event.unit == "steps" and event.done >= self._step:
            self._step = None
            signal.raise_signal(signal.SIGTERM)


def _has_other_batch(folder: Path, run: RunConfig) -> bool:
    path = folder / CONFIG
    if not path.is_file():
        return False
    return load_section(RunConfig, path).training.batch_size != run.training.batch_size


def _answer(result: RunResult, stop_step: int | None, folder: Path) -> dict[str, Any]:
    outcome = result.outcome
    progress = outcome.progress
    if outcome.complete:
        at = progress.best_step if outcome.reason == STAGNATION else progress.step
    elif stop_step is not None and progress.step >= stop_step:
        at = stop_step
    else:
        raise InterruptedError(f"asked to stop at step {progress.step}")
    history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    entry = next(entry for entry in history if entry["step"] == at)
    return {
        "complete": outcome.complete,
        "scores": {key: value for key, value in entry.items() if key != "step"},
        "step": at,
        "seconds": progress.seconds,
        "run_id": progress.tracking_id,
    }
