"""A search in numbers: ranking, and what each field did."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hdsmlm.config.search import SearchConfig, ValueRange
from hdsmlm.search.record import State, TrialRecord

OTHER_SCENES = ("simulation.", "data.", "normalization.", "training.frames", "training.patch_px")
"""Fields that change the validation scenes too, so that scores are not of the same scenes."""


@dataclass(frozen=True)
class Effect:
    """What one value of a field gave.

    Parameters
    ----------
    value : str
        The value as text.
    mean, best : float
        Of the scores of the complete trials with that value.
    n : int
        Complete trials with that value.
    """

    value: str
    mean: float
    best: float
    n: int


@dataclass(frozen=True)
class Summary:
    """A search and its trials.

    Parameters
    ----------
    config : SearchConfig
        What was asked for.
    records : tuple of TrialRecord
        Every trial, also those that wait.
    """

    config: SearchConfig
    records: tuple[TrialRecord, ...]

    def score(self, record: TrialRecord) -> float:
        """Return the compared score; NaN where there is none."""
        return float(record.scores.get(self.config.metric, math.nan))

    @property
    def complete(self) -> tuple[TrialRecord, ...]:
        """Complete trials with a score, best first; at equal scores the earlier one."""
        sign = -1.0 if self.config.goal == "maximize" else 1.0
        done = [
            record
            for record in self.records
            if record.state is State.complete and math.isfinite(self.score(record))
        ]
        return tuple(sorted(done, key=lambda record: (sign * self.score(record), record.number)))

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial."""
        return self.complete[0] if self.complete else None

    @property
    def ranked(self) -> tuple[TrialRecord, ...]:
        """All trials: complete ones best first, then stopped, failed and waiting ones."""
        order = {State.stopped: 0, State.failed: 1, State.waiting: 2}
        first = self.complete
        others = [record for record in self.records if record not in first]
        others.sort(key=lambda r: (order.get(r.state, 3), -r.step, r.number))
        return (*first, *others)

    def count(self, state: State) -> int:
        """Return how many trials are in a state."""
        return sum(record.state is state for record in self.records)

    def effects(self, field: str) -> tuple[Effect, ...]:
        """Return mean and best score for each value of a field that has a list of values."""
        choice = self.config.space[field]
        if isinstance(choice, ValueRange):
            return ()
        found = []
        for value in choice:
            scores = [
                self.score(r) for r in self.complete if plain(r.values[field]) == plain(value)
            ]
            if scores:
                best = max(scores) if self.config.goal == "maximize" else min(scores)
                mean = sum(scores) / len(scores)
                found.append(Effect(value_text(value), mean, best, len(scores)))
        return tuple(found)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know to read the scores rightly."""
        notes = []
        moving = [field for field in self.config.space if field.startswith(OTHER_SCENES)]
        if moving:
            notes.append(
                f"{', '.join(moving)} also change(s) the scenes of the validation set: scores of "
                "trials that differ in it are not of the same scenes."
            )
        shrunk = [str(r.number) for r in self.records if r.batch_size is not None]
        if shrunk:
            notes.append(
                f"Trial(s) {', '.join(shrunk)} ran out of memory and had a smaller batch, at the "
                "same learning rate and number of steps: they saw fewer patches."
            )
        if not self.config.shared_seed:
            notes.append(
                "Each trial has its own seed: differences include the chance of one training run."
            )
        return tuple(notes)


def plain(value: Any) -> str:
    """Return a value as comparable text: 1 and 1.0 are the same, (8, 16) and [8, 16] too."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return repr(float(value))
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(plain(part) for part in value) + "]"
    return str(value)


def value_text(value: Any) -> str:
    """Return a value for people.

    Examples
    --------
    >>> value_text((16, 32)), value_text(0.001), value_text(True)
    ('16, 32', '0.001', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(value_text(part) for part in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {value_text(part)}" for key, part in value.items())
    return "default" if value is None else str(value)


def short_names(fields: Sequence[str]) -> dict[str, str]:
    """Return each field by as few of its last parts as tell it from the others.

    Examples
    --------
    >>> short_names(["training.steps", "network.widths"])
    {'training.steps': 'steps', 'network.widths': 'widths'}
    """
    names = {}
    for field in fields:
        parts = field.split(".")
        for n in range(1, len(parts) + 1):
            name = ".".join(parts[-n:])
            if sum(f".{other}".endswith(f".{name}") for other in fields) == 1:
                break
        names[field] = name
    return names
