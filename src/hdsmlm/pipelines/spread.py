"""One movie over several workers: each finishes its share of the chunks in the run's work folder.

The owner has checked everything, fitted the normalizer and named the run in its
:class:`~hdsmlm.inference.chunk_store.ChunkStore`. A worker is a process (here, or through Ray) that
joins that run, computes a stretch of consecutive chunks, and writes each as an unbroken run would.
The owner then finds all chunks finished and writes the results, just as after a resume. So the
results do not depend on the number of workers, and whatever was finished survives the death of any
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hdsmlm.compute.device import Need
from hdsmlm.compute.local_runner import LocalRunner
from hdsmlm.compute.ray_runner import RayRunner
from hdsmlm.compute.task import Outcome, Runner, Status, Task
from hdsmlm.errors import ConfigError, WorkerError
from hdsmlm.inference.chunk_store import WORKERS
from hdsmlm.machine import THREADS_VARIABLE, usable_cores
from hdsmlm.records.events import Event, Listener

if TYPE_CHECKING:
    from hdsmlm.bundle import Bundle
    from hdsmlm.pipelines.localize import LocalizeJob
    from hdsmlm.pipelines.predict import PredictionJob

GPU_BYTES = 3 * 2**30
"""Memory of a GPU that one worker is given: an engine holds about 2 GB of features."""
_ATTEMPTS = 2
_WAIT_S = 0.25
_ENDED = {Status.died, Status.device_lost, Status.out_of_memory}


@dataclass(frozen=True)
class Workers:
    """Who works on one movie.

    Parameters
    ----------
    count : int
        Workers at a time; 1 works in this process.
    runner : str
        ``"local"`` for processes of this machine, or ``"ray"``.
    address : str or None
        Ray cluster; None starts Ray on this machine.
    """

    count: int = 1
    runner: Literal["local", "ray"] = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"--workers {self.count}: at least one is needed")
        if self.address is not None and self.runner != "ray":
            raise ConfigError("--address names a Ray cluster; add --runner ray")

    @property
    def elsewhere(self) -> bool:
        """Whether the work leaves this process."""
        return self.count > 1 or self.runner == "ray"

    def threads(self, wanted: int | None) -> int:
        """Return the threads of each: those wanted in all, or the cores, divided."""
        return max(1, (wanted or usable_cores()) // self.count)

    def open(self) -> Runner:
        """Return the runner."""
        if self.runner == "ray":
            return RayRunner(self.count, self.address)
        return LocalRunner(self.count)


ALONE = Workers()
"""All is done in this process."""


@dataclass(frozen=True)
class Share:
    """What a worker of a larger run does.

    Parameters
    ----------
    chunks : tuple of int
        The chunks (or windows) that it computes.
    parents : mapping of str to str
        Hashes of the inputs, as the owner found them.
    """

    chunks: tuple[int, ...]
    parents: dict[str, str]


@dataclass(frozen=True)
class Work:
    """What is spread.

    Parameters
    ----------
    function : str
        ``"module:function"``; is called with ``arguments`` and ``chunks``.
    arguments : mapping
        Plain values, the same for all workers.
    chunks : sequence of int
        What is missing, in order.
    has : callable
        Whether a chunk is finished.
    on_gpu : bool
        Whether the engine runs on a GPU: then each worker leases one of its own.
    threads : int
        Of each worker.
    """

    function: str
    arguments: dict[str, Any]
    chunks: Sequence[int]
    has: Callable[[int], bool]
    on_gpu: bool = False
    threads: int = 1


@dataclass
class Progress:
    """Tells a listener of finished chunks.

    Parameters
    ----------
    listener : Listener
        Who hears it.
    stage : str
        What is done.
    done, total : int
        Frames finished and in all.
    frames : callable
        Frames of a chunk.
    """

    listener: Listener
    stage: str
    done: int
    total: int
    frames: Callable[[int], int]

    def heard(self, chunks: list[int], what: str) -> None:
        """Tell of newly finished chunks."""
        self.done += sum(self.frames(chunk) for chunk in chunks)
        self.listener(Event(self.stage, self.done, self.total, what))


def job_arguments(job: PredictionJob | LocalizeJob, bundle: Bundle) -> dict[str, Any]:
    """Return what workers must know of a job, as plain values.

    Raises
    ------
    ConfigError
        For a movie in memory, or one that is watched: workers open it by its path.
    """
    if not isinstance(job.movie, (Path, str)) or job.watcher is not None:
        raise ConfigError("several workers need a movie that is given by its path")
    return {
        "movie": str(Path(job.movie).absolute()),
        "out": str(job.out.absolute()),
        "model": str(bundle.folder),
        "allow_truncated": job.allow_truncated,
    }


def spread(work: Work, workers: Workers, store: Path, progress: Progress) -> None:
    """Have all chunks finished by workers, each a stretch of them.

    A worker that dies is replaced once; its finished chunks are kept.

    Parameters
    ----------
    work : Work
        What to do.
    workers : Workers
        By whom.
    store : Path
        Work folder of the run, seen by all workers.
    progress : Progress
        Hears of finished chunks.

    Raises
    ------
    WorkerError
        When a worker failed, or died twice; says why. Finished chunks are kept.
    """
    parts = [part.tolist() for part in np.array_split(np.array(work.chunks), workers.count)]
    left = {f"worker-{k + 1}": part for k, part in enumerate(parts) if part}
    attempts = dict.fromkeys(left, 1)
    waiting = set(work.chunks)

    def listen() -> None:
        new = sorted(chunk for chunk in waiting if work.has(chunk))
        waiting.difference_update(new)
        if new:
            progress.heard(new, f"{workers.count} workers")

    folder = store / WORKERS
    runner = workers.open()
    try:
        for name, chunks in left.items():
            runner.submit(_task(work, name, chunks, folder))
        while left:
            outcome = runner.wait(_WAIT_S)
            listen()
            if outcome is None:
                continue
            missing = [chunk for chunk in left.pop(outcome.task) if not work.has(chunk)]
            if not missing and outcome.status is Status.done:
                continue
            if outcome.status not in _ENDED or attempts[outcome.task] == _ATTEMPTS:
                raise WorkerError(_why(outcome))
            attempts[outcome.task] += 1
            left[outcome.task] = missing
            runner.submit(_task(work, outcome.task, missing, folder))
    finally:
        runner.close()


def _task(work: Work, name: str, chunks: list[int], folder: Path) -> Task:
    return Task(
        name=name,
        function=work.function,
        arguments={**work.arguments, "chunks": chunks},
        folder=folder / name,
        need=Need(GPU_BYTES, whole=True) if work.on_gpu else None,
        environment={THREADS_VARIABLE: str(work.threads)},
    )


def _why(outcome: Outcome) -> str:
    text = outcome.error.removeprefix("hdsmlm.errors.")
    if outcome.status is Status.failed and ": " in text:
        text = text.split(": ", 1)[1]
    return f"{outcome.task}: {text} (what is finished is kept; the same command goes on)"
