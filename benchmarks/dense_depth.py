"""`localize` on dense simulated movies in three dimensions, beside the Cramér-Rao bound.

    python benchmarks/dense_depth.py [--frames 40] [--fits joint,frame]

The movies of `dense_fit.py` with an astigmatic PSF: foci of the two axes 500 nm apart, molecules
uniform within 300 nm of the middle, which is given to the program. Pairs are made laterally (within
250 nm, nearest first), so that a wrong depth costs no pair; depth is scored over the pairs. The
spread of error over standard error, axis by axis, tests the standard errors. One movie per cell, of
a seed that nothing was tuned on.
"""

from __future__ import annotations

import argparse

import numpy as np

from dense_fit import BORDER_NM, PIXEL_NM, Movie, bounds_of_rows, ours, simulate
from hdsmlm.config.psf import AstigmaticPsfConfig
from hdsmlm.evaluation.matching import inside_border, match_within
from hdsmlm.evaluation.scores import score
from hdsmlm.records.emitters import Emitters

Z_RANGE_NM = 300.0
HEADS = (
    "photons", "per µm²", "fit", "Jaccard", "lateral RMSE nm", "median lateral error nm",
    "bound, frames nm", "bound, space-time nm", "z RMSE nm", "median z error nm",
    "z bound, frames nm", "z bound, space-time nm", "z bias nm", "z-scores x, y, z",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--seed", type=int, default=31_118)
    parser.add_argument("--photons", default="5000,1000")
    parser.add_argument("--densities", default="0.5,1,2,4")
    parser.add_argument("--fits", default="joint", help="joint, frame, or both by comma")
    parser.add_argument("--model", default="wolf")
    options = parser.parse_args()
    print("| " + " | ".join(HEADS) + " |")
    print("|---" * len(HEADS) + "|")
    for photons in map(int, options.photons.split(",")):
        for density in map(float, options.densities.split(",")):
            movie = simulate(
                photons, density, options.frames, options.seed, AstigmaticPsfConfig(), Z_RANGE_NM
            )
            bounds = bounds_of_rows(movie)
            for fit in options.fits.split(","):
                found, _ = ours(movie, fit, options.model)
                cells = [f"{photons}", f"{density:g}", fit, *measure(movie, found, bounds)]
                print("| " + " | ".join(cells) + " |", flush=True)


def measure(movie: Movie, found: Emitters, bounds: dict[str, np.ndarray]) -> list[str]:
    """Return the cells of a row of the table, from "Jaccard" on."""
    truth = movie.truth.select(inside_border(movie.truth, movie.field, BORDER_NM))
    found = found.select(inside_border(found, movie.field, BORDER_NM))
    pairs = match_within(truth, found, 250.0)
    result = score(pairs)
    hit, guess = truth.select(pairs.truth_rows), found.select(pairs.predicted_rows)
    error = np.stack([guess[f"{axis}_nm"] - hit[f"{axis}_nm"] for axis in "xyz"])
    z_score = error / np.stack([guess[f"uncertainty_{axis}_nm"] for axis in "xyz"])
    spread = 1.4826 * np.median(np.abs(z_score), axis=1)
    lateral = {
        name: PIXEL_NM * np.median(np.hypot(bound[:, 0], bound[:, 1]))
        for name, bound in bounds.items()
    }
    depth = {name: np.median(bound[:, 2]) for name, bound in bounds.items()}
    values = (
        result.rmse_nm, np.median(pairs.distances_nm), lateral["frame"], lateral["joint"],
        np.sqrt(np.mean(error[2] ** 2)), np.median(np.abs(error[2])), depth["frame"],
        depth["joint"], np.median(error[2]),
    )  # fmt: skip
    texts = [f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" for value in values]
    return [f"{result.jaccard:.3f}", *texts, ", ".join(f"{value:.2f}" for value in spread)]


if __name__ == "__main__":
    main()
