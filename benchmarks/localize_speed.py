"""Frames a second of `localize` from movie to table, and its peak memory by length of the movie.

    python benchmarks/localize_speed.py [--frames 160,640,2560] [--density 2] [--fit joint]

EMCCD movies of 64x64 pixels as in `dense_fit.py`, camera and PSF given. A first short movie loads
the model and compiles and is not counted. Peak memory is that of the process so far: with a
movie four times as long it must stay. Wall-clock time is that of this machine with whatever else it
does.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import tifffile

from dense_fit import PIXEL_NM, SIGMA_PX, simulate
from hdsmlm.config.camera import EmccdConfig
from hdsmlm.config.localize import LocalizeConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.psf import GaussianPsfConfig
from hdsmlm.pipelines.localize import LocalizeJob, localize_movie

MICROSCOPE = MicroscopeConfig(
    camera=EmccdConfig(), psf=GaussianPsfConfig(sigma_px=SIGMA_PX), pixel_size_nm=PIXEL_NM
)
PIECE = 160


def main() -> None:
    """Print a line per length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", default="160,640,2560", help="lengths, ascending")
    parser.add_argument("--density", type=float, default=2.0, help="emitters per um2 and frame")
    parser.add_argument("--photons", type=int, default=1000)
    parser.add_argument("--fit", choices=("joint", "frame"), default="joint")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    config = LocalizeConfig(fit=options.fit, threads=options.threads)
    with tempfile.TemporaryDirectory() as folder:
        piece = simulate(options.photons, options.density, PIECE, seed=7).frames
        print("frames  frames/s  processor ms/frame  localizations/frame  peak MB")
        for number, length in enumerate([32, *map(int, options.frames.split(","))]):
            movie = Path(folder) / f"{length}.tif"
            with tifffile.TiffWriter(movie) as writer:  # the same frames again and again
                for index in range(length):
                    writer.write(piece[index % PIECE], contiguous=True)
            job = LocalizeJob(movie, Path(folder) / f"{length}.hdf5", microscope=MICROSCOPE)
            start, cpu = time.perf_counter(), time.process_time()
            summary = localize_movie(job, config)
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            if number:
                print(
                    f"{length:6d} {length / seconds:9.1f} {1e3 * cpu / length:19.1f} "
                    f"{summary.localizations / length:20.1f} {_peak_mb():8.0f}",
                    flush=True,
                )


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


if __name__ == "__main__":
    main()
