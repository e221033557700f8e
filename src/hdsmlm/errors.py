"""The exception tree.

::

    HdsmlmError                 anything that a user can cause and mend; exit code 2
    ├── ConfigError             a value or key in a configuration
    ├── MovieError              a movie that cannot be read or used
    │   └── TruncatedMovieError a movie that ends early; carries how many frames are readable
    ├── TableError              an emitter table that cannot be read or used
    ├── BundleError             a model folder that is missing, incomplete or corrupt
    ├── OutputError             a result that cannot be written (rights, full disk, name taken)
    ├── DivergedError           training whose loss is no longer a number
    ├── ReplicaError            a process that trained one model with others ended before them
    ├── DeviceLostError         a GPU that a task needs does not answer
    ├── MissingExtraError       an optional library that the request needs is not installed
    └── Interrupted             stopped by the user; finished parts are kept; exit code 130

Each message says what was wanted, what came, and what to do next. Errors of the program itself
(bugs) are ordinary Python exceptions and keep their traceback.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress
from pathlib import Path


class HdsmlmError(Exception):
    """Base of all errors that the user can mend; the command line prints it and exits with 2."""

    exit_code: int = 2


class ConfigError(HdsmlmError):
    """A configuration value or key is wrong; the message names the nearest right one."""


class MovieError(HdsmlmError):
    """A movie cannot be read or used."""


class TruncatedMovieError(MovieError):
    """A movie file ends before its header says; ``readable_frames`` could still be read."""

    def __init__(self, message: str, readable_frames: int) -> None:
        super().__init__(message)
        self.readable_frames = readable_frames


class TableError(HdsmlmError):
    """An emitter table cannot be read or used."""


class BundleError(HdsmlmError):
    """A model bundle is missing, incomplete or corrupt."""


class OutputError(HdsmlmError):
    """A result cannot be written."""


class DivergedError(HdsmlmError):
    """The loss of a training run is no longer a finite number."""


class ReplicaError(HdsmlmError):
    """One of the processes that train one model together ended before the others."""


class DeviceLostError(HdsmlmError):
    """A GPU that a task needs has not answered for a while."""


class WorkerError(HdsmlmError):
    """One of the workers among whom a run was divided failed, or died twice."""


class MissingExtraError(HdsmlmError):
    """An optional dependency is not installed.

    Parameters
    ----------
    library : str
        Import name of the missing library.
    extra : str
        The extra of this package that brings it.
    purpose : str
        What it is needed for, e.g. ``"to train a network"``.
    """

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{library} is needed {purpose} but is not installed. "
            f"Install it with: pip install 'hdsmlm[{extra}]'"
        )
        self.library = library
        self.extra = extra


class Interrupted(HdsmlmError):  # noqa: N818 - a request, not an error
    """The user stopped the run; finished parts are kept and the same command resumes."""

    exit_code = 130


def require_extra(library: str, extra: str, purpose: str) -> None:
    """Raise :class:`MissingExtraError` unless ``library`` is installed; does not import it."""
    if importlib.util.find_spec(library) is None:
        raise MissingExtraError(library, extra, purpose)


LAST_WORDS_VARIABLE = "HDSMLM_LAST_WORDS"
"""Environment variable with a file for the error of a process that cannot end in the usual way."""


def leave_last_words(error: Exception) -> None:
    """Write an error for the one who started this process, before it is ended from a side thread.

    Does nothing where nobody named a file for it.
    """
    path = os.environ.get(LAST_WORDS_VARIABLE)
    if path:
        with suppress(OSError):  # the owner then knows only that this process ended
            Path(path).write_text(str(error), encoding="utf-8")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, for messages.

    Examples
    --------
    >>> counted(1, "frame"), counted(3, "frame")
    ('1 frame', '3 frames')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
