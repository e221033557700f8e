"""The binned sources of a run, opened and checked: do they fit it, and what exactly are they."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.binning.folder import MOVIE, TRUTH, FolderSequences, check_hashes
from hdsmlm.config.data import BinnedSource
from hdsmlm.config.run import RunConfig
from hdsmlm.errors import ConfigError
from hdsmlm.training.binned import Sequences, held_out_rows


@dataclass(frozen=True)
class SourceIdentity:
    """What a binned source is, wherever it lies.

    Parameters
    ----------
    name : str
        Name in tables.
    movie_sha256, truth_sha256 : str
        Hashes of its movie and of its truth.
    origin_sha256 : str
        Hash of the sparse movie that it was made from.
    factor : int
        Frames that were added up to one.
    n_sequences, sequence_frames : int
        How many sequences of how many frames.
    height, width : int
        Size of a frame, pixels.
    pixel_size_nm : float
        Side of a pixel.
    n_emitters, n_doubtful : int
        Rows of the truth, and the doubtful spots beside them.
    """

    name: str
    movie_sha256: str
    truth_sha256: str
    origin_sha256: str
    factor: int
    n_sequences: int
    sequence_frames: int
    height: int
    width: int
    pixel_size_nm: float
    n_emitters: int
    n_doubtful: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class OpenSource:
    """A binned source that fits the run.

    Parameters
    ----------
    sequences : Sequences
        Its frames and truth.
    learnt_rows, held_out_rows : array of int
        Sequences to learn from, and those to score.
    rotate : bool
        Whether patches are turned by 90 degrees.
    identity : SourceIdentity
        What it is.
    """

    sequences: Sequences
    learnt_rows: NDArray[np.intp]
    held_out_rows: NDArray[np.intp]
    rotate: bool
    identity: SourceIdentity


def open_sources(config: RunConfig, verify: bool = False) -> tuple[OpenSource, ...]:
    """Open every binned source of a run, in order.

    Parameters
    ----------
    config : RunConfig
        The run.
    verify : bool
        Hash the files and compare them with what their folder says of them.

    Raises
    ------
    ConfigError
        When a folder is missing, damaged, or does not fit the frames, the patches or the pixel
        sizes of the run.
    """
    return tuple(_open(source, config, verify) for source in config.data.binned)


@dataclass(frozen=True)
class OpenFolder:
    """A folder of ``hdsmlm bin``, whatever it is used for.

    Parameters
    ----------
    sequences : Sequences
        Its frames and truth.
    identity : SourceIdentity
        What it is.
    astigmatic : bool
        Whether it says that its PSF is astigmatic.
    """

    sequences: Sequences
    identity: SourceIdentity
    astigmatic: bool


def open_folder(folder: Path, name: str, verify: bool = False) -> OpenFolder:
    """Open a folder of ``hdsmlm bin``.

    Parameters
    ----------
    folder : Path
        The folder.
    name : str
        What it is called in tables.
    verify : bool
        Hash the files and compare them with what the folder says of them.

    Raises
    ------
    ConfigError
        When it is missing or damaged.
    """
    sequences = FolderSequences(folder)
    facts = sequences.facts
    hashes = {MOVIE: str(facts["movie_sha256"]), TRUTH: str(facts["truth_sha256"])}
    if verify:
        check_hashes(folder, hashes)
    _, height, width = sequences.shape
    n_doubtful = int(sequences.doubtful.sum())
    identity = SourceIdentity(
        name=name,
        movie_sha256=hashes[MOVIE],
        truth_sha256=hashes[TRUTH],
        origin_sha256=str(facts["source_sha256"]),
        factor=int(facts["factor"]),
        n_sequences=sequences.n_sequences,
        sequence_frames=sequences.shape[0],
        height=height,
        width=width,
        pixel_size_nm=sequences.pixel_size_nm,
        n_emitters=len(sequences.table) - n_doubtful,
        n_doubtful=n_doubtful,
    )
    return OpenFolder(sequences, identity, sequences.astigmatic)


def _open(source: BinnedSource, config: RunConfig, verify: bool) -> OpenSource:
    folder = open_folder(source.folder, source.title, verify)
    _check_fit(folder, config)
    learnt, held_out = held_out_rows(folder.sequences.n_sequences)
    rotate = not folder.astigmatic if source.rotate is None else source.rotate
    return OpenSource(folder.sequences, learnt, held_out, rotate, folder.identity)


def _check_fit(folder: OpenFolder, config: RunConfig) -> None:
    """Refuse a recording that the patches of the run cannot be cut from, and say what would do."""
    what, training = folder.identity, config.training
    name = what.name
    if what.sequence_frames < training.frames:
        raise ConfigError(
            f"data.binned '{name}': its sequences have {what.sequence_frames} frames, the run "
            f"learns from {training.frames} (training.frames); bin the movie again with "
            f"--sequence-frames {training.frames}, or set training.frames={what.sequence_frames}"
        )
    if min(what.height, what.width) < training.patch_px:
        multiple = config.network.spatial_multiple
        largest = min(what.height, what.width) // multiple * multiple
        raise ConfigError(
            f"data.binned '{name}': its frames are {what.height} x {what.width} px, smaller than "
            f"a patch of {training.patch_px} px; set training.patch_px to at most {largest}"
        )
    low, high = config.simulation.pixel_size_nm
    if not 0.99 * low <= what.pixel_size_nm <= 1.01 * high:
        raise ConfigError(
            f"data.binned '{name}': its pixels are {what.pixel_size_nm:g} nm, outside of "
            f"simulation.pixel_size_nm {low:g}-{high:g}, which the model states as what it was "
            "trained on; widen that range, or leave the source out"
        )
    if not what.n_emitters:
        raise ConfigError(
            f"data.binned '{name}': its truth holds no emitter; look at the movie and bin it again"
        )
