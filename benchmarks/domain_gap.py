"""Domain gap of movies inside and outside of a model's training ranges.

python benchmarks/domain_gap.py --model wolf --movies 12
"""

from __future__ import annotations

import argparse

import numpy as np

from hdsmlm.bundle import load_bundle
from hdsmlm.bundle.manifest import CONFIG_FILE
from hdsmlm.config.base import load_section
from hdsmlm.config.run import RunConfig
from hdsmlm.config.simulation import PsfWeights, SimulationConfig
from hdsmlm.estimation.domain import DomainGap, TrainingScenes, domain_gap, patches_of_sample
from hdsmlm.estimation.sample import sample_frames
from hdsmlm.io.movies import ArrayMovie
from hdsmlm.simulation.scene import SceneSampler

SHAPE = (24, 128, 128)
PLAIN = {
    "density_per_um2": (1.0, 1.0),
    "pixel_size_nm": (100.0, 100.0),
    "sigma_px": (1.3, 1.3),
    "photons": (1500.0, 1500.0),
    "psfs": PsfWeights(gaussian=1, astigmatic=0, diffraction=0),
}


def gap(simulation: SimulationConfig, index: int, training: TrainingScenes) -> DomainGap:
    frames = SceneSampler(simulation, SHAPE).draw(4_000, index).frames
    sample = sample_frames(ArrayMovie(frames))
    return domain_gap(patches_of_sample(sample, training.normalization), training)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="wolf")
    parser.add_argument("--movies", type=int, default=12)
    options = parser.parse_args()
    config = load_section(RunConfig, load_bundle(options.model).folder / CONFIG_FILE)
    training = TrainingScenes(config.simulation, config.normalization)
    scores = [gap(config.simulation, k, training).score for k in range(options.movies)]
    print("drawn from the training ranges, quantiles 10, 50, 75, 90 %:")
    print(" ", np.quantile(scores, (0.1, 0.5, 0.75, 0.9)).round(2), flush=True)
    changes: list[dict[str, object]] = [
        {"sigma_px": (sigma, sigma)} for sigma in (0.6, 0.75, 1.3, 2.1, 2.6, 3.5)
    ]
    changes += [{"density_per_um2": (value, value)} for value in (0.02, 6.0, 20.0, 60.0)]
    for change in changes:
        simulation = config.simulation.model_copy(update=PLAIN | change)
        found = [gap(simulation, k, training) for k in range(2)]
        names = [item.feature.name for item in found[0].features[:3]]
        print(change, f"{np.mean([item.score for item in found]):.2f}", *names, flush=True)


if __name__ == "__main__":
    main()
