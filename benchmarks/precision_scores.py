"""Whether bf16 changes the scores: tier-1 F1 of one model in float32 and in bfloat16.

    python benchmarks/precision_scores.py --model fox --size 128
    python benchmarks/precision_scores.py --model wolf --engine keras

Runs an engine in both precisions on scenes like those of the fixed test set (other seed), decodes
and scores. OpenVINO computes in bf16 on CPUs that have units for it (``avx512_bf16`` or
``amx_bf16`` among the flags of ``/proc/cpuinfo``); elsewhere both columns are float32, and the
largest change of a probability is 0. Keras on torch rounds to bf16 on any CPU, in software where it
must. Speed is not measured here, but by ``prediction_speed.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hdsmlm.bundle import Bundle, load_bundle
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

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def main() -> None:
    """Print F1 per case in both precisions and the largest change of a probability."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="wolf")
    parser.add_argument("--engine", choices=("openvino", "keras"), default="openvino")
    parser.add_argument("--size", type=int, default=64, help="side of a scene in pixels")
    parser.add_argument("--frames", type=int, default=9, help="frames of a scene")
    options = parser.parse_args()

    bundle = load_bundle(options.model)
    networks = {"openvino": openvino_networks, "keras": keras_networks}[options.engine](bundle)
    test_set = TestSetConfig(seed=SEED)
    print(f"{bundle.manifest.name}, {options.engine}")
    print(f"{'case':16} {'float32':>8} {'bfloat16':>9}  largest change of a probability")
    means: dict[str, list[float]] = {precision: [] for precision in networks}
    for case in test_set.headline:
        simulation = simulation_of_case(case, test_set)
        shape = (options.frames, options.size, options.size)
        scene = SceneSampler(simulation, shape).draw(SEED, 0)
        normalize = normalizer_of_array(scene.frames, bundle.manifest.normalization)
        frames = normalize(scene.frames, 0)
        maps = {precision: network(frames) for precision, network in networks.items()}
        for precision, p in maps.items():
            found = decode(p, bundle.manifest.decoding, pixel_size_nm=scene.pixel_size_nm)
            matching = match_knn(scene.emitters, found, scene.pixel_size_nm)
            means[precision].append(score(matching, tiers(scene.emitters) == 1).f1)
        change = np.abs(maps["f32"] - maps["bf16"]).max()
        row = "  ".join(f"{means[precision][-1]:8.4f}" for precision in maps)
        print(f"{case.name:16} {row}  {change:.3f}", flush=True)
    f32, bf16 = (np.mean(values) for values in means.values())
    print(f"{'mean':16} {f32:8.4f} {bf16:9.4f}  difference {bf16 - f32:+.4f}")


def openvino_networks(bundle: Bundle) -> dict[str, Network]:
    """Return what ``predict`` runs, in both precisions."""
    from hdsmlm.inference.engines import build_engine
    from hdsmlm.inference.predictor import Predictor

    return {
        precision: Predictor(
            build_engine("openvino", bundle, precision=precision), bundle.manifest
        ).predict
        for precision in ("f32", "bf16")
    }


def keras_networks(bundle: Bundle) -> dict[str, Network]:
    """Return the Keras network of the bundle under both dtype policies."""
    from hdsmlm.network.unet3d import build_unet3d  # chooses the backend before Keras is imported
    from hdsmlm.training.forward import run_network

    import keras  # isort: skip

    network = parse_section(NetworkConfig, bundle.manifest.network, "bundle")
    networks: dict[str, Network] = {}
    for precision, policy in (("f32", "float32"), ("bf16", "mixed_bfloat16")):
        keras.config.set_dtype_policy(policy)
        model = build_unet3d(network)
        model.load_weights(bundle.weights_path)
        networks[precision] = lambda frames, model=model: run_network(model, frames)
    return networks


if __name__ == "__main__":
    main()
