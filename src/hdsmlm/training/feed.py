"""Fresh samples on the fly: scenes are drawn, labelled, normalized and cut in worker processes.

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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.run import RunConfig
from hdsmlm.labels.counts import count_labels
from hdsmlm.normalization import normalizer_of_array
from hdsmlm.simulation.scene import Scene, SceneSampler

VALIDATION_SEED = 2_000_000_001
CALIBRATION_SEED = 2_000_000_002
"""Streams of scenes that no training seed (at most 10^9) can reach."""


@dataclass(frozen=True)
class Patches:
    """Normalized frames with labels.

    Parameters
    ----------
    frames : array of float32, shape (n, t, y, x)
        In [-1, 1].
    classes : array of uint8, shape (n, t, y, x)
        Count classes.
    weights : array of float32, shape (n, t, y, x)
        0 where a pixel is excluded from learning.
    """

    frames: NDArray[np.float32]
    classes: NDArray[np.uint8]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, rows: NDArray[np.intp] | slice) -> Patches:
        """Return some of the patches."""
        return Patches(self.frames[rows], self.classes[rows], self.weights[rows])


def patches_of_scene(scene: Scene, config: RunConfig) -> Patches:
    """Label, normalize and cut one scene; its patches share the scene's grey levels."""
    labels = count_labels(scene.emitters, scene.frames.shape, scene.pixel_size_nm)
    normalize = normalizer_of_array(scene.frames, config.normalization)
    side = config.training.patch_px

    def cut(array: NDArray) -> NDArray:
        t, height, width = array.shape
        tiles = array.reshape(t, height // side, side, width // side, side)
        return np.ascontiguousarray(tiles.transpose(1, 3, 0, 2, 4).reshape(-1, t, side, side))

    return Patches(cut(normalize(scene.frames, 0)), cut(labels.classes), cut(labels.weights))


def draw_group(config: RunConfig, group: int) -> Patches:
    """Return the shuffled patches of one group of scenes."""
    training = config.training
    sampler = SceneSampler(config.simulation, training.scene_shape)
    first = group * training.scenes_per_group
    parts = [
        patches_of_scene(sampler.draw(training.seed, first + k), config)
        for k in range(training.scenes_per_group)
    ]
    whole = Patches(
        np.concatenate([part.frames for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.weights for part in parts]),
    )
    order = np.random.default_rng((training.seed, group)).permutation(len(whole))
    return whole.select(order)


class SampleFeed:
    """Endless batches from a given step on, drawn ahead by worker processes.

    Parameters
    ----------
    config : RunConfig
        What to draw.
    first_step : int
        Optimizer step of the first batch; resuming continues the same sequence.
    workers : int
        Processes that draw; 0 draws in this process.

    Use it as a context manager; ``wait_s`` are the seconds spent waiting for samples since the last
    :meth:`reset_clock`.
    """

    def __init__(self, config: RunConfig, first_step: int = 0, workers: int = 0) -> None:
        self._config = config
        self._workers = workers
        self._first_step = first_step
        self._pool: ProcessPoolExecutor | None = None
        self._pending: deque[Future[Patches]] = deque()
        self.reset_clock()

    def __enter__(self) -> SampleFeed:
        if self._workers > 0:
            self._pool = ProcessPoolExecutor(
                self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_serve_the_parent,
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
        training = self._config.training
        batches_per_group = training.patches_per_group // training.batch_size
        group, skip = divmod(self._first_step, batches_per_group)
        while True:
            started = time.perf_counter()
            patches = self._take(group)
            self.wait_s += time.perf_counter() - started
            for batch in range(skip, batches_per_group):
                start = batch * training.batch_size
                yield patches.select(slice(start, start + training.batch_size))
            group, skip = group + 1, 0

    def _take(self, group: int) -> Patches:
        if self._pool is None:
            return draw_group(self._config, group)
        ahead = self._workers + 1
        while len(self._pending) < ahead:
            following = group + len(self._pending)
            self._pending.append(self._pool.submit(draw_group, self._config, following))
        return self._pending.popleft().result()


def _serve_the_parent() -> None:
    """Leave Ctrl-C to the training process, and end with it even when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
