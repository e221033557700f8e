"""A process that holds something, told from a later one with the same number."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from hdsmlm.errors import OutputError
from hdsmlm.io.writing import atomic_path

LOCK = ".holder.json"
_CLOCK_TOLERANCE_S = 2.0


@dataclass(frozen=True)
class Holder:
    """A process.

    Parameters
    ----------
    process : int
        Its number, which the system uses again later.
    started : float
        When it started (seconds since 1970), which tells it from others.
    """

    process: int
    started: float

    @classmethod
    def of(cls, process: int | None = None) -> Holder:
        """Return the holder for a living process; default: this one."""
        number = os.getpid() if process is None else process
        return cls(number, psutil.Process(number).create_time())

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        try:
            found = psutil.Process(self.process)
            same = abs(found.create_time() - self.started) < _CLOCK_TOLERANCE_S
            return same and found.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder for the block: of two processes at work in it the second is refused.

    Raises
    ------
    OutputError
        When a living process of this machine holds it.
    """
    path = folder / LOCK
    if path.is_file():
        other = Holder(**json.loads(path.read_text(encoding="utf-8")))
        if other.alive and other.process != os.getpid():
            raise OutputError(
                f"{folder} is being worked on by process {other.process}; wait for it or stop it"
            )
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(asdict(Holder.of())), encoding="utf-8")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
