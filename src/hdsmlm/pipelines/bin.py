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

from hdsmlm.binning.adding import BinnedSequence, add_sequences, sum_read_variance_e2
from hdsmlm.binning.plan import PlanRules, draw_sum
from hdsmlm.bundle import load_bundle
from hdsmlm.config.base import write_yaml
from hdsmlm.config.binning import BinningConfig
from hdsmlm.config.camera import CameraConfig, EmccdConfig, ScmosConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.errors import OutputError
from hdsmlm.imaging.build import build_camera
from hdsmlm.imaging.camera import MAX_ADU, Camera
from hdsmlm.imaging.snr import background_snr
from hdsmlm.io.movies import open_movie
from hdsmlm.io.movies.writing import write_tiff_movie
from hdsmlm.io.tables import TableWriter, open_table_writer
from hdsmlm.io.writing import atomic_path, output_folder
from hdsmlm.pipelines.sparse import Sparse, SparseJob, measure_sparse
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.provenance import Provenance, file_sha256
from hdsmlm.simulation.recording import TRUTH_COLUMNS
from hdsmlm.units import density_per_um2

MOVIE, TRUTH, CAMERA, BINNING = "movie.tif", "truth.csv", "camera.yaml", "binning.yaml"
"""Files of the folder; ``binning.yaml`` is written last."""
DOUBTFUL = 1
"""Value of ``flags`` in the truth for a doubtful spot; 0 is a label."""
_BASELINE_SIGMAS = 6.0


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
    with closing(
        open_movie(job.sparse.movie, allow_truncated=job.sparse.allow_truncated)
    ) as reader:
        sparse = measure_sparse(reader, job.sparse, config, folder, listener)
        rules = sparse.rules(config)
        rules.check()
        done.unlink(missing_ok=True)
        writer = _Writer(sparse, rules, config, folder, listener)
        facts = writer.run()
    provenance = Provenance(
        "bin",
        config.model_dump(mode="json"),
        {**sparse.parents, f"model {job.sparse.model}": load_bundle(job.sparse.model).sha256},
    )
    facts["provenance"] = dataclasses.asdict(provenance)
    with atomic_path(done) as temporary:
        temporary.write_text(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True), "utf-8")
    return BinnedMovie(folder, facts, sparse.notes)


