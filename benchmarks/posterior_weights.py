"""Whether the posterior weights of the joint fit are what they say, in dense movies with truth.

    python benchmarks/posterior_weights.py [--frames 40] [--photons 1000]

The movies are those of ``dense_fit.py`` with another seed. Localizations count as true where they
are matched one to one with an emitter of their frame within 150 nm; alternatives are matched with
the emitters that no localization was matched with. Beside the share of rows that are true stands
what as many rows at random places reach.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from dense_fit import BORDER_NM, PIXEL_NM, SIGMA_PX, SIZE, Movie, simulate
from hdsmlm.config.camera import EmccdConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.psf import GaussianPsfConfig
from hdsmlm.evaluation.matching import inside_border, match_within
from hdsmlm.io.movies.array import ArrayMovie
from hdsmlm.io.tables import read_table
from hdsmlm.pipelines.localize import LocalizeJob, localize_movie
from hdsmlm.records.emitters import Emitters

RADIUS_NM = 150.0
EDGES = (0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99, 1.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--photons", type=int, default=1000)
    parser.add_argument("--densities", default="1,2,4")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--model", default="wolf")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    for density in map(float, options.densities.split(",")):
        movie = simulate(options.photons, density, options.frames, options.seed)
        found, others = tables(movie, options.model)
        truth, found, others = (inside(table, movie) for table in (movie.truth, found, others))
        pairs = match_within(truth, found, RADIUS_NM)
        missed = np.ones(len(truth), np.bool_)
        missed[pairs.truth_rows] = False
        print(
            f"{options.photons} photons, {density:g} per µm²: {len(truth)} emitters, "
            f"{missed.sum()} not among the localizations"
        )
        print_weights("localizations", found, truth, rng)
        print_weights("alternatives", others, truth.select(missed), rng)


def tables(movie: Movie, model: str) -> tuple[Emitters, Emitters]:
    """Return localizations and alternatives of `hdsmlm localize`."""
    microscope = MicroscopeConfig(
        camera=EmccdConfig(), psf=GaussianPsfConfig(sigma_px=SIGMA_PX), pixel_size_nm=PIXEL_NM
    )
    with tempfile.TemporaryDirectory() as folder:
        out, others = Path(folder) / "found.parquet", Path(folder) / "others.parquet"
        reader = ArrayMovie(movie.frames, pixel_size_nm=PIXEL_NM)
        localize_movie(LocalizeJob(reader, out, model, microscope=microscope, alternatives=others))
        return read_table(out), read_table(others)


def inside(table: Emitters, movie: Movie) -> Emitters:
    """Leave out the border."""
    return table.select(inside_border(table, movie.field, BORDER_NM))


def print_weights(name: str, rows: Emitters, truth: Emitters, rng: np.random.Generator) -> None:
    """Print, by weight, how many rows there are and how many are true."""
    true = np.zeros(len(rows), np.bool_)
    true[match_within(truth, rows, RADIUS_NM).predicted_rows] = True
    low, high = BORDER_NM, SIZE * PIXEL_NM - BORDER_NM
    places = {f"{axis}_nm": rng.uniform(low, high, len(rows)) for axis in "xy"}
    random = len(match_within(truth, rows.with_columns(**places), RADIUS_NM)) / max(len(rows), 1)
    print(f"  {name}: weight, rows, mean weight, true ({random:.3f} at random places)")
    bins = np.digitize(rows["probability"], EDGES) - 1
    for k in np.unique(bins):
        here = bins == k
        print(
            f"    {EDGES[k]:.2f} to {min(EDGES[k + 1], 1):.2f} {here.sum():7d} "
            f"{rows['probability'][here].mean():7.3f} {true[here].mean():7.3f}"
        )


if __name__ == "__main__":
    main()
