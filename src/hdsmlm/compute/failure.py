"""What an exception means for the one who may try again."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

from hdsmlm.compute.task import Status
from hdsmlm.errors import ReplicaError

_MEMORY = (
    "outofmemoryerror",
    "out of memory",
    "resource_exhausted",
    "can't allocate memory",
    "cannot allocate memory",
    "memoryerror",
    "cublas_status_alloc_failed",
)
_LOST = (
    "cuda error: unspecified launch failure",
    "cuda error: the launch timed out",
    "gpu is lost",
    "has fallen off the bus",
    "no cuda-capable device",
    "cuda-capable device(s) is/are busy or unavailable",
    "uncorrectable ecc error",
    "invalid device ordinal",
    "devicelosterror",
)

_ENDED = (ReplicaError, BrokenExecutor, InterruptedError)
"""One of several processes was lost, or somebody asked this one to stop: it may try again."""
_BUSY = ("database is locked", "database table is locked")
"""Words of SQLite while others write into the same record."""


def classify(error: BaseException) -> Status:
    """Return out_of_memory, device_lost, died (a process was lost or stopped), or failed.

    torch, JAX, NumPy and the CUDA libraries have no common exception; the words are theirs.

    Examples
    --------
    >>> classify(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    <Status.out_of_memory: 'out_of_memory'>
    >>> classify(ValueError("negative dimension"))
    <Status.failed: 'failed'>
    """
    seen: BaseException | None = error
    busy = False
    while seen is not None:
        text = f"{type(seen).__name__}: {seen}".lower()
        if isinstance(seen, MemoryError) or any(word in text for word in _MEMORY):
            return Status.out_of_memory
        if any(word in text for word in _LOST):
            return Status.device_lost
        busy |= any(word in text for word in _BUSY)
        seen = seen.__cause__
    return Status.died if busy or isinstance(error, _ENDED) else Status.failed
