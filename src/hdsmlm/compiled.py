"""Numba's ``njit`` with a cache of compiled kernels that is never stale.

Numba looks at the file that defines a kernel, and not at the kernels which that one calls in other
files: after an upgrade of the program old machine code could run on. The cache therefore lies in a
folder that is named after the content of all kernels, outside the installed package, which may be
read-only. ``NUMBA_CACHE_DIR`` in the environment wins.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

import numba
from numba import njit, prange
from numba.misc.appdirs import user_cache_dir

__all__ = ["cache_folder", "is_compiled", "kernel_digest", "njit", "prange"]

_PACKAGE = Path(__file__).parent


def kernel_digest(package: Path = _PACKAGE) -> str:
    """Return a short hash of all files that define kernels, and of Numba's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        if b"njit" in content:
            digest.update(path.relative_to(package).as_posix().encode())
            digest.update(content)
    return digest.hexdigest()[:16]


def cache_folder() -> Path | None:
    """Return the folder of this installation's compiled kernels; None where none can be written.

    It lies among the user's caches or, for a user without a writable home as containers have them,
    in a private folder among the temporary files.
    """
    place = hashlib.sha256(str(_PACKAGE).encode()).hexdigest()[:8]
    name = f"kernels-{kernel_digest()}-{place}"
    for parent in (Path(user_cache_dir("hdsmlm")), _private_temporary()):
        if parent is None:
            continue
        folder = parent / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


def _private_temporary() -> Path | None:
    """Return a folder among the temporary files that this user alone can write; None if foreign.

    What lies in it is run as machine code, so that nobody else may have put it there.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"hdsmlm-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return None
    is_own = not hasattr(os, "getuid") or (state.st_uid == user and not state.st_mode & 0o022)
    return folder if stat.S_ISDIR(state.st_mode) and is_own else None


def is_compiled(kernel: str) -> bool:
    """Whether a kernel of this version (``"module.function"``) was compiled and kept before."""
    folder = numba.config.CACHE_DIR
    return bool(folder) and any(Path(folder).rglob(f"{kernel}-*.nbi"))


def _use_own_cache() -> None:
    """Point Numba at the folder, unless the user chose one; without one it decides itself."""
    if not numba.config.CACHE_DIR and (folder := cache_folder()) is not None:
        numba.config.CACHE_DIR = str(folder)


_use_own_cache()
