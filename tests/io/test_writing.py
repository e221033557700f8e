"""Files are whole or absent, on the disk before they are named, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hdsmlm.io.writing import atomic_path


@pytest.fixture
def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    return child.pid


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []
    replace, fsync = Path.replace, os.fsync

    def remember_fsync(handle: int) -> None:
        steps.append(("fsync", os.fstat(handle).st_ino))
        fsync(handle)

    def remember_replace(path: Path, target: Path) -> Path:
        steps.append(("replace", path.stat().st_ino))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", remember_fsync)
    monkeypatch.setattr(Path, "replace", remember_replace)
    with atomic_path(tmp_path / "file") as part:
        part.write_text("data")
    inode = (tmp_path / "file").stat().st_ino
    assert steps == [("fsync", inode), ("replace", inode)]


def test_every_file_of_a_folder_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.add(os.fstat(handle).st_ino))
    with atomic_path(tmp_path / "folder") as part:
        (part / "deep").mkdir(parents=True)
        (part / "one").touch()
        (part / "deep" / "two").touch()
    names = (tmp_path / "folder" / "one", tmp_path / "folder" / "deep" / "two")
    assert flushed == {path.stat().st_ino for path in names}


def test_a_failed_block_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as part:
            part.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_what_killed_runs_left_is_removed_and_nothing_else(tmp_path: Path, dead_pid: int) -> None:
    gone = tmp_path / f".map.tif.{dead_pid}.part"
    gone.touch()
    folder = tmp_path / f".map.tif.{os.getpid()}.part"  # of a dead process with our number
    (folder / "c").mkdir(parents=True)
    kept = [
        tmp_path / name
        for name in (
            f".map.tif.{os.getppid()}.part",  # another run, alive
            f".other.tif.{dead_pid}.part",
            f".map_tif.{dead_pid}.part",
            f"map.tif.{dead_pid}.part",
        )
    ]
    for path in kept:
        path.touch()
    with atomic_path(tmp_path / "map.tif") as part:
        part.write_text("whole")
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "map.tif"])


def test_a_killed_run_is_tidied_up_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from hdsmlm.io.writing import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as part:\n"
        "    part.write_text('half')\n"
        "    os.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".file.")
    with atomic_path(tmp_path / "file") as part:
        part.write_text("whole")
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
