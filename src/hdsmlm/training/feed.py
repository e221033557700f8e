"""Fresh samples on the fly: scenes are drawn, labelled, normalized and cut in worker processes.

A scene comes from the simulator or, in a mixture, from a binned recording.

Everything is a function of (seed, group index): a group of scenes is cut into patches, the patches
are shuffled together and dealt to batches. Batch b therefore is the same whether the run was
interrupted or not, and however many workers draw.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

from numpy.typing import NDArray

from hdsmlm.config.run import RunConfig
from hdsmlm.training.mixture import Mixture
from hdsmlm.training.parallel import OneProcess, Rank
from hdsmlm.training.patches import Patches

VALIDATION_SEED = 2_000_000_001
CALIBRATION_SEED = 2_000_000_002
"""Streams of scenes that no training seed (at most 10^9) can reach."""


def draw_group(config: RunConfig, group: int) -> Patches:
    """Return the shuffled patches of one group of scenes."""
    return Mixture.of(config).group(group)


class SampleFeed:
    """Endless batches from a given step on, drawn ahead by worker processes.

    Use it as a context manager; ``wait_s`` are the seconds spent waiting for samples since the last
    :meth:`reset_clock`.

    Parameters
    ----------
    config : RunConfig
        What to draw.
    first_step : int
        Optimizer step of the first batch; resuming continues the same sequence.
    workers : int
        Processes that draw; 0 draws in this process.
    replicas : Rank, optional
        Processes that share each batch. Each draws every n-th group of scenes and they deal out the
        patches among them: all draw, nothing is drawn twice, and the parts of a batch together are
        the batch of one process.
    """

    def __init__(
        self,
        config: RunConfig,
        first_step: int = 0,
        workers: int = 0,
        replicas: Rank | None = None,
    ) -> None:
        self._replicas = replicas or OneProcess()
        self._config = config
        self._workers = workers
        self._first_step = first_step
        self._pool: ProcessPoolExecutor | None = None
        self._pending: deque[Future[Patches]] = deque()
        self._mixture: Mixture | None = None
        self.reset_clock()

    def __enter__(self) -> SampleFeed:
        if self._workers > 0:
            self._pool = ProcessPoolExecutor(
                self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_serve_the_parent,
                initargs=(self._config,),
            )
        return self

    def __exit__(self, *exc: object) -> None:
        if self._pool is not None:
            for future in self._pending:
                future.cancel()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        self._pending.clear()

    def reset_clock(self) -> None:
        """Start counting ``wait_s`` and ``busy_s`` afresh."""
        self.wait_s = 0.0
        self._since = time.perf_counter()

    @property
    def wait_share(self) -> float:
        """Share of the time since :meth:`reset_clock` in which the consumer waited for samples."""
        return self.wait_s / max(time.perf_counter() - self._since, 1e-9)

    def __iter__(self) -> Iterator[Patches]:
        training, replicas = self._config.training, self._replicas
        share = training.batch_size // replicas.ranks
        batches_per_group = training.patches_per_group // training.batch_size
        group, skip = divmod(self._first_step, batches_per_group)
        while True:
            started = time.perf_counter()
            parts = self._deal(self._take(group + replicas.rank))
            self.wait_s += time.perf_counter() - started
            for part in parts:
                for batch in range(skip, batches_per_group):
                    yield part.select(slice(batch * share, (batch + 1) * share))
                skip = 0
            group += replicas.ranks

    def _deal(self, patches: Patches) -> list[Patches]:
        """Give each rank its part of every batch; return the own parts of the groups of all."""
        ranks = self._replicas.ranks
        if ranks == 1:
            return [patches]
        share = self._config.training.batch_size // ranks

        def deal(array: NDArray) -> NDArray:
            batches = array.reshape(-1, ranks, share, *array.shape[1:])
            received = self._replicas.exchange(batches.swapaxes(0, 1))
            return received.reshape(ranks, -1, *array.shape[1:])

        columns = [deal(array) for array in (patches.frames, patches.classes, patches.weights)]
        return [Patches(*part) for part in zip(*columns, strict=True)]

    def _take(self, group: int) -> Patches:
        if self._pool is None:
            self._mixture = self._mixture or Mixture.of(self._config)
            return self._mixture.group(group)
        ahead = self._workers + 1
        while len(self._pending) < ahead:
            following = group + len(self._pending) * self._replicas.ranks
            self._pending.append(self._pool.submit(_draw_in_worker, following))
        return self._pending.popleft().result()


_worker_mixture: Mixture | None = None
"""The opened sources of a worker process; a process draws for one feed only."""


def _draw_in_worker(group: int) -> Patches:
    if _worker_mixture is None:
        raise RuntimeError("a worker draws only after it was started by a feed")
    return _worker_mixture.group(group)


def _serve_the_parent(config: RunConfig) -> None:
    """Open the sources once; leave Ctrl-C to the training process, and end with it even if killed.

    A source that cannot be opened is told by the parent, which has opened it before.
    """
    global _worker_mixture  # the only way to keep something open between the tasks of a pool
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    _worker_mixture = Mixture.of(config)
