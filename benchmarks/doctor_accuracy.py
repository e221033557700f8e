"""Accuracy of ``hdsmlm doctor``: estimated against true camera, width and background.

Usage: python benchmarks/doctor_accuracy.py [--seeds 3] [--frames 300] [--size 64]
Prints one Markdown row per camera and density: mean relative error and largest one of the seeds.
"""

from __future__ import annotations

import argparse

import numpy as np

from hdsmlm.config.camera import CameraConfig, EmccdConfig, IdealConfig, ScmosConfig
from hdsmlm.config.simulation import (
    BackgroundRanges,
    CameraWeights,
    PhotophysicsRanges,
    PsfWeights,
    SimulationConfig,
)
from hdsmlm.estimation.camera import Kind
from hdsmlm.estimation.microscope import estimate_microscope
from hdsmlm.io.movies import ArrayMovie
from hdsmlm.simulation.conditions import draw_conditions
from hdsmlm.simulation.recording import Recording

SIGMA_PX, PHOTONS, BACKGROUND = 1.3, 1000.0, 20.0
CAMERAS: dict[Kind, CameraConfig] = {
    "emccd": EmccdConfig(),
    "scmos": ScmosConfig(
        gain_spread=0.02, read_noise_spread=0.3, baseline_spread_adu=2.0, hot_pixel_fraction=0.005
    ),
    "ideal": IdealConfig(),
}
GAIN_ADU_PER_E = {"emccd": 200.0 / 45.0, "scmos": 2.0, "ideal": 1.0}


def movie(kind: Kind, density: float, seed: int, shape: tuple[int, int, int]):
    """Return a simulated movie and its true mean background in photons."""
    config = SimulationConfig(
        density_per_um2=density,
        pixel_size_nm=100.0,
        sigma_px=SIGMA_PX,
        photons=PHOTONS,
        min_median_snr=0.0,
        cameras=CameraWeights(**{name: float(name == kind) for name in CAMERAS}),
        psfs=PsfWeights(gaussian=1.0, astigmatic=0.0, diffraction=0.0),
        photophysics=PhotophysicsRanges(mean_on_frames=2.0),
        background=BackgroundRanges(photons=BACKGROUND),
    )
    conditions = draw_conditions(config, np.random.default_rng(seed))
    conditions = conditions.model_copy(update={"camera": CAMERAS[kind]})
    recording = Recording(conditions, shape[1:], (seed, 3))
    frames, _ = recording.read(shape[0])
    middle = recording.background.photons(shape[0] // 2).mean()
    return ArrayMovie(frames, pixel_size_nm=100.0), float(middle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    shape = (options.frames, options.size, options.size)
    print("| camera | density /µm² | gain % | offset ADU | sigma % | background % |")
    print("|---|---|---|---|---|---|")
    for kind in CAMERAS:
        for density in (0.2, 2.0):
            errors = []
            for seed in range(1, options.seeds + 1):
                reader, true_background = movie(kind, density, seed, shape)
                found = estimate_microscope(reader, kind=kind)
                if found.camera is None or found.sigma_px is None:
                    print(f"| {kind} | {density:g} | unknown: {'; '.join(found.unknown)} |")
                    continue
                light = found.background_photons
                efficiency = CAMERAS[kind].quantum_efficiency
                scale = found.camera.quantum_efficiency.value / efficiency
                errors.append(
                    (
                        100 * (found.camera.gain_adu_per_e.value / GAIN_ADU_PER_E[kind] - 1),
                        found.camera.offset_adu.value - 100.0,
                        100 * (found.sigma_px.value / SIGMA_PX - 1),
                        100 * (light.value * scale / true_background - 1),
                    )
                )
            table = np.array(errors)
            largest = np.abs(table).max(axis=0)
            cells = [
                f"{mean:+.1f} (≤ {most:.1f})"
                for mean, most in zip(table.mean(axis=0), largest, strict=True)
            ]
            print(f"| {kind} | {density:g} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
