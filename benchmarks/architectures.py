"""How fast networks of different shapes train and predict on this machine, in one run.

The figures behind docs/decisions/0002: full resolution with joint 3x3x3 kernels, half resolution
with joint kernels, and the default (half resolution, space and time apart). Training is the whole
loop with fresh samples; ``waits`` is the share of its time in which it waited for samples.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hdsmlm.config.network import NetworkConfig
from hdsmlm.config.run import RunConfig

SHAPES = {
    "full resolution 16-32-64, 3x3x3": NetworkConfig(
        widths=(16, 32, 64), stem_stride=1, factorized=False
    ),
    "half resolution 24-48-96, 3x3x3": NetworkConfig(factorized=False),
    "half resolution 24-48-96, 1x3x3 + 3x1x1": NetworkConfig(),
}


@dataclass
class Pace:
    """Collects what the trainer reports."""

    rates: list[float]
    waits: list[float]

    def __call__(self, metrics: dict[str, float], step: int) -> None:
        """Keep the rate and the share of waiting."""
        if "patches_per_s" in metrics and step > 50:  # the first 50 steps include the warm-up
            self.rates.append(metrics["patches_per_s"])
            self.waits.append(metrics["feed_wait_share"])


def training_pace(network: NetworkConfig, steps: int, folder: Path) -> tuple[float, float, int]:
    """Return patches per second, share of waiting, and number of weights."""
    from hdsmlm.training.trainer import Trainer, TrainingLimits

    config = RunConfig(network=network)
    training = config.training.model_copy(update={"steps": steps})
    config = config.model_copy(update={"training": training})
    pace = Pace([], [])
    trainer = Trainer(config, folder, lambda _: {"loss": 0.0}, pace)
    trainer.run(TrainingLimits())
    return float(np.median(pace.rates)), float(np.median(pace.waits)), trainer.n_weights


def prediction_pace(network: NetworkConfig, frames: int, side: int, folder: Path) -> float:
    """Return frames per second of the exported network under OpenVINO, float32."""
    import openvino

    from hdsmlm.network.export import export_onnx
    from hdsmlm.network.unet3d import build_unet3d

    weights, target = folder / "w.weights.h5", folder / "m.onnx"
    build_unet3d(network).save_weights(weights)
    export_onnx(weights, network, target)
    model = openvino.Core().compile_model(target, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    batch = np.random.default_rng(0).uniform(-1, 1, (1, frames, side, side, 1)).astype(np.float32)
    model([batch])
    started = time.perf_counter()
    for _ in range(3):
        model([batch])
    return 3 * frames / (time.perf_counter() - started)


def main() -> None:
    """Measure all shapes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=250, help="optimizer steps per network")
    parser.add_argument("--frames", type=int, default=38, help="frames per call of the network")
    parser.add_argument("--side", type=int, default=256, help="side of a frame in pixels")
    options = parser.parse_args()
    print(f"{'network':42s} weights  patches/s  waits  frames/s of {options.side}x{options.side}")
    for name, network in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            rate, wait, weights = training_pace(network, options.steps, Path(folder))
            fps = prediction_pace(network, options.frames, options.side, Path(folder))
        print(f"{name:42s} {weights:7d} {rate:10.1f} {wait:6.1%} {fps:9.1f}", flush=True)


if __name__ == "__main__":
    main()
