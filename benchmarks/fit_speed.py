"""Fits a second: single emitters in 7x7 pixels, and dense frames with the choice of the number.

    python benchmarks/fit_speed.py [--emitters 40000] [--frames 20] [--threads 2]

Wall-clock time is that of this machine with whatever else it does; the processor time per fit
beside it depends little on other work. A first call compiles and is not counted; the best of the
repeats counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from hdsmlm.config.fitting import FitConfig
from hdsmlm.fitting.frame_fit import fit_frames
from hdsmlm.fitting.likelihood import poisson_data
from hdsmlm.imaging.camera import EmccdCamera
from hdsmlm.imaging.psf import GaussianPsf
from hdsmlm.records.emitters import Emitters

PSF = GaussianPsf(1.3)
CAMERA = EmccdCamera(0.9, 200.0, 60.0, 0.002, 45.0, 100.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emitters", type=int, default=40_000)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    single(options.emitters, options.threads)
    for density in (1.0, 2.0, 4.0, 6.0):
        for choose in (False, True):
            dense(density, options.frames, choose, options.threads)


def scene(
    n_frames: int, size: int, frame: np.ndarray, place: np.ndarray, rng: np.random.Generator
) -> tuple[Emitters, object]:
    stack = np.full((n_frames, size, size), 10.0)
    PSF.add_to(stack, frame, np.column_stack([place, place[:, 0]]), np.full(len(frame), 1000.0))
    start = np.clip(place + rng.normal(0, 0.3, place.shape), 0, size - 0.01) * 100.0
    found = Emitters({"frame": frame, "x_nm": start[:, 0], "y_nm": start[:, 1]})
    return found, poisson_data(CAMERA.sample(stack, rng), CAMERA)


def best_times(call: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    """Return wall-clock and processor seconds of the quickest call."""
    call()
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return min(wall), min(cpu)


def single(n: int, threads: int) -> None:
    rng = np.random.default_rng(0)
    found, data = scene(n, 7, np.arange(n), rng.uniform(3, 4, (n, 2)), rng)
    config = FitConfig(choose_count=False, region_sigmas=2.5, threads=threads)
    wall, cpu = best_times(lambda: fit_frames(found, data, PSF, 100.0, config))
    print(
        f"7x7 px, 1 emitter: {n / wall:9.0f} fits/s wall with {threads} threads, "
        f"{1e6 * cpu / n:6.1f} us of processor time per fit "
        f"= {n / cpu:9.0f} fits/s on one free core"
    )


def dense(density: float, n_frames: int, choose: bool, threads: int) -> None:
    rng = np.random.default_rng(1)
    size = 64
    frame = np.repeat(np.arange(n_frames), rng.poisson(density * 6.4**2, n_frames))
    found, data = scene(n_frames, size, frame, rng.uniform(0, size, (len(frame), 2)), rng)
    config = FitConfig(choose_count=choose, threads=threads)
    wall, cpu = best_times(lambda: fit_frames(found, data, PSF, 100.0, config), repeats=1)
    print(
        f"64x64 px, {density:g}/um2, {'count chosen' if choose else 'count given ':12s}: "
        f"{n_frames / wall:7.1f} frames/s wall, {n_frames / cpu:7.1f} frames per processor second, "
        f"{1e6 * cpu / len(frame):6.0f} us per emitter"
    )


if __name__ == "__main__":
    main()
