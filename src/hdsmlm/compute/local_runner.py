"""Tasks in processes of this machine: the runner that needs nothing installed."""

from __future__ import annotations

import time
from collections import deque

from hdsmlm.compute.process import GRACE_S, WorkerProcess
from hdsmlm.compute.task import Outcome, Status, Task
from hdsmlm.errors import ConfigError
from hdsmlm.machine import usable_cores

_POLL_S = 0.05


class LocalRunner:
    """Runs tasks in processes of this machine.

    Parameters
    ----------
    workers : int
        Tasks at a time.
    grace_s : float
        Time that a task has to end after it was asked to.
    """

    def __init__(self, workers: int, grace_s: float = GRACE_S) -> None:
        if workers < 1:
            raise ConfigError(f"--workers {workers}: at least one is needed")
        self.workers = workers
        self.cores = max(1, usable_cores() // workers)
        self._grace_s = grace_s
        self._queue: deque[Task] = deque()
        self._running: dict[str, WorkerProcess] = {}
        self._cancelled: deque[str] = deque()

    def submit(self, task: Task) -> None:
        """Queue a task."""
        if task.name in self._running or any(task.name == queued.name for queued in self._queue):
            raise ValueError(f"task {task.name} is already submitted")
        self._queue.append(task)
        self._fill()

    def wait(self, timeout_s: float) -> Outcome | None:
        """Return the next outcome, or None when there is none within the time."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self._cancelled:
                return Outcome(self._cancelled.popleft(), Status.cancelled, error="never started")
            for name, worker in self._running.items():
                outcome = worker.poll()
                if outcome is not None:
                    del self._running[name]
                    self._fill()
                    return outcome
            if time.monotonic() >= deadline:
                return None
            time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))

    def cancel(self, name: str) -> None:
        """Ask a task to stop; a queued one never starts."""
        for task in list(self._queue):
            if task.name == name:
                self._queue.remove(task)
                self._cancelled.append(name)
        if name in self._running:
            self._running[name].ask_to_stop()

    def close(self) -> None:
        """Stop all tasks and leave no process behind."""
        self._queue.clear()
        for worker in self._running.values():
            worker.ask_to_stop()
        deadline = time.monotonic() + self._grace_s
        for worker in self._running.values():
            worker.end(max(0.0, deadline - time.monotonic()))
        self._running.clear()

    def _fill(self) -> None:
        while self._queue and len(self._running) < self.workers:
            task = self._queue.popleft()
            self._running[task.name] = WorkerProcess(task)
