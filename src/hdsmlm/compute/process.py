"""One worker process as its owner sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from hdsmlm.compute.failure import classify
from hdsmlm.compute.task import Outcome, Status, Task
from hdsmlm.compute.worker import LAST_WORDS, LOG, end_family, read_outcome, write_request
from hdsmlm.errors import LAST_WORDS_VARIABLE, ReplicaError

GRACE_S = 30.0
"""Time that a task has to write its checkpoint when it is asked to stop."""


class WorkerProcess:
    """Starts a task at once.

    Parameters
    ----------
    task : Task
        What to run.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._asked_to_stop = False
        self._last_words = task.folder.resolve() / LAST_WORDS
        write_request(task)
        with (task.folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "hdsmlm.compute.worker", str(task.folder.resolve())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **task.environment, LAST_WORDS_VARIABLE: str(self._last_words)},
                start_new_session=True,  # Ctrl-C in the terminal is for the owner, who passes it on
            )

    def poll(self) -> Outcome | None:
        """Return the outcome once the process has ended."""
        code = self._process.poll()
        if code is None:
            return None
        self._close_pipe()
        outcome = read_outcome(self.task.folder)
        if outcome is not None and (outcome.status is Status.done or not self._asked_to_stop):
            return outcome  # a task that was done before it heard of the request is done
        if self._asked_to_stop:
            return Outcome(self.task.name, Status.cancelled, error="stopped on request")
        if self._last_words.is_file():
            words = self._last_words.read_text(encoding="utf-8")
            return Outcome(self.task.name, classify(ReplicaError(words)), error=words)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Outcome(
            self.task.name,
            Status.died,
            error=f"the worker ended without a result ({how}); see {self.task.folder / LOG}",
        )

    def ask_to_stop(self) -> None:
        """Send SIGTERM: training then writes a checkpoint."""
        self._asked_to_stop = True
        if self._process.poll() is None:
            self._process.terminate()

    def end(self, grace_s: float = GRACE_S) -> None:
        """Wait for it for a while, then kill it with all that it started."""
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            end_family(self._process.pid)
            self._process.wait()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()


def run_to_end(task: Task, poll_s: float = 0.1) -> Outcome:
    """Run a task in a worker process and wait for it; whatever interrupts the wait ends it too."""
    worker = WorkerProcess(task)
    try:
        while (outcome := worker.poll()) is None:
            time.sleep(poll_s)
        return outcome
    except BaseException:
        worker.ask_to_stop()
        worker.end()
        raise
