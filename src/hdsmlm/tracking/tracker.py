"""The port to experiment tracking, and the tracker that keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Tracker(Protocol):
    """Records one run: parameters, metrics per step, files."""

    @property
    def run_id(self) -> str:
        """Identifier with which a later process continues the same record; "" if there is none."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record parameters; nested mappings are flattened to dotted names."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record numbers at a step."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Copy a file, or a folder's files, into the record."""

    def close(self, complete: bool) -> None:
        """End this piece of the record; ``complete``: the run needs no further piece."""


@dataclass(frozen=True)
class RunSummary:
    """One line of the list of runs.

    Parameters
    ----------
    run_id, name, status, started : str
        Identity, state and UTC start time.
    metrics : mapping of str to float
        Last value of each metric.
    params : mapping of str to str
        Dotted configuration fields.
    parent : str
        Run below which it is filed (the search of a trial); "" if none.
    """

    run_id: str
    name: str
    status: str
    started: str
    metrics: Mapping[str, float]
    params: Mapping[str, str] = field(default_factory=dict)
    parent: str = ""


def differing_params(runs: Sequence[RunSummary]) -> dict[str, tuple[str, ...]]:
    """Return the fields that are not the same in all runs, with the value in each run.

    Examples
    --------
    >>> a = RunSummary("1", "a", "FINISHED", "", {}, {"steps": "5", "seed": "1"})
    >>> b = RunSummary("2", "b", "FINISHED", "", {}, {"steps": "9", "seed": "1"})
    >>> differing_params([a, b])
    {'steps': ('5', '9')}
    """
    names = sorted({name for run in runs for name in run.params})
    rows = {name: tuple(run.params.get(name, "-") for run in runs) for name in names}
    return {name: values for name, values in rows.items() if len(set(values)) > 1}


class NullTracker:
    """Keeps nothing; for tests and for ``--no-tracking``."""

    run_id = ""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Ignore parameters."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Ignore metrics."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Ignore files."""

    def close(self, complete: bool) -> None:
        """Do nothing."""


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as dotted names.

    Examples
    --------
    >>> flatten({"a": {"b": 1}, "c": [1, 2]})
    {'a.b': 1, 'c': [1, 2]}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
