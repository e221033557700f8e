"""Writing that never leaves half a file and turns the system's refusals into clear errors."""

from __future__ import annotations

import errno
import os
import re
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

    A killed or failed run, or a power cut, leaves the old file (or none), never half of the new
    one: the data are on the disk before the name is. What killed runs left under temporary names of
    ``path`` is removed.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(path)
        temporary = _temporary(path)
        try:
            yield temporary
            _flush_to_disk(temporary)
            temporary.replace(path)
        finally:
            _remove(temporary)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside ``path`` for pieces of it; it is gone after the block.

    What killed runs left is removed.
    """
    name = path.with_name(path.name + ".pieces")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(name)
        folder = _temporary(name)
        folder.mkdir()
    try:
        yield folder
    finally:
        _remove(folder)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_orphans(path: Path) -> None:
    """Remove temporary siblings of ``path`` whose process is gone."""
    name = re.compile(re.escape(f".{path.name}.") + r"(\d+)\.part")
    names = os.listdir(path.parent)  # noqa: PTH208 - thousands of chunks need no Path objects
    orphans = [match for match in map(name.fullmatch, names) if match]
    if not orphans:
        return
    import psutil

    for match in orphans:
        process = int(match[1])
        if process == os.getpid() or not psutil.pid_exists(process):  # numbers are used again
            _remove(path.with_name(match[0]))


def _flush_to_disk(path: Path) -> None:
    """Wait until a file, or every file of a folder, is on the disk."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    for file in files:
        with file.open("r+b") as stream:
            os.fsync(stream.fileno())


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
