"""Work on files of strangers in a process with bounded memory and time."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import hdsmlm.errors
from hdsmlm.config.service import LimitsConfig
from hdsmlm.errors import HdsmlmError, MissingExtraError, MovieError

_context: Any = get_context("forkserver" if os.name == "posix" else "spawn")


def warm_up() -> None:
    """Have the process that others are forked from import what they need."""
    if os.name == "posix":
        _context.set_forkserver_preload(
            ["hdsmlm.service.checking", "hdsmlm.service.exports", "hdsmlm.io.movies"]
        )


def isolated(work: Callable[..., Any], *arguments: Any, limits: LimitsConfig, what: str) -> Any:
    """Return ``work(*arguments)``, done in a process that is killed when it takes too much.

    Parameters
    ----------
    work : callable
        A function of a module.
    *arguments
        Plain values.
    limits : LimitsConfig
        Time and memory.
    what : str
        What is worked on, for messages.

    Raises
    ------
    HdsmlmError
        What ``work`` raised, or that it took too much time or memory.
    """
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(
        target=_child, args=(theirs, limits.check_memory_bytes, work, arguments), daemon=True
    )
    process.start()
    theirs.close()
    try:
        if not ours.poll(limits.check_s):
            raise HdsmlmError(
                f"{what}: it took longer than {limits.check_s:g} s; it is damaged or too large"
            )
        kind, value = ours.recv()
    except EOFError:
        raise HdsmlmError(
            f"{what}: reading it took too much memory or failed; it is damaged, or promises more "
            "than it holds"
        ) from None
    finally:
        ours.close()
        if process.is_alive():
            process.kill()
        process.join(5)
    if kind is None:
        return value
    raise getattr(hdsmlm.errors, kind, HdsmlmError)(value)


def _child(channel: Connection, memory_bytes: int, work: Any, arguments: Any) -> None:
    _bound_memory(memory_bytes)
    try:
        channel.send((None, work(*arguments)))
    except MissingExtraError as error:
        channel.send(("HdsmlmError", str(error)))
    except HdsmlmError as error:
        channel.send((_plain_class(error), str(error)))
    except MemoryError:
        channel.send(("HdsmlmError", "it takes more memory than this server gives; is it damaged?"))
    except Exception as error:
        channel.send(("HdsmlmError", f"it cannot be read ({type(error).__name__})"))


def _plain_class(error: HdsmlmError) -> str:
    """Return the name of the nearest class that is made from a message alone."""
    return "MovieError" if isinstance(error, MovieError) else type(error).__name__


def _bound_memory(more_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    import psutil

    most = psutil.Process().memory_info().vms + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
