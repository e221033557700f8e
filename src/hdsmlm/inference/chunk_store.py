"""Finished chunks of an unfinished run on disk, so that a killed run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from hdsmlm.errors import OutputError
from hdsmlm.io.writing import atomic_path, output_folder, writing
from hdsmlm.normalization import Normalizer
from hdsmlm.records.emitters import Emitters

_KEY_FILE = "run.json"
_NORMALIZER_FILE = "normalizer.json"
_OWNER_FILE = "running.pid"
WORKERS = "workers"
"""Folder of those who help the owner; goes when the run does."""
_OWN_FILES = (
    _KEY_FILE,
    _NORMALIZER_FILE,
    "chunk_*.npz",
    "chunk_*_map.npy",
    ".*.part",
    _OWNER_FILE,
)
"""In the order in which they are removed: chunks without a key belong to nobody."""
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)
"""What damaged or shortened files raise."""


@dataclass(frozen=True)
class ChunkResult:
    """What one chunk of frames gave.

    Parameters
    ----------
    emitters : Emitters
        Decoded emitters, sorted.
    expected_per_frame : array, shape (t,)
        Sum of the expected counts of each frame.
    """

    emitters: Emitters
    expected_per_frame: NDArray[np.float64]


class ChunkStore:
    """Folder with the finished chunks of one run, which is known by the hash of all its inputs.

    Parameters
    ----------
    folder : Path
        Is created. Chunks without the key of their run, as a stopped removal leaves them, are
        removed.
    inputs : mapping
        Everything that the result depends on, as plain values.
    discard : bool
        Drop the unfinished run of other inputs that may lie there.
    join : bool
        Work on the run that another process has opened there.

    Raises
    ------
    OutputError
        When an unfinished run with other inputs is there and may not be dropped, another process
        is at work there, or the folder cannot be written.
    """

    def __init__(
        self, folder: Path, inputs: Mapping[str, Any], *, discard: bool = False, join: bool = False
    ) -> None:
        self.folder = folder
        if not join:
            self._refuse_company()
        key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
        there = self._read_key()
        if join:
            if there != key:
                raise OutputError(
                    f"the run in {folder} is not the one that this worker was started for: movie, "
                    "model, engine or program differ between machines, or it was removed"
                )
            return
        if there is not None and there != key:
            if not discard:
                raise OutputError(
                    f"{folder} holds an unfinished run of another movie, model or settings; repeat "
                    "that command to finish it, choose another output folder, or drop it with "
                    "--overwrite"
                )
            self.remove()
        output_folder(folder)
        if self._read_key() is None:
            self._remove_files()
            with atomic_path(folder / _KEY_FILE) as part:
                text = json.dumps({"key": key, "inputs": inputs}, indent=2)
                part.write_text(text, encoding="utf-8")
        with atomic_path(folder / _OWNER_FILE) as part:
            part.write_text(str(os.getpid()), encoding="utf-8")

    def _refuse_company(self) -> None:
        """Refuse a folder in which another living process is at work."""
        path = self.folder / _OWNER_FILE
        try:
            owner = int(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if owner != os.getpid() and psutil.pid_exists(owner):
            raise OutputError(
                f"another run (process {owner}) is at work in {self.folder.parent}; wait until it "
                f"is done or choose another output folder. If no such run exists, delete {path}"
            )

    def _read_key(self) -> str | None:
        try:
            return str(json.loads((self.folder / _KEY_FILE).read_text(encoding="utf-8"))["key"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError):
            return ""  # unreadable: certainly not this run

    def normalizer(self) -> Normalizer | None:
        """Return the movie's normalizer where a run before has stored it readably."""
        try:
            text = (self.folder / _NORMALIZER_FILE).read_text(encoding="utf-8")
            return Normalizer.from_dict(json.loads(text))
        except _UNREADABLE:
            return None

    def keep_normalizer(self, normalizer: Normalizer) -> None:
        """Store the movie's normalizer."""
        with atomic_path(self.folder / _NORMALIZER_FILE) as part:
            part.write_text(json.dumps(normalizer.to_dict()), encoding="utf-8")

    def keep(
        self, index: int, result: ChunkResult, probabilities: NDArray[np.float32] | None
    ) -> None:
        """Store chunk ``index``; it counts as finished when its last file has its name."""
        if probabilities is not None:
            with atomic_path(self._map_path(index)) as part, part.open("wb") as stream:
                np.save(stream, probabilities)
        columns: dict[str, Any] = {name: result.emitters[name] for name in result.emitters.names}
        with atomic_path(self._table_path(index)) as part, part.open("wb") as stream:
            np.savez(stream, _expected_per_frame=result.expected_per_frame, **columns)

    def has(self, index: int, *, with_map: bool) -> bool:
        """Whether chunk ``index`` is finished and can be read, its map up to its size."""
        try:
            self.result(index)
            if with_map:
                self.take_map(index)
        except _UNREADABLE:
            return False
        return True

    def result(self, index: int) -> ChunkResult:
        """Return what a finished chunk gave."""
        with (
            self._table_path(index).open("rb") as stream,  # NumPy leaves a damaged file open
            np.load(stream, allow_pickle=False) as arrays,
        ):
            columns = {name: arrays[name] for name in arrays.files if not name.startswith("_")}
            return ChunkResult(Emitters(columns), arrays["_expected_per_frame"])

    def take_map(self, index: int) -> NDArray[np.float32]:
        """Return the probabilities of a finished chunk, mapped from disk."""
        return np.load(self._map_path(index), mmap_mode="r", allow_pickle=False)

    def drop_map(self, index: int) -> None:
        """Free the disk that the probabilities of a chunk take; it then counts as unfinished."""
        with writing(self.folder):
            self._map_path(index).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the run, and the folder unless something else lies in it."""
        self._remove_files()
        with writing(self.folder):
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _remove_files(self) -> None:
        with writing(self.folder):
            for pattern in _OWN_FILES:
                for path in self.folder.glob(pattern):
                    path.unlink(missing_ok=True)
            if (self.folder / WORKERS).is_dir():
                shutil.rmtree(self.folder / WORKERS)

    def _table_path(self, index: int) -> Path:
        return self.folder / f"chunk_{index:06d}.npz"

    def _map_path(self, index: int) -> Path:
        return self.folder / f"chunk_{index:06d}_map.npy"
