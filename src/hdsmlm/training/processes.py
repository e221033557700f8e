"""Data parallelism on torch: one process per device, sums over all of them by torch.distributed.

Rank 0 is the process of the run; it starts the others. On GPUs tensors are added by NCCL, arrays of
the processor (samples, the decision to stop) always by gloo, which notices at once when a process
is gone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from hdsmlm.config.run import RunConfig
from hdsmlm.errors import ReplicaError, leave_last_words
from hdsmlm.machine import usable_cores
from hdsmlm.training.parallel import check_enough

PEER_LOST = 3
"""Exit code of a process that only follows another one that was lost."""
READY = "ready"
"""First message of a process: it goes to the meeting; any other one is its error."""
_PATIENCE = timedelta(hours=24)
"""Longest wait of a rank for another one: rank 0 validates meanwhile. Nobody waits for the dead."""
_END_S = 30.0
_CAUSE_S = 5.0
_STUCK_S = 60.0
"""Time that rank 0 has to notice that a process is gone before it is ended from outside."""


@dataclass(frozen=True)
class Meeting:
    """Where the processes of one run find each other.

    Parameters
    ----------
    folder : str
        Temporary folder of this machine.
    ranks : int
        How many processes.
    threads : int
        Threads of the processor for each.
    gpus : bool
        Whether each has a GPU of its own.
    """

    folder: str
    ranks: int
    threads: int
    gpus: bool


class TorchRank:
    """One of the processes, after it has joined a meeting.

    Parameters
    ----------
    rank, ranks : int
        Number of this process, and how many there are.
    """

    def __init__(self, rank: int, ranks: int) -> None:
        self.rank = rank
        self.ranks = ranks

    @property
    def total(self) -> Callable[[Any], Any]:
        """Sum over all ranks whose gradient is that of this rank's part.

        The gradients of all ranks are then added up, which gives the gradient of the whole: with
        sums ``S = Σ_r S_r``, ``dL/dθ = Σ_r dL/dS · dS_r/dθ``.
        """
        return _SumOverRanks.apply

    @property
    def optimizer(self) -> type[keras.optimizers.Adam]:
        """Adam that adds up the gradients over all ranks before it clips them."""
        return _summing(type(keras.optimizers.Adam()))  # Keras' own class for torch

    def scope(self) -> AbstractContextManager[Any]:
        """Return a context that does nothing."""
        return nullcontext()

    def exchange(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Send row r to rank r, for all r; return the rows that came, row s from rank s."""
        sent = torch.from_numpy(np.ascontiguousarray(rows))
        received = torch.empty_like(sent)
        with _told_when_lost():
            dist.all_to_all_single(received, sent)
        return received.numpy()

    def agree(self, reason: int) -> int:
        """Return the largest reason to stop that any rank gives after this step; 0 goes on."""
        largest = torch.tensor([reason])
        with _told_when_lost():
            dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return int(largest[0])

    @contextmanager
    def joined(self, meeting: Meeting, model: keras.Model) -> Iterator[None]:
        """Meet the others, take rank 0's state of the model, and part in the end."""
        threads = torch.get_num_threads()
        torch.set_num_threads(meeting.threads)
        store = dist.FileStore(str(Path(meeting.folder) / "store"), meeting.ranks)
        with _loopback():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if meeting.gpus else "gloo",
                store=store,
                rank=self.rank,
                world_size=self.ranks,
                timeout=_PATIENCE,
            )
        try:
            with torch.no_grad(), _told_when_lost():
                for variable in (*model.weights, *model.optimizer.variables):
                    dist.broadcast(variable.value.data, 0)
            yield
        finally:
            dist.destroy_process_group()
            torch.set_num_threads(threads)


