"""Compiled kernels are kept where an upgrade cannot leave old ones behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hdsmlm
from hdsmlm.compiled import cache_folder, kernel_digest

SOURCE = Path(hdsmlm.__file__).parent


def _package(folder: Path, caller: str, called: str) -> Path:
    folder.mkdir()
    (folder / "called.py").write_text(called)
    (folder / "caller.py").write_text(caller)
    (folder / "plain.py").write_text("x = 1\n")
    return folder


def test_a_change_in_any_kernel_file_moves_the_cache(tmp_path):
    first = _package(tmp_path / "a", "@njit\ndef f(): return g()\n", "@njit\ndef g(): return 1\n")
    same = _package(tmp_path / "b", "@njit\ndef f(): return g()\n", "@njit\ndef g(): return 1\n")
    other = _package(tmp_path / "c", "@njit\ndef f(): return g()\n", "@njit\ndef g(): return 2\n")
    assert kernel_digest(first) == kernel_digest(same)
    assert kernel_digest(first) != kernel_digest(other)
    before = kernel_digest(first)
    (first / "plain.py").write_text("x = 2\n")  # no kernel: nothing to compile anew
    assert kernel_digest(first) == before


def test_the_folder_is_named_after_all_kernels():
    folder = cache_folder()
    assert folder is not None
    assert folder.name == f"kernels-{kernel_digest()}"
    assert SOURCE not in folder.parents


def _cache_dir(**environment: str) -> str:
    """Return what Numba was told in a fresh process."""
    code = "import hdsmlm.compiled, numba; print(numba.config.CACHE_DIR)"
    clean = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_users_choice_wins_and_an_unwritable_home_is_survived(tmp_path):
    assert _cache_dir(NUMBA_CACHE_DIR=str(tmp_path)) == str(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    place = {"XDG_CACHE_HOME": str(blocked), "HOME": str(blocked), "LOCALAPPDATA": str(blocked)}
    assert _cache_dir(**place) == ""