class _Writer:
    """Writes frames and truth, sequence by sequence."""

    def __init__(
        self,
        sparse: Sparse,
        rules: PlanRules,
        config: BinningConfig,
        folder: Path,
        listener: Listener,
    ) -> None:
        self.sparse, self.rules, self.config, self.folder = sparse, rules, config, folder
        self.listener = listener
        level = float(np.mean(sparse.movie.backgrounds.at(0)))
        self.read_variance_e2 = sum_read_variance_e2(
            sparse.camera, level, config.factor, config.backgrounds_kept
        )
        self.camera_config = camera_of_sums(
            sparse.microscope.camera, sparse.camera, self.read_variance_e2
        )
        self.camera = build_camera(self.camera_config, rules.shape)
        self.n_emitters = self.n_doubtful = self.clipped = self.next_id = 0
        self.light = 0.0

    def run(self) -> dict[str, Any]:
        rules, config, folder = self.rules, self.config, self.folder
        p = self.sparse.movie.pixel_size_nm
        shape = (config.sequences * rules.sequence_frames, *rules.shape)
        columns = (*TRUTH_COLUMNS, "flags")
        with (
            open_table_writer(folder / TRUTH, columns) as truth,
            atomic_path(folder / MOVIE) as temporary,
        ):
            write_tiff_movie(temporary, self._frames(truth), shape, p)
        microscope = MicroscopeConfig(
            camera=self.camera_config,
            psf=self.sparse.microscope.psf,
            pixel_size_nm=p,
            notes=(
                f"a movie of sums of {rules.factor} frames: the read noise stands for what the "
                "subtracted backgrounds left",
            ),
        )
        with atomic_path(folder / CAMERA) as temporary:
            write_yaml(microscope, temporary)
        return self._facts(shape)

    def _frames(self, truth: TableWriter) -> Iterator[NDArray[np.uint16]]:
        config = self.config
        for index in range(config.sequences):
            summands = draw_sum(self.rules, config.seed, index)
            sequence = add_sequences(
                self.sparse.movie, summands, self.rules, config.backgrounds_kept, self.next_id
            )
            self.next_id = int(sequence.emitters["blink_id"].max(initial=self.next_id - 1)) + 1
            truth.append(self._labels(sequence, index))
            adu = np.rint(self.camera.mean_adu(sequence.photons))
            self.clipped += int(((adu < 0) | (adu > MAX_ADU)).sum())
            self.light += float(sequence.background.mean()) / config.sequences
            yield from np.clip(adu, 0, MAX_ADU).astype(np.uint16)
            self.listener(Event("bin", index + 1, config.sequences, f"{self.n_emitters} emitters"))

    def _labels(self, sequence: BinnedSequence, index: int) -> Emitters:
        """Return the rows of the truth of one sequence."""
        table, p = sequence.emitters, self.sparse.movie.pixel_size_nm
        height, width = self.rules.shape
        row = np.clip((table["y_nm"] / p).astype(int), 0, height - 1)
        column = np.clip((table["x_nm"] / p).astype(int), 0, width - 1)
        background = sequence.background[row, column]
        if self.config.snr_of == "frame":
            snr = table["snr"]
        else:
            peak = self.sparse.peaks(table)
            snr = background_snr(
                table["photons"],
                peak,
                background,
                self.camera,
                np.full(len(table), self.read_variance_e2),
            )
        self.n_emitters += int(sequence.sound.sum())
        self.n_doubtful += int((~sequence.sound).sum())
        zeros = np.zeros(len(table))

        def column_or(name: str, other: NDArray[np.float64]) -> NDArray[np.float64]:
            return table[name] if name in table else other  # noqa: SIM401

        return Emitters(
            {
                "frame": table["frame"] + index * self.rules.sequence_frames,
                "x_nm": table["x_nm"],
                "y_nm": table["y_nm"],
                "z_nm": column_or("z_nm", zeros),
                "photons": table["photons"],
                "background": background,
                "sigma_nm": column_or("sigma_nm", zeros),
                "snr": snr,
                "emitter_id": table["emitter_id"],
                "blink_id": table["blink_id"],
                "flags": np.where(sequence.sound, 0, DOUBTFUL),
            }
        ).sorted()

    def _facts(self, shape: tuple[int, int, int]) -> dict[str, Any]:
        sparse, config, folder = self.sparse, self.config, self.folder
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
            "lag_frames": self.rules.lag_frames,
            "correlation_lag_frames": sparse.correlation_lag_frames,
            "correlation": sparse.correlation_record(),
            "source_sha256": digest,
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
            "read_noise_input_e": round(float(np.sqrt(self.read_variance_e2)), 6),
            "clipped_pixels": self.clipped,
            "movie_sha256": file_sha256(folder / MOVIE),
            "truth_sha256": file_sha256(folder / TRUTH),
        }


def camera_of_sums(config: CameraConfig, camera: Camera, read_variance_e2: float) -> CameraConfig:
    """Return the camera that a movie of sums looks like it was taken with.

    Gain and quantum efficiency are those of the sparse movie (medians of maps), the read noise has
    ``read_variance_e2`` (photo-electrons² at the input), and the baseline is higher by six of its
    standard deviations, so that no grey value falls below zero. A camera without read noise becomes
    an sCMOS camera of the same numbers, since that kind has one.
    """
    read_noise_e = float(np.sqrt(read_variance_e2))
    dark, light = (float(np.median(camera.mean_adu(value))) for value in (0.0, 1.0))
    gain = (light - dark) / camera.quantum_efficiency
    baseline_adu = round(dark - gain * camera.dark_e + _BASELINE_SIGMAS * gain * read_noise_e)
    if isinstance(config, EmccdConfig):
        noise = {"read_noise_e": read_noise_e * config.em_gain, "baseline_adu": baseline_adu}
        return config.model_copy(update=noise)
    return ScmosConfig(
        quantum_efficiency=config.quantum_efficiency,
        gain_adu_per_e=gain,
        read_noise_e=read_noise_e,
        baseline_adu=baseline_adu,
        dark_e=camera.dark_e,
    )
