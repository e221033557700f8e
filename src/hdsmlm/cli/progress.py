"""Progress on the terminal: a bar where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hdsmlm.records.events import Event, Listener

if TYPE_CHECKING:
    from rich.console import Console

_LINE_EVERY_S = 10.0
Clock = Callable[[], float]


@contextmanager
def progress_bar(
    console: Console | None = None, clock: Clock = time.monotonic
) -> Iterator[Listener]:
    """Show the events of a run: rate and time left, one line per stage.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to; default standard error.
    clock : callable
        Seconds that only grow.

    Yields
    ------
    Listener
        To be given to a pipeline.
    """
    from rich.console import Console

    console = console or Console(stderr=True)
    if not console.is_terminal:
        plain = PlainProgress(
            lambda text: console.print(text, highlight=False, soft_wrap=True), clock
        )
        yield plain.hear
        return
    with _bars(console) as listener:
        yield listener


class PlainProgress:
    """One line when a stage begins, when it ends, and every ten seconds between.

    Parameters
    ----------
    write : callable
        Takes a line.
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, write: Callable[[str], None], clock: Clock = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._stage, self._last_line_s = "", 0.0
        self._begun: dict[str, tuple[Event, float]] = {}
        self._latest: dict[str, Event] = {}

    def hear(self, event: Event) -> None:
        """Take an event."""
        now_s = self._clock()
        begins = self._begins(event)
        if begins:
            self._begun[event.stage] = (event, now_s)
        self._latest[event.stage] = event
        if begins or event.stage != self._stage:
            self._stage = event.stage
        elif event.done < event.total and now_s - self._last_line_s < _LINE_EVERY_S:
            return
        self._last_line_s = now_s
        if not event.total:
            self._write(f"{event.stage}: {event.what}")
            return
        self._write(
            f"{event.stage}: {event.done}/{event.total} {event.unit}"
            f"{self._pace(event, now_s)}  {event.what}".rstrip()
        )

    def _begins(self, event: Event) -> bool:
        """Whether a stage begins, or begins again; another one may come between its events."""
        latest = self._latest.get(event.stage)
        if latest is None or event.done < latest.done or event.total != latest.total:
            return True
        return latest.done == latest.total and event.stage != self._stage

    def _pace(self, event: Event, now_s: float) -> str:
        first, began_s = self._begun[event.stage]
        moved, elapsed_s = event.done - first.done, now_s - began_s
        if moved <= 0 or elapsed_s <= 0:
            return ""
        rate = moved / elapsed_s
        left = (event.total - event.done) / rate
        remaining = f", {_clock_text(left)} left" if left > 0 else ""
        return f", {_rate_text(rate)} {event.unit}/s{remaining}"


@contextmanager
def _bars(console: Console) -> Iterator[Listener]:
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[what]}", style="dim"),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def hear(event: Event) -> None:
            if event.stage not in tasks:
                tasks[event.stage] = bars.add_task(
                    event.stage,
                    total=event.total,
                    completed=event.done,
                    unit=event.unit,
                    pace="",
                    what=event.what,
                )
                return
            task = bars.tasks[bars.task_ids.index(tasks[event.stage])]
            speed = task.finished_speed or task.speed
            bars.update(
                tasks[event.stage],
                completed=event.done,
                total=event.total,
                pace=f"{_rate_text(speed)} {event.unit}/s" if speed else "",
                what=event.what,
            )

        yield hear


def _rate_text(rate: float) -> str:
    """Return 9012 as ``9012`` and 5.1234 as ``5.12``."""
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"


def _clock_text(seconds: float) -> str:
    """Return 75 s as ``1:15`` and 3725 s as ``1:02:05``."""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest_s:02d}" if hours else f"{minutes}:{rest_s:02d}"
