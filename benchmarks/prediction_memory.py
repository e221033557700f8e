"""Peak memory of predicting a long 256x256 movie that is made frame by frame as it is read.

    python benchmarks/prediction_memory.py [--frames 20000] [--model wolf] [--count-map none]

Prints the resident memory after each tenth of the movie and its peak; it must not grow with the
frames.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

import numpy as np
import psutil

from hdsmlm.config.prediction import PredictionConfig
from hdsmlm.pipelines.predict import PredictionJob, predict_movie
from hdsmlm.records.events import Event
from hdsmlm.records.movie import MovieInfo


class NoiseWithSpots:
    """Poisson background with 655 bright pixels per frame, about 1 per µm²."""

    def __init__(self, n_frames: int, size: int) -> None:
        self.info = MovieInfo("made", (), n_frames, size, size, "uint16", 100.0)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Make frames ``start`` to ``stop - 1``; the same each time."""
        return np.stack([self._frame(index) for index in range(start, stop)])

    def close(self) -> None:
        """Nothing is open."""

    def _frame(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        frame = rng.poisson(200.0, (self.info.height, self.info.width))
        frame.flat[rng.integers(0, frame.size, frame.size // 100)] += 400
        return frame.astype(np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--model", default="wolf")
    parser.add_argument("--count-map", choices=("tif", "zarr", "none"), default="none")
    parser.add_argument("--out", type=Path, default=None, help="default: a temporary folder")
    options = parser.parse_args()
    process = psutil.Process()
    shown = -1

    def listen(event: Event) -> None:
        nonlocal shown
        tenth = 10 * event.done // event.total
        if event.stage == "predict" and tenth != shown:
            shown = tenth
            print(f"{event.done:8d} frames  {process.memory_info().rss / 1e6:7.0f} MB", flush=True)

    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        config = PredictionConfig(count_map=options.count_map, overlay_frames=2)
        job = PredictionJob(
            NoiseWithSpots(options.frames, options.size), Path(folder) / "out", options.model
        )
        summary = predict_movie(job, config, listen)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # kB on Linux
    print(f"peak {peak_mb:.0f} MB, {summary.found.emitters} emitters, {summary.engine}")


if __name__ == "__main__":
    main()
