"""How the time of a movie falls with the number of workers, and what bounds it.

Predicts (and localizes) one simulated movie with one worker and with several, in turns, and
measures the reader, the network and the writer alone. Prints a Markdown table of rates and ratios.

Usage: python benchmarks/worker_scaling.py [--frames 400] [--size 128] [--rounds 3] [--workers 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from hdsmlm.bundle import load_bundle
from hdsmlm.config.localize import LocalizeConfig
from hdsmlm.config.prediction import PredictionConfig
from hdsmlm.config.simulation import MovieConfig
from hdsmlm.inference.engines import build_engine
from hdsmlm.inference.predictor import Predictor
from hdsmlm.io.count_maps import open_count_map_writer
from hdsmlm.io.movies import open_movie
from hdsmlm.normalization import fit_normalizer
from hdsmlm.pipelines.localize import LocalizeJob, localize_movie
from hdsmlm.pipelines.predict import PredictionJob, predict_movie
from hdsmlm.pipelines.simulate import simulate_movie
from hdsmlm.pipelines.spread import Workers


def parts(movie: Path, n: int) -> dict[str, float]:
    """Return frames per second of reader, network (one thread) and writer, each alone."""
    bundle = load_bundle("wolf")
    with open_movie(movie) as reader:
        start = time.perf_counter()
        frames = reader.read(0, n)
        read = time.perf_counter() - start
        normalizer = fit_normalizer(reader, bundle.manifest.normalization)
    predictor = Predictor(build_engine("openvino", bundle, threads=1), bundle.manifest)
    piece = normalizer(frames[:64], 0)
    predictor.predict(piece)
    start = time.perf_counter()
    probabilities = predictor.predict(piece)
    network = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with open_count_map_writer(
            Path(folder) / "m.tif", len(probabilities), *frames.shape[1:], first_frame=0
        ) as writer:
            writer.append(probabilities)
        write = time.perf_counter() - start
    return {
        "reader": n / read,
        "network, 1 thread": len(piece) / network,
        "writer of the count map": len(piece) / write,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("frames", 400), ("size", 128), ("rounds", 3), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    n, many = options.frames, options.workers
    config = MovieConfig(frames=n, height=options.size, width=options.size, seed=5)
    values = config.simulation.model_copy(
        update={"density_per_um2": (1.0, 1.0), "pixel_size_nm": (100.0, 100.0)}
    )
    cases = {f"1 worker, {many} threads": (1, many), "1 worker, 1 thread": (1, 1)}
    cases[f"{many} workers, 1 thread each"] = (many, many)
    seconds: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made = simulate_movie(config.model_copy(update={"simulation": values}), root / "movie")
        for name, rate in parts(made.movie, n).items():
            print(f"{name}: {rate:.0f} frames of {options.size}² a second")
        for turn in range(options.rounds):
            for name, (count, threads) in cases.items():
                for stage in ("predict", "localize"):
                    out = root / f"{stage}{turn}{count}{threads}"
                    prediction = PredictionConfig(
                        pixel_size_nm=100.0, threads=threads, chunk_frames=32, overlay_frames=0
                    )
                    start = time.perf_counter()
                    if stage == "predict":
                        job = PredictionJob(made.movie, out, workers=Workers(count))
                        predict_movie(job, prediction)
                    else:
                        fit = LocalizeConfig(threads=threads, prediction=prediction)
                        camera = root / "movie" / "camera.yaml"
                        task = LocalizeJob(
                            made.movie,
                            out.with_suffix(".csv"),
                            microscope=camera,
                            workers=Workers(count),
                        )
                        localize_movie(task, fit)
                    taken = time.perf_counter() - start
                    seconds.setdefault((stage, name), []).append(taken)
    print("\n| | " + " | ".join(cases) + " | workers over threads |\n|---|" + "---|" * 4)
    for stage in ("predict", "localize"):
        times = [median(seconds[stage, name]) for name in cases]
        rates = " | ".join(f"{n / value:.0f} frames/s" for value in times)
        print(f"| {stage} | {rates} | {times[0] / times[2]:.2f} |")


if __name__ == "__main__":
    main()
