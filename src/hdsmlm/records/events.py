"""Progress events: every long stage reports (stage, done, total, what) to whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One step of progress.

    Parameters
    ----------
    stage : str
        The pipeline stage, e.g. ``"predict"``.
    done, total : int
        Units finished and units in all, both in ``unit``.
    what : str
        One line for a person: what was just done.
    unit : str
        What is counted, e.g. ``"frames"``.
    """

    stage: str
    done: int
    total: int
    what: str
    unit: str = "frames"


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listen and do nothing."""