class TorchProcesses(TorchRank):
    """Rank 0, which starts the other processes.

    Parameters
    ----------
    devices : int
        How many processes in all: one per GPU, or sharing the cores of the processor.

    Raises
    ------
    ConfigError
        When there are fewer GPUs, or without GPUs fewer cores.
    """

    def __init__(self, devices: int) -> None:
        super().__init__(0, devices)
        self._gpus = False
        kind = keras.ops.zeros(1).device.type
        hint = "see 'hdsmlm devices'"
        if kind == "cuda":
            self._gpus = True
            check_enough(devices, torch.cuda.device_count(), "torch", hint)
        elif kind == "cpu":
            check_enough(devices, usable_cores(), "the processor", "one core each at least")
        else:
            check_enough(devices, 1, f"torch ({kind})", hint)
        self._others: list[_Other] = []

    @contextmanager
    def running(self, config: RunConfig, model: keras.Model, first_step: int) -> Iterator[None]:
        """Start the others, train with them, and leave none behind.

        Raises
        ------
        ReplicaError
            When one of them ended before its time; says which one and how.
        """
        threads = max(1, torch.get_num_threads() // self.ranks)
        with tempfile.TemporaryDirectory(prefix="hdsmlm-") as folder:
            meeting = Meeting(folder, self.ranks, threads, self._gpus)
            over = threading.Event()
            self._others = []
            try:
                for rank in range(1, self.ranks):
                    self._others.append(_Other.start(rank, meeting, config, first_step))
                for other in self._others:
                    other.wait_until_ready()
                _watch(self._others, over)
                with self._cause_told(), self.joined(meeting, model):
                    yield
                for other in self._others:
                    other.process.join(_END_S)
            finally:
                over.set()
                for other in self._others:
                    other.end()

    @contextmanager
    def _cause_told(self) -> Iterator[None]:
        """Say of an error which of the other processes is behind it, where one is."""
        try:
            yield
        except (ReplicaError, RuntimeError) as error:
            cause = lost(self._others, _CAUSE_S)
            if cause is None:
                raise
            raise ReplicaError(cause) from error


@dataclass
class _Other:
    """A started process as rank 0 sees it."""

    rank: int
    ranks: int
    process: Any
    messages: Connection
    _words: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def start(cls, rank: int, meeting: Meeting, config: RunConfig, first_step: int) -> _Other:
        from hdsmlm.training.replica import follow

        context = multiprocessing.get_context("spawn")
        messages, own = context.Pipe(duplex=False)
        process = context.Process(
            target=follow, args=(rank, meeting, config, first_step, own), name=f"rank{rank}"
        )
        process.start()
        own.close()
        return cls(rank, meeting.ranks, process, messages)

    def wait_until_ready(self) -> None:
        """Wait until it goes to the meeting; who waits there for a dead one waits for ever.

        Raises
        ------
        ReplicaError
            When it ends before.
        """
        while not self.messages.poll(0.1):
            if self.process.exitcode is not None:
                break
        if not self._hear():
            self.process.join(_CAUSE_S)
            raise ReplicaError(self._ended())

    def cause(self) -> str | None:
        """Return how it ended, unless it lives, ended well, or only followed another one."""
        if self.process.exitcode in (None, 0, PEER_LOST):
            return None
        self._hear()
        return self._ended()

    def _hear(self) -> bool:
        """Take what it sent: whether it is ready, or its error, which a pipe gives only once."""
        ready = False
        with self._lock, suppress(EOFError, OSError):  # it ended before it could say why
            while self.messages.poll():
                message = str(self.messages.recv())
                ready |= message == READY
                if message != READY:
                    self._words = message
        return ready

    def _ended(self) -> str:
        code = self.process.exitcode or 0
        how = self._words or (signal.Signals(-code).name if code < 0 else f"exit code {code}")
        return f"process {self.rank + 1} of {self.ranks} that trained this model ended: {how}"

    def end(self) -> None:
        """End it if it still lives."""
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.messages.close()


def lost(others: Sequence[_Other], within_s: float) -> str | None:
    """Return how one of the processes ended, or None when none did within a time."""
    deadline = time.monotonic() + within_s
    while True:
        causes = [cause for other in others if (cause := other.cause()) is not None]
        if causes or time.monotonic() > deadline:
            return causes[0] if causes else None
        time.sleep(0.05)


def _watch(others: Sequence[_Other], over: threading.Event) -> None:
    """End this process when one of the others is gone and the main thread waits for it for ever.

    It may be inside the driver of a GPU, or at the meeting, where nobody tells it.
    """

    def look() -> None:
        while not over.wait(1.0):
            cause = lost(others, 0.0)
            if cause is not None and not over.wait(_STUCK_S):
                sys.stderr.write(f"error: {cause}; run the same command to go on\n")
                leave_last_words(ReplicaError(cause))
                os._exit(ReplicaError.exit_code)

    threading.Thread(target=look, name="ranks", daemon=True).start()


class _SumOverRanks(torch.autograd.Function):
    """Forward: the sum over all ranks. Backward: the gradient of this rank's part."""

    @staticmethod
    def forward(_context: Any, part: torch.Tensor) -> torch.Tensor:
        """Return the sum."""
        whole = part.clone()
        with _told_when_lost(part):
            dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(_context: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient as it is."""
        return gradient


def _summing(adam: type[Any]) -> type[Any]:
    class SummingAdam(adam):
        """Takes the step of the gradients of all ranks; all ranks take the same one."""

        def apply(self, grads: Sequence[torch.Tensor], trainable_variables: Any = None) -> None:
            """Add up, then clip, step and average as one device does."""
            whole = torch.cat([gradient.reshape(-1) for gradient in grads])
            with _told_when_lost(whole):
                dist.all_reduce(whole)
            parts = whole.split([gradient.numel() for gradient in grads])
            summed = [p.reshape(g.shape) for p, g in zip(parts, grads, strict=True)]
            super().apply(summed, trainable_variables)

    return SummingAdam


@contextmanager
def _told_when_lost(tensor: torch.Tensor | None = None) -> Iterator[None]:
    """Turn gloo's error about a lost process into one of ours: the state is that of a whole step.

    NCCL's errors stay what they are, since after them nothing can be read from the GPU.
    """
    try:
        yield
    except RuntimeError as error:
        if tensor is not None and tensor.is_cuda:
            raise
        raise ReplicaError(f"a process that trained this model is gone: {error}") from error


@contextmanager
def _loopback() -> Iterator[None]:
    """Let gloo talk within this machine only, whatever its host name resolves to."""
    name = "GLOO_SOCKET_IFNAME"
    if name in os.environ or not sys.platform.startswith("linux"):
        yield
        return
    os.environ[name] = "lo"
    try:
        yield
    finally:
        del os.environ[name]
