"""The terminal's progress bar: one listener for the events of every stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hdsmlm.records.events import Event, Listener


@contextmanager
def progress_bar() -> Iterator[Listener]:
    """Yield a listener that shows done, total, rate and time left on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]} {task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks = {}

        def listen(event: Event) -> None:
            if event.stage not in tasks:
                tasks[event.stage] = bar.add_task(
                    event.stage, total=event.total, unit=event.unit, rate="", what=""
                )
            task = tasks[event.stage]
            speed = bar.tasks[bar.task_ids.index(task)].speed
            rate = f"({speed:.3g}/s)" if speed else ""
            bar.update(task, completed=event.done, total=event.total, rate=rate, what=event.what)

        yield listen
