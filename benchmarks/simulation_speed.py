"""Patches of 5 × 64 × 64 per second and core that the scene sampler draws.

Run ``python benchmarks/simulation_speed.py``. Speed is counted in CPU seconds of this process, all
its threads together, after one scene has compiled the kernels. A scene of 5 × 128 × 256 pixels is 8
patches.
"""

from __future__ import annotations

import argparse
import time

from hdsmlm.config.simulation import SimulationConfig
from hdsmlm.simulation.scene import SceneSampler

SHAPE = (5, 128, 256)
PATCHES = 8
CAMERAS = ("emccd", "scmos", "ideal")
PSFS = ("gaussian", "astigmatic", "diffraction")


def speed(config: SimulationConfig, scenes: int) -> float:
    """Return patches per CPU second."""
    sampler = SceneSampler(config, SHAPE)
    sampler.draw(0, 0)
    start = time.process_time()
    for index in range(scenes):
        sampler.draw(1, index)
    return scenes * PATCHES / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--density", type=float, default=2.0)
    arguments = parser.parse_args()
    print(f"{arguments.density:g} emitters/µm², 100 nm pixels, {arguments.scenes} scenes each")
    for camera in ("emccd", "scmos"):
        for psf in PSFS:
            config = SimulationConfig(
                density_per_um2=arguments.density,
                pixel_size_nm=100.0,
                cameras={name: float(name == camera) for name in CAMERAS},
                psfs={name: float(name == psf) for name in PSFS},
            )
            print(f"{camera:6} {psf:12} {speed(config, arguments.scenes):6.0f} patches/s and core")
    defaults = SimulationConfig(density_per_um2=arguments.density, pixel_size_nm=100.0)
    print(f"mixture of the defaults {speed(defaults, arguments.scenes):6.0f} patches/s and core")
    print(f"all ranges              {speed(SimulationConfig(), arguments.scenes):6.0f}")


if __name__ == "__main__":
    main()
