"""What is known of a trial: one JSON file each, written whole, so that a killed search goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from hdsmlm.errors import OutputError
from hdsmlm.io.writing import atomic_path

RECORD = "trial.json"


class State(StrEnum):
    """Where a trial stands."""

    waiting = "waiting"
    complete = "complete"
    stopped = "stopped"
    failed = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing more happens to the trial."""
        return self is not State.waiting


@dataclass(frozen=True)
class Rung:
    """A score at which the method decided.

    Parameters
    ----------
    step : int
        Optimizer steps.
    score : float
        The compared score.
    order : int
        Place of the decision in the whole search; decisions depend on those before.
    """

    step: int
    score: float
    order: int


@dataclass(frozen=True)
class Attempt:
    """One start of a trial that did not end well.

    Parameters
    ----------
    status : str
        ``out_of_memory``, ``died``, ``device_lost`` or ``failed``.
    error : str
        Last lines of the error.
    batch_size : int
        Patches per step of that attempt.
    """

    status: str
    error: str
    batch_size: int


@dataclass(frozen=True)
class TrialRecord:
    """State and results of a trial.

    Parameters
    ----------
    number : int
        From 1.
    values : mapping
        The varied fields.
    state : State
        Where it stands.
    scores : mapping of str to float
        Scores on the validation set, of the weights that are shipped (or of the last decision).
    step : int
        Optimizer steps done.
    seconds : float
        Training time.
    batch_size : int or None
        Patches per step, where it had to be smaller than configured.
    run_id : str
        Run in the MLflow record.
    place : str
        Where it ran last.
    rungs : tuple of Rung
        Decisions.
    attempts : tuple of Attempt
        Starts that failed.
    """

    number: int
    values: Mapping[str, Any]
    state: State = State.waiting
    scores: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    seconds: float = 0.0
    batch_size: int | None = None
    run_id: str = ""
    place: str = ""
    rungs: tuple[Rung, ...] = ()
    attempts: tuple[Attempt, ...] = ()

    @property
    def error(self) -> str:
        """Why it failed; "" where it did not."""
        return self.attempts[-1].error if self.state is State.failed and self.attempts else ""

    def again(self) -> TrialRecord:
        """Return the record with which a failed trial is tried anew."""
        return replace(self, state=State.waiting, attempts=(), batch_size=None)


def write_record(record: TrialRecord, folder: Path) -> None:
    """Write ``trial.json`` into the folder of the trial."""
    with atomic_path(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")


def read_record(folder: Path) -> TrialRecord | None:
    """Return the record of a trial, or None where there is none yet.

    Raises
    ------
    OutputError
        When the file is no record of this program.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return TrialRecord(
            **{
                **plain,
                "state": State(plain["state"]),
                "rungs": tuple(Rung(**rung) for rung in plain["rungs"]),
                "attempts": tuple(Attempt(**attempt) for attempt in plain["attempts"]),
            }
        )
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{path} is not the record of a trial ({error}); remove it to repeat the trial"
        ) from None
