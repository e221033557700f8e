"""The port to experiment tracking, and the tracker that keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    """

    run_id: str
    name: str
    status: str
    started: str
    metrics: Mapping[str, float]


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
