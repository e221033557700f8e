"""Whether bf16 changes the scores: tier-1 F1 of one model in float32 and in bfloat16.

Runs the Keras network under both dtype policies on scenes like those of the fixed test set (other
seed), decodes and scores. Works on any CPU: where there are no bf16 units, torch computes the same
roundings in software. Speed is not measured here.
"""

from __future__ import annotations

import argparse

import numpy as np

from hdsmlm.bundle import load_bundle
from hdsmlm.config.base import parse_section
from hdsmlm.config.network import NetworkConfig
from hdsmlm.config.test_set import TestSetConfig
from hdsmlm.evaluation.matching import match_knn
from hdsmlm.evaluation.scores import score, tiers
from hdsmlm.inference.decode import decode
from hdsmlm.normalization import normalizer_of_array
from hdsmlm.pipelines.test_set import simulation_of_case
from hdsmlm.simulation.scene import SceneSampler

SEED = 4_000_000_001


def main() -> None:
    """Print F1 per case in both precisions and the largest change of a probability."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="wolf")
    parser.add_argument("--size", type=int, default=64, help="side of a scene in pixels")
    options = parser.parse_args()

    from hdsmlm.network.unet3d import build_unet3d  # chooses the backend before Keras is imported
    from hdsmlm.training.forward import run_network

    import keras  # isort: skip

    bundle = load_bundle(options.model)
    network = parse_section(NetworkConfig, bundle.manifest.network, "bundle")
    models = {}
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        models[policy] = build_unet3d(network)
        models[policy].load_weights(bundle.weights_path)
    test_set = TestSetConfig(seed=SEED)
    print(f"{'case':16} {'float32':>8} {'bfloat16':>9}  largest change of a probability")
    means: dict[str, list[float]] = {policy: [] for policy in models}
    for case in test_set.headline:
        simulation = simulation_of_case(case, test_set)
        scene = SceneSampler(simulation, (9, options.size, options.size)).draw(SEED, 0)
        normalize = normalizer_of_array(scene.frames, bundle.manifest.normalization)
        maps = {name: run_network(m, normalize(scene.frames, 0)) for name, m in models.items()}
        for name, p in maps.items():
            found = decode(p, bundle.manifest.decoding, pixel_size_nm=scene.pixel_size_nm)
            matching = match_knn(scene.emitters, found, scene.pixel_size_nm)
            means[name].append(score(matching, tiers(scene.emitters) == 1).f1)
        change = np.abs(maps["float32"] - maps["mixed_bfloat16"]).max()
        row = "  ".join(f"{means[name][-1]:8.4f}" for name in maps)
        print(f"{case.name:16} {row}  {change:.3f}", flush=True)
    f32, bf16 = (np.mean(values) for values in means.values())
    print(f"{'mean':16} {f32:8.4f} {bf16:9.4f}  difference {bf16 - f32:+.4f}")


if __name__ == "__main__":
    main()
