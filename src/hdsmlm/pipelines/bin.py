"""Bin: from a sparse movie to a dense one with labels, for training and for tests."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from hdsmlm.binning.folder import BINNING, CAMERA, MOVIE, TRUTH
from hdsmlm.bundle import load_bundle
from hdsmlm.config.base import write_yaml
from hdsmlm.config.binning import BinningConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.errors import OutputError
from hdsmlm.io.movies import open_movie
from hdsmlm.io.movies.writing import write_tiff_movie
from hdsmlm.io.tables import TableWriter, open_table_writer
from hdsmlm.io.writing import atomic_path, output_folder
from hdsmlm.pipelines.sparse import NOTE_SUFFIX, SparseJob, measure_sparse
from hdsmlm.pipelines.sums import Sums
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.provenance import Provenance, file_sha256
from hdsmlm.simulation.recording import TRUTH_COLUMNS
from hdsmlm.units import density_per_um2


@dataclass(frozen=True)
class BinJob:
    """What to bin and where to.

    Parameters
    ----------
    sparse : SparseJob
        The movie, its microscope and the model that localizes it.
    out : Path
        Folder; is created.
    overwrite : bool
        Replace a binned movie that is there.
    """

    sparse: SparseJob
    out: Path
    overwrite: bool = False


@dataclass(frozen=True)
class BinnedMovie:
    """What :func:`bin_movie` wrote.

    Parameters
    ----------
    folder : Path
        Where the files lie.
    facts : dict
        The content of ``binning.yaml``.
    notes : tuple of str
        Remarks for the user.
    """

    folder: Path
    facts: dict[str, Any]
    notes: tuple[str, ...]

    def to_text(self) -> str:
        """Return a short text for a person."""
        f = self.facts
        correlation = (
            "not measured (the summands are separated in space)"
            if f["augment"] and f["correlation_lag_frames"] is None
            else f"{f['lag_frames']} frames apart"
        )
        lines = [
            f"sparse movie       {f['source_frames']} frames, {f['sparse_sound']} sound "
            f"localizations and {f['sparse_doubtful']} doubtful spots, "
            f"{f['sparse_density_per_um2']:.3g} per um2 and frame",
            f"blinks             {correlation}",
            f"binned movie       {f['sequences']} sequences of {f['sequence_frames']} frames, each "
            f"the sum of {f['factor']}; {f['height']} x {f['width']} pixels",
            f"labels             {f['n_emitters']} emitters, {f['density_per_um2']:.3g} per um2 "
            f"and frame; {f['n_doubtful']} doubtful spots",
            f"background         {f['background_photons']:.3g} photons per pixel, noise as of a "
            f"camera with {f['read_noise_input_e']:.3g} e- of read noise",
        ]
        if f["clipped_pixels"]:
            lines.append(f"clipped            {f['clipped_pixels']} pixels left the 16-bit range")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines) + "\n"


def bin_movie(job: BinJob, config: BinningConfig, listener: Listener = silent) -> BinnedMovie:
    """Localize a sparse movie, add up sequences of it, and write the dense movie with labels.

    Writes ``movie.tif``, ``truth.csv``, ``camera.yaml`` and, when all is done, ``binning.yaml``;
    the localizations stay in ``sparse.csv``, from which a stopped run goes on.

    Raises
    ------
    MovieError, BundleError, ConfigError, TableError, OutputError
        For everything that the user can mend.
    """
    folder = output_folder(Path(job.out))
    done = folder / BINNING
    if done.exists() and not job.overwrite:
        raise OutputError(
            f"{folder} already holds a binned movie; choose another --out, or replace it with "
            "--overwrite"
        )
    _require_own_folder(folder)
    with closing(
        open_movie(job.sparse.movie, allow_truncated=job.sparse.allow_truncated)
    ) as reader:
        sparse = measure_sparse(reader, job.sparse, config, folder, listener)
        sums = Sums(sparse, config)
        done.unlink(missing_ok=True)
        facts = _Writer(sums, folder, listener).run()
    provenance = Provenance(
        "bin",
        config.model_dump(mode="json"),
        {**sparse.parents, f"model {job.sparse.model}": load_bundle(job.sparse.model).sha256},
    )
    facts["provenance"] = dataclasses.asdict(provenance)
    with atomic_path(done) as temporary:
        temporary.write_text(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True), "utf-8")
    return BinnedMovie(folder, facts, sparse.notes)


def _require_own_folder(folder: Path) -> None:
    """Refuse a folder whose files of the same names are not an earlier run's.

    Raises
    ------
    OutputError
        Naming the file in the way.
    """
    ours = (folder / BINNING).exists() or any(folder.glob(f"*{NOTE_SUFFIX}"))
    there = [name for name in (MOVIE, TRUTH, CAMERA) if (folder / name).exists()]
    if there and not ours:
        raise OutputError(
            f"{folder} holds a {there[0]} that `hdsmlm bin` did not write; choose another --out"
        )


class _Writer:
    """Writes frames and truth, sequence by sequence."""

    def __init__(self, sums: Sums, folder: Path, listener: Listener) -> None:
        self.sums, self.folder, self.listener = sums, folder, listener
        self.n_emitters = self.n_doubtful = self.clipped = self.next_id = 0
        self.light = 0.0

    def run(self) -> dict[str, Any]:
        sums, folder = self.sums, self.folder
        length, height, width = sums.shape
        shape = (sums.n_sequences * length, height, width)
        with (
            open_table_writer(folder / TRUTH, (*TRUTH_COLUMNS, "flags")) as truth,
            atomic_path(folder / MOVIE) as temporary,
        ):
            write_tiff_movie(temporary, self._frames(truth), shape, sums.pixel_size_nm)
        microscope = MicroscopeConfig(
            camera=sums.camera_config,
            psf=sums.sparse.microscope.psf,
            pixel_size_nm=sums.pixel_size_nm,
            notes=(
                f"sums of {sums.rules.factor} frames each: the read noise stands for what the "
                "subtracted backgrounds left",
            ),
        )
        with atomic_path(folder / CAMERA) as temporary:
            write_yaml(microscope, temporary)
        return self._facts(shape)

    def _frames(self, truth: TableWriter) -> Iterator[NDArray[np.uint16]]:
        n = self.sums.n_sequences
        for index in range(n):
            scene = self.sums.sequence(index, self.next_id)
            table = scene.table
            self.next_id = int(table["blink_id"].max(initial=self.next_id - 1)) + 1
            truth.append(table.with_columns(frame=table["frame"] + index * self.sums.shape[0]))
            self.n_doubtful += int((table["flags"] != 0).sum())
            self.n_emitters += int((table["flags"] == 0).sum())
            self.clipped += scene.clipped
            self.light += scene.background / n
            yield from scene.frames
            self.listener(Event("bin", index + 1, n, f"{self.n_emitters} emitters"))

    def _facts(self, shape: tuple[int, int, int]) -> dict[str, Any]:
        sums, folder = self.sums, self.folder
        sparse, config = sums.sparse, sums.config
        p = sparse.movie.pixel_size_nm
        n_frames = shape[0]
        sound = int(sparse.movie.sound.sum())
        digest = hashlib.sha256("".join(sorted(sparse.parents.values())).encode()).hexdigest()
        return {
            "factor": config.factor,
            "sequence_frames": config.sequence_frames,
            "sequences": config.sequences,
            "height": shape[1],
            "width": shape[2],
            "pixel_size_nm": p,
            "seed": config.seed,
            "augment": config.augment,
            "rotate": sums.rules.rotate,
            "lag_frames": sums.rules.lag_frames,
            "correlation_lag_frames": sparse.correlation_lag_frames,
            "correlation": sparse.correlation_record(),
            "source_sha256": digest,
            "microscope": sparse.microscope.model_dump(mode="json"),
            "source_frames": sparse.n_frames,
            "sparse_sound": sound,
            "sparse_doubtful": len(sparse.movie.sound) - sound,
            "sparse_density_per_um2": round(sparse.density_per_um2, 6),
            "n_emitters": self.n_emitters,
            "n_doubtful": self.n_doubtful,
            "density_per_um2": round(
                density_per_um2(self.n_emitters / n_frames, shape[1], shape[2], p), 6
            ),
            "background_photons": round(self.light, 6),
            "read_noise_input_e": round(float(np.sqrt(sums.read_variance_e2)), 6),
            "clipped_pixels": self.clipped,
            "movie_sha256": file_sha256(folder / MOVIE),
            "truth_sha256": file_sha256(folder / TRUTH),
        }
