"""Numba's ``njit`` with a cache of compiled kernels that is never stale.

Numba looks at the file that defines a kernel, and not at the kernels which that one calls in other
files: after an upgrade of the program old machine code could run on. The cache therefore lies in a
folder that is named after the content of all kernels, outside the installed package, which may be
read-only. ``NUMBA_CACHE_DIR`` in the environment wins.
"""

from __future__ import annotations

import hashlib
import os
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
    """Return the folder of this program's compiled kernels; None where none can be written."""
    folder = Path(user_cache_dir("hdsmlm")) / f"kernels-{kernel_digest()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def is_compiled(kernel: str) -> bool:
    """Whether a kernel of this version (``"module.function"``) was compiled and kept before."""
    folder = numba.config.CACHE_DIR
    return bool(folder) and any(Path(folder).rglob(f"{kernel}-*.nbi"))


def _use_own_cache() -> None:
    """Point Numba at the folder, unless the user chose one; without one it decides itself."""
    if not numba.config.CACHE_DIR and (folder := cache_folder()) is not None:
        numba.config.CACHE_DIR = str(folder)


_use_own_cache()
