"""Writing that never leaves half a file and turns the system's refusals into clear errors."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hdsmlm.errors import OutputError

_REASONS = {
    errno.ENOSPC: "the disk is full; free space or choose another output folder, then run again",
    errno.EDQUOT: "the disk quota is used up; free space or choose another output folder",
    errno.EACCES: "writing is not permitted there; choose a folder that you may write to",
    errno.EPERM: "writing is not permitted there; choose a folder that you may write to",
    errno.EROFS: "that file system is read-only; choose another output folder",
    errno.ENOTDIR: "a part of that path is a file, not a folder; choose another output folder",
    errno.EISDIR: "that path is a folder; give the name of a file",
    errno.EEXIST: "a file of that name is in the way; choose another output folder",
    errno.ENOENT: "a part of that path does not exist; create the folder first",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` raised while ``path`` is written into an :class:`OutputError`."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise OutputError(f"cannot write {path}: {reason}") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that takes its name only when the block succeeds.

    A killed or failed run leaves the old file (or none), never half of the new one.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            yield temporary
            temporary.replace(path)
        finally:
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)


def output_folder(path: Path) -> Path:
    """Create an output folder and prove that it can be written to.

    Raises
    ------
    OutputError
        When it cannot be created or written to.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".write-test-{os.getpid()}"
        probe.touch()
        probe.unlink()
    return path
