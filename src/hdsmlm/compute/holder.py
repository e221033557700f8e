"""A process that holds something, told from a later one with the same number."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import filelock
import psutil

from hdsmlm.errors import OutputError
from hdsmlm.io.writing import atomic_path, writing

LOCK = ".holder.lock"
WHO = ".holder.json"
"""Beside the lock: who has it, for the message to others."""
_CLOCK_TOLERANCE_S = 2.0
_TICK_TOLERANCE_S = 0.02


@dataclass(frozen=True)
class Holder:
    """A process.

    Parameters
    ----------
    process : int
        Its number, which the system uses again later.
    started : float
        When it started, which tells it from others: seconds since the machine started on Linux
        (a clock that nobody sets), seconds since 1970 elsewhere.
    """

    process: int
    started: float

    @classmethod
    def of(cls, process: int | None = None) -> Holder:
        """Return the holder for a living process; default: this one."""
        number = os.getpid() if process is None else process
        return cls(number, _started(number))

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        tolerance = _TICK_TOLERANCE_S if sys.platform == "linux" else _CLOCK_TOLERANCE_S
        try:
            same = abs(_started(self.process) - self.started) < tolerance
            return same and psutil.Process(self.process).status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def _started(process: int) -> float:
    """Return when a process started.

    Raises
    ------
    psutil.NoSuchProcess
        When there is none of that number.
    """
    if sys.platform != "linux":
        return float(psutil.Process(process).create_time())
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        raise psutil.NoSuchProcess(process) from None
    ticks = stat.rpartition(")")[2].split()[19]  # field 22; the name before ")" may hold spaces
    return int(ticks) / os.sysconf("SC_CLK_TCK")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder for the block: of two processes at work in it the second is refused.

    The operating system keeps the lock and drops it with the process, however that ends; on a disk
    that machines share, it is refused to the other machines too (where the disk passes locks on).

    Raises
    ------
    OutputError
        When another process holds it.
    """
    lock = _taken(folder)
    if lock is None:
        raise OutputError(
            f"{folder} is being worked on by {_named(folder / WHO)}; wait for it or stop it"
        )
    try:
        with atomic_path(folder / WHO) as temporary:
            who = {"process": os.getpid(), "host": platform.node()}
            temporary.write_text(json.dumps(who) + "\n", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            (folder / WHO).unlink(missing_ok=True)
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process works in a folder."""
    lock = _taken(folder)
    if lock is None:
        return True
    lock.release()
    return False


def _taken(folder: Path) -> filelock.BaseFileLock | None:
    """Return the lock of a folder, taken; None where somebody else has it."""
    lock = filelock.FileLock(folder / LOCK)
    with writing(folder / LOCK):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:  # an OSError, too
            return None
    return lock


def _named(path: Path) -> str:
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        here = "" if who["host"] == platform.node() else f" on {who['host']}"
        return f"process {who['process']}{here}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
