"""Read a folder of ``hdsmlm bin``: frames sequence by sequence, truth and doubt, its making.

============  =================================================================================
movie.tif     sequences of consecutive frames, one after another
truth.csv     emitters; ``flags`` other than 0 marks a doubtful spot
camera.yaml   pixel size, camera and, where known, the point-spread function
binning.yaml  how it was made, and the SHA-256 of movie and truth
============  =================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.base import read_yaml
from hdsmlm.config.microscope import load_microscope
from hdsmlm.errors import ConfigError
from hdsmlm.io.movies import open_movie
from hdsmlm.io.tables import read_table
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.provenance import file_sha256

MOVIE, TRUTH, CAMERA, BINNING = "movie.tif", "truth.csv", "camera.yaml", "binning.yaml"
"""Files of the folder; ``binning.yaml`` is written last."""


@dataclass(frozen=True)
class FolderScene:
    """One sequence of a binned recording.

    Parameters
    ----------
    frames : array of uint16, shape (t, y, x)
        Grey values.
    emitters, doubtful : Emitters
        Truth, and spots of which it is not known how many emitters they are; frames count from the
        start of the sequence.
    pixel_size_nm : float
        Side of a pixel.
    """

    frames: NDArray[np.uint16]
    emitters: Emitters
    doubtful: Emitters
    pixel_size_nm: float


class FolderSequences:
    """The sequences of a folder; frames are read when asked for.

    Parameters
    ----------
    folder : Path
        What ``hdsmlm bin`` wrote.

    Raises
    ------
    ConfigError
        When a file is missing or the files do not fit each other.
    """

    def __init__(self, folder: Path) -> None:
        self.facts = read_facts(folder)
        microscope = load_microscope(folder / CAMERA)
        self._movie = open_movie(folder / MOVIE)
        info = self._movie.info
        size = microscope.pixel_size_nm or info.pixel_size_nm
        length = int(self.facts["sequence_frames"])
        if size is None or length < 1 or info.n_frames % length:
            raise ConfigError(
                f"{folder}: {info.n_frames} frames of {size} nm are no whole number of sequences "
                f"of {length} frames with a pixel size; make the folder again with `hdsmlm bin`"
            )
        self.pixel_size_nm = float(size)
        self.astigmatic = microscope.psf is not None and microscope.psf.kind != "gaussian"
        self.n_sequences = info.n_frames // length
        self.shape = (length, info.height, info.width)
        self.table = read_table(folder / TRUTH, first_frame=1).sorted()
        self.doubtful = (
            self.table["flags"] != 0 if "flags" in self.table else np.zeros(len(self.table), bool)
        )
        self._edges = np.searchsorted(self.table["frame"], np.arange(self.n_sequences + 1) * length)

    def sequence(self, index: int) -> FolderScene:
        """Return one sequence."""
        first = index * self.shape[0]
        frames = np.asarray(self._movie.read(first, first + self.shape[0]), dtype=np.uint16)
        rows = np.arange(self._edges[index], self._edges[index + 1])
        table = self.table.select(rows)
        table = table.with_columns(frame=table["frame"] - first)
        doubtful = self.doubtful[rows]
        return FolderScene(
            frames, table.select(~doubtful), table.select(doubtful), self.pixel_size_nm
        )


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what the folder says of its making.

    Raises
    ------
    ConfigError
        When there is no such folder, or not all of its files; says what to do.
    """
    missing = [name for name in (BINNING, MOVIE, TRUTH, CAMERA) if not (folder / name).is_file()]
    if missing:
        what = "there is no such folder" if not folder.is_dir() else f"it has no {missing[0]}"
        raise ConfigError(
            f"binned source {folder}: {what}; make it with `hdsmlm bin MOVIE --factor 5 --out "
            f"{folder}`, or correct the path (a relative one starts where the program is called)"
        )
    return read_yaml(folder / BINNING)


def check_hashes(folder: Path, expected: dict[str, str]) -> None:
    """Compare the files with what the folder says of them.

    Raises
    ------
    ConfigError
        When a file was changed since it was made.
    """
    for name, digest in expected.items():
        if file_sha256(folder / name) != digest:
            raise ConfigError(
                f"binned source {folder}: {name} is not what {BINNING} says (SHA-256 differs): it "
                "was changed or copied in part; make the folder again with `hdsmlm bin`"
            )
