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
    assert folder.name.startswith(f"kernels-{kernel_digest()}-")
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


def test_the_users_choice_wins(tmp_path):
    assert _cache_dir(NUMBA_CACHE_DIR=str(tmp_path)) == str(tmp_path)


def test_without_a_writable_home_kernels_are_kept_in_a_private_folder(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()  # a folder below a file cannot be made, not even by root
    told = _cache_dir(HOME=str(blocked), XDG_CACHE_HOME=str(blocked), TMPDIR=str(tmp_path))
    assert Path(told).parent.parent == tmp_path
    assert not Path(told).parent.stat().st_mode & 0o077


def test_a_folder_that_others_can_write_is_not_used(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    foreign = tmp_path / f"hdsmlm-{os.getuid()}"
    foreign.mkdir()
    foreign.chmod(0o777)
    told = _cache_dir(HOME=str(blocked), XDG_CACHE_HOME=str(blocked), TMPDIR=str(tmp_path))
    assert str(foreign) not in told
