"""Titration of a simulated sparse movie against the curve that dense movies give directly.

The model's F1 against density, once by ``hdsmlm titrate`` from one sparse movie, whose truth it
does not know, and once on simulated movies of each density, whose truth is known: with the noise of
the sums (what titration should agree with) and with the noise of the sparse movie.

Usage: python benchmarks/titration_accuracy.py --out FOLDER [--frames 1200] [--size 64]
       [--density 0.08] [--photons 1500] [--camera emccd|scmos] [--factors 1,2,5,10,20,40]
       [--limit 0.9] [--seed 5]
Prints a Markdown table and the densities at which F1 falls below the limit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hdsmlm.bundle import load_bundle
from hdsmlm.config.binning import BinningConfig
from hdsmlm.config.camera import CameraConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.titration import TitrationConfig
from hdsmlm.io.movies import open_movie
from hdsmlm.io.movies.writing import write_tiff_movie
from hdsmlm.pipelines.score_binned import BinnedScore, SequenceChoice, score_binned
from hdsmlm.pipelines.sparse import SparseJob, measure_sparse
from hdsmlm.pipelines.sums import Sums, SumScene
from hdsmlm.pipelines.titrate import TitrateJob, Titration, reliable_density, titrate_movie
from hdsmlm.simulation.recording import Recording
from virtual_experiments import CAMERAS, PIXEL_NM, record

START_FRAMES = 64
"""Frames that are left out: at the start fewer molecules emit."""


class Direct:
    """A simulated movie as a recording of sequences without doubt."""

    pixel_size_nm = PIXEL_NM

    def __init__(
        self, options: argparse.Namespace, density: float, camera: CameraConfig, like: BinningConfig
    ) -> None:
        made = record(options, density, options.seed, 1)
        recording = Recording(
            made.conditions.model_copy(update={"camera": camera}),
            (options.size, options.size),
            (options.seed + 1, 17),
        )
        recording.read(START_FRAMES)
        self.n_sequences, length = like.sequences, like.sequence_frames
        self.shape = (length, options.size, options.size)
        self._frames, table = recording.read(length * self.n_sequences)
        self._table = table.with_columns(
            frame=table["frame"] - START_FRAMES, flags=np.zeros(len(table), np.int64)
        )

    def sequence(self, index: int) -> SumScene:
        """Return one sequence."""
        first = index * self.shape[0]
        frames = self._frames[first : first + self.shape[0]]
        rows = np.searchsorted(self._table["frame"], [first, first + self.shape[0]])
        table = self._table.select(np.arange(*rows))
        table = table.with_columns(frame=table["frame"] - first)
        return SumScene(frames, table, PIXEL_NM, background=0.0, clipped=0)


def direct_scores(
    options: argparse.Namespace, factors: list[int], cameras: dict[int, CameraConfig]
) -> list[BinnedScore]:
    """Score the model on simulated movies of the densities, each with a camera of its own."""
    like = TitrationConfig().binning
    choices = []
    for n in factors:
        movie = Direct(options, n * options.density, cameras[n], like)
        choices.append(SequenceChoice(f"{n}x", movie, np.arange(movie.n_sequences)))
    return list(score_binned(load_bundle(options.model), choices))


def titrated(options: argparse.Namespace, factors: list[int]) -> tuple[Titration, SparseJob]:
    """Simulate the sparse movie and titrate it; camera and PSF are known."""
    sparse = record(options, options.density, options.seed, options.frames)
    path = options.out / "sparse.tif"
    write_tiff_movie(path, iter(sparse.frames), sparse.frames.shape, PIXEL_NM)
    microscope = MicroscopeConfig(
        camera=sparse.conditions.camera, psf=sparse.conditions.psf, pixel_size_nm=PIXEL_NM
    )
    job = SparseJob(path, options.model, microscope)
    config = TitrationConfig(factors=tuple(factors), reliable_f1=options.limit)
    return titrate_movie(TitrateJob(job, options.out, overwrite=True), config), job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="wolf")
    parser.add_argument("--camera", choices=sorted(CAMERAS), default="emccd")
    parser.add_argument("--frames", type=int, default=1200)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--density", type=float, default=0.08)
    parser.add_argument("--photons", type=float, default=1500.0)
    parser.add_argument("--factors", default="1,2,5,10,20,40")
    parser.add_argument("--limit", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    result, job = titrated(options, [int(part) for part in options.factors.split(",")])
    factors = [step.factor for step in result.steps]
    binning = TitrationConfig().binning
    with open_movie(job.movie) as reader:
        sparse = measure_sparse(reader, job, binning, options.out)
        noisy = {n: Sums(sparse, binning, n).camera_config for n in factors}
    own = dict.fromkeys(factors, CAMERAS[options.camera])
    curves = {"titration": [step.score.detection for step in result.steps]}
    for name, cameras in (("noise of the sums", noisy), ("noise of one frame", own)):
        scores = direct_scores(options, factors, cameras)
        curves[f"direct, {name}"] = [score.detection for score in scores]
    print("| n | true /µm² | titrated /µm² |", " | ".join(f"F1, {name}" for name in curves), "|")
    print(f"|{'---|' * (3 + len(curves))}")
    for k, step in enumerate(result.steps):
        found = (curve[k] for curve in curves.values())
        cells = (f"{one.f1:.3f} (r {one.recall:.3f}, p {one.precision:.3f})" for one in found)
        true = step.factor * options.density
        print(
            f"| {step.factor} | {true:.2f} | {step.density_per_um2:.2f} |", " | ".join(cells), "|"
        )
    for name, curve in curves.items():
        x = [n * options.density for n in factors]
        if name == "titration":
            x = [step.density_per_um2 for step in result.steps]
        at, bounded = reliable_density(x, [one.f1 for one in curve], options.limit)
        least = "" if bounded else "at least "
        print(f"F1 >= {options.limit:g}, {name}: up to {least}{at:.2f} per um2")
    for note in result.notes:
        print("note:", note)


if __name__ == "__main__":
    main()
