"""Chunks on disk belong to one run, and only whole ones count."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hdsmlm.errors import OutputError
from hdsmlm.inference.chunk_store import ChunkResult, ChunkStore
from hdsmlm.inference.decode import COLUMNS
from hdsmlm.normalization import Normalizer
from hdsmlm.records.emitters import Emitters

MAP = np.full((2, 4, 5, 6), 0.25, np.float32)


def fill(folder: Path, run: str, n_chunks: int = 3) -> ChunkStore:
    store = ChunkStore(folder, {"run": run})
    store.keep_normalizer(Normalizer(np.array([1.0]), np.array([9.0])))
    for index in range(n_chunks):
        store.keep(index, ChunkResult(Emitters.empty(COLUMNS[3:]), np.arange(2.0)), MAP)
    return store


def test_the_same_run_finds_its_chunks(tmp_path: Path) -> None:
    fill(tmp_path / "unfinished", "a")
    again = ChunkStore(tmp_path / "unfinished", {"run": "a"})
    assert [again.has(index, with_map=True) for index in range(4)] == [True, True, True, False]
    np.testing.assert_array_equal(again.result(1).expected_per_frame, [0, 1])
    np.testing.assert_array_equal(again.take_map(2), MAP)
    assert again.normalizer() is not None


def test_chunks_that_lost_their_key_are_not_adopted(tmp_path: Path) -> None:
    """A removal that was killed half way leaves chunks, and nothing says whose they are."""
    fill(tmp_path / "unfinished", "a")
    (tmp_path / "unfinished" / "run.json").unlink()
    other = ChunkStore(tmp_path / "unfinished", {"run": "b"})
    assert {path.name for path in other.folder.iterdir()} == {"run.json", "running.pid"}
    assert other.normalizer() is None
    assert not other.has(0, with_map=False)


def test_a_removal_takes_the_key_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(tmp_path / "unfinished", "a")
    order: list[str] = []
    unlink = Path.unlink

    def remember(path: Path, missing_ok: bool = False) -> None:
        order.append(path.name)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", remember)
    store.remove()
    assert order[0] == "run.json"
    assert len(order) == 9
    assert order[-1] == "running.pid"
    assert not store.folder.exists()


def test_what_is_not_its_own_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "unfinished"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    fill(folder, "a").remove()
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_another_run_is_dropped_only_on_request(tmp_path: Path) -> None:
    fill(tmp_path / "unfinished", "a")
    with pytest.raises(OutputError, match="--overwrite"):
        ChunkStore(tmp_path / "unfinished", {"run": "b"})
    other = ChunkStore(tmp_path / "unfinished", {"run": "b"}, discard=True)
    assert not other.has(0, with_map=False)


@pytest.mark.parametrize("left", [0, 10, 100, -1])
@pytest.mark.parametrize("name", ["chunk_000001.npz", "chunk_000001_map.npy"])
def test_a_damaged_chunk_is_unfinished(tmp_path: Path, name: str, left: int) -> None:
    """A power cut may leave a file that is empty or short."""
    store = fill(tmp_path / "unfinished", "a")
    path = store.folder / name
    path.write_bytes(path.read_bytes()[:left])
    assert [store.has(index, with_map=True) for index in range(3)] == [True, False, True]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"low": [1], "high": None})])
def test_a_damaged_normalizer_is_fitted_again(tmp_path: Path, text: str) -> None:
    store = fill(tmp_path / "unfinished", "a")
    (store.folder / "normalizer.json").write_text(text)
    assert store.normalizer() is None


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    ChunkStore(tmp_path / "unfinished", {"movie": "a"})
    neighbour = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (tmp_path / "unfinished" / "running.pid").write_text(str(neighbour.pid))
        with pytest.raises(OutputError, match="another run"):
            ChunkStore(tmp_path / "unfinished", {"movie": "a"})
    finally:
        neighbour.kill()
        neighbour.wait()
    ChunkStore(tmp_path / "unfinished", {"movie": "a"}).remove()
    assert not (tmp_path / "unfinished").exists()
