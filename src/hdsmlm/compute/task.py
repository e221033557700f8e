"""The port to runners: a task is a named function with plain arguments, an outcome is plain too.

Both are JSON values: they go to a process on this machine, or through Ray to another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hdsmlm.compute.device import Need


class Status(StrEnum):
    """How a task ended."""

    done = "done"
    failed = "failed"
    out_of_memory = "out_of_memory"
    device_lost = "device_lost"
    died = "died"
    cancelled = "cancelled"


@dataclass(frozen=True)
class Task:
    """One call in a process of its own.

    Parameters
    ----------
    name : str
        For people and logs.
    function : str
        ``"package.module:function"``, importable where it runs.
    arguments : mapping
        Keyword arguments; JSON values.
    folder : Path
        Own folder of the task, seen by the worker too: request, outcome and log.
    need : Need, optional
        Devices to hold while it runs; None takes none.
    environment : mapping of str to str
        Further environment variables.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    folder: Path
    need: Need | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Parameters
    ----------
    task : str
        Its name.
    status : Status
        How.
    value : JSON value
        What the function returned.
    error : str
        Exception and message, or how the worker died.
    place : str
        Host and devices.
    """

    task: str
    status: Status
    value: Any = None
    error: str = ""
    place: str = ""


@runtime_checkable
class Runner(Protocol):
    """Runs tasks, at most ``workers`` at a time; the others wait in the order of submission.

    ``cores`` is the share of each task of the cores where it runs.
    """

    workers: int
    cores: int

    def submit(self, task: Task) -> None:
        """Queue a task; its name must not be in use by an unfinished one."""

    def wait(self, timeout_s: float) -> Outcome | None:
        """Return the next outcome, or None when there is none within the time."""

    def cancel(self, name: str) -> None:
        """Ask a task to stop; its outcome (cancelled, unless it was faster) still comes."""

    def close(self) -> None:
        """Stop all tasks and leave no process behind."""
