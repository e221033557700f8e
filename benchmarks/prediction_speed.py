"""Frames of 256x256 a second, per engine and precision, beside a network of DECODE's shape.

    python benchmarks/prediction_speed.py [--model wolf] [--model fox] [--frames N] [--size 256]

All rows are measured in one run, in turns, and the best of the repeats counts, so that other work
on the machine weighs on all alike. Each turn is two calls, of which the second is measured: the
first meets threads of the row before that still spin. On a machine with other work take
``--clock cpu --threads 1``, which compares seconds of processor time.

Two references of compute are written here from the descriptions of others' networks. They have
random weights and find nothing: they only do as much arithmetic.

- DECODE (Speiser et al., Nature Methods 18, 1082 (2021)): each of three frames goes through the
  same U-Net, their features through a second one; two stages deep, 48 initial features doubled at
  each stage, two 3x3 convolutions per stage with ELU, then heads of a 3x3 and a 1x1 convolution.
- LiteLoc (Nature Communications, 2025; repository Li-Lab-SUSTech/LiteLoc, network/liteloc.py): 64
  features of 3x3 convolutions; one at full resolution, then at half: three per frame, one that
  joins three frames, four dilated by 2 to 16, a U-Net of one stage, each of them beside the pooled
  first features where it takes 128; two more and three heads at full resolution.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help="shipped or a folder; all shipped")
    parser.add_argument(
        "--frames", type=int, default=None, help="frames answered per call; as predict takes them"
    )
    parser.add_argument("--size", type=int, default=256, help="height and width, pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    options = parser.parse_args()
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    os.environ.setdefault("KERAS_BACKEND", "torch")

    from hdsmlm.bundle import load_bundle, shipped_models

    runs = {}
    for model in options.model or sorted(shipped_models(), reverse=True):
        runs |= engines(load_bundle(model), options)
    runs |= {"decoding alone, 1 thread": decoding(options), **reference(options)}
    best = dict.fromkeys(runs, np.inf)
    for round_number in range(options.repeats + 1):
        for name, (call, frames) in runs.items():
            call()
            start = clock()
            call()
            if round_number:  # the first warms up
                best[name] = min(best[name], (clock() - start) / frames)
    decode_s, liteloc_s = best["DECODE-shaped, torch f32"], best["LiteLoc-shaped, torch f32"]
    print(
        f"{options.size}x{options.size} pixels, {options.frames or 'usual'} frames per call, "
        f"{options.clock} time"
    )
    for name, seconds in best.items():
        print(
            f"{name:28s} {1 / seconds:8.2f} frames/s {decode_s / seconds:7.1f} x DECODE-shaped "
            f"{liteloc_s / seconds:7.1f} x LiteLoc-shaped"
        )


def engines(bundle: object, options: argparse.Namespace) -> dict[str, tuple[Callable, int]]:
    """Return calls that answer for the frames of one chunk, margins included."""
    from hdsmlm.inference.engines import build_engine
    from hdsmlm.inference.predictor import Predictor

    margin = bundle.manifest.receptive_frames
    n = options.frames or usual_frames(bundle, options.size)
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (n + 2 * margin, options.size, options.size)).astype(np.float32)
    keep = slice(margin, margin + n)
    rows = [("openvino", "f32"), ("openvino", "bf16"), ("onnxruntime", "f32"), ("keras", "f32")]
    runs: dict[str, tuple[Callable, int]] = {}
    for name, precision in rows:
        engine = build_engine(name, bundle, precision=precision, threads=options.threads)
        predictor = Predictor(engine, bundle.manifest)
        runs[f"{bundle.manifest.name}, {name} {precision}"] = (
            lambda predictor=predictor: predictor.predict(frames, keep),
            n,
        )
    return runs


def usual_frames(bundle: object, size: int) -> int:
    """Return how many frames ``hdsmlm predict`` gives the network at a time."""
    from hdsmlm.config.prediction import PredictionConfig
    from hdsmlm.pipelines.predict import chunk_frames_for, first_channels
    from hdsmlm.records.movie import MovieInfo

    info = MovieInfo("movie", (), 10_000, size, size, "uint16", 100.0)
    return chunk_frames_for(info, PredictionConfig(), first_channels(bundle.manifest))


def decoding(options: argparse.Namespace) -> tuple[Callable, int]:
    """Return a call that decodes a count map of about 1 certain emitter per square micrometre."""
    from hdsmlm.config.prediction import DecodingConfig
    from hdsmlm.inference.decode import decode

    # pixels of 100 nm, each emitter spread over 3x3 of them
    rng = np.random.default_rng(0)
    expected = np.zeros((options.size, options.size))
    for y, x in rng.integers(1, options.size - 1, (655, 2)):
        expected[y - 1 : y + 2, x - 1 : x + 2] += np.outer([0.2, 0.6, 0.2], [0.2, 0.6, 0.2])
    n = options.frames or 64
    map_ = np.zeros((n, 4, options.size, options.size), np.float32)
    map_[:, 1] = np.minimum(expected, 1)
    map_[:, 0] = 1 - map_[:, 1]
    return lambda: decode(map_, DecodingConfig(), pixel_size_nm=100.0), n


def reference(options: argparse.Namespace) -> dict[str, tuple[Callable, int]]:
    """Return calls of the networks of others' shapes."""
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    answered = 4
    windows = torch.randn(2, 3, options.size, options.size)
    movie = torch.randn(answered + 2, 1, options.size, options.size)

    def call_of(network: torch.nn.Module, frames: torch.Tensor) -> Callable:
        def call() -> None:
            with torch.inference_mode():
                network(frames)

        return call

    return {
        "DECODE-shaped, torch f32": (call_of(decode_shaped().eval(), windows), len(windows)),
        "LiteLoc-shaped, torch f32": (call_of(liteloc_shaped().eval(), movie), answered),
    }


def decode_shaped() -> object:
    import torch
    from torch import nn

    def pair(n_in: int, n_out: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, padding=1),
            nn.ELU(),
            nn.Conv2d(n_out, n_out, 3, padding=1),
            nn.ELU(),
        )

    class UNet(nn.Module):
        def __init__(self, n_in: int, n_first: int = 48, depth: int = 2) -> None:
            super().__init__()
            widths = [n_first * 2**level for level in range(depth + 1)]
            self.down = nn.ModuleList(
                pair(a, b) for a, b in zip([n_in, *widths[:-2]], widths[:-1], strict=True)
            )
            self.bottom = pair(widths[-2], widths[-1])
            ups = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
            self.halve = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ups)
            self.up = nn.ModuleList(pair(2 * b, b) for _, b in ups)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            skips = []
            for block in self.down:
                x = block(x)
                skips.append(x)
                x = nn.functional.max_pool2d(x, 2)
            x = self.bottom(x)
            for halve, block, skip in zip(self.halve, self.up, reversed(skips), strict=True):
                x = halve(nn.functional.interpolate(x, scale_factor=2))
                x = block(torch.cat([x, skip], 1))
            return x

    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frame, self.context = UNet(1), UNet(3 * 48)
            # Probability; x, y, z, photons; their uncertainties; background.
            self.heads = nn.ModuleList(
                nn.Sequential(nn.Conv2d(48, 48, 3, padding=1), nn.ELU(), nn.Conv2d(48, n, 1))
                for n in (1, 4, 4, 1)
            )

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            features = [self.frame(frames[:, index : index + 1]) for index in range(3)]
            joined = self.context(torch.cat(features, 1))
            return torch.cat([head(joined) for head in self.heads], 1)

    return Stacked()


def liteloc_shaped() -> object:
    import torch
    from torch import nn
    from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

    width = 64

    def layer(n_in: int, n_out: int = width, dilation: int = 1) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            nn.BatchNorm2d(n_out),
        )

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.single = layer(1), layer(width)
            self.per_frame = nn.ModuleList(layer(2 * width) for _ in range(2))
            self.joined = layer(4 * width)
            self.coarse = nn.ModuleList(layer(2 * width, dilation=2**n) for n in range(1, 5))
            self.fine = layer(2 * width)
            self.deep = nn.Sequential(
                layer(width), layer(width, 2 * width), layer(2 * width, 2 * width)
            )
            self.up = layer(2 * width)
            self.merged = nn.Sequential(layer(2 * width), layer(width))
            self.full = nn.Sequential(layer(width), layer(width))
            # Probability; x, y, z, photons; their uncertainties.
            self.heads = nn.ModuleList(
                nn.Sequential(
                    nn.Conv2d(width, width, 3, padding=1), nn.ELU(), nn.Conv2d(width, n, 1)
                )
                for n in (1, 4, 4)
            )

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            grey = max_pool2d(self.first(frames), 2)
            x = self.single(grey)
            for block in self.per_frame:
                x = x + block(torch.cat([x, grey], 1))
            grey = grey[1:-1]
            x = x[1:-1] + self.joined(torch.cat([x[:-2], x[1:-1], x[2:], grey], 1))
            for block in self.coarse:
                x = x + block(torch.cat([x, grey], 1))
            side = self.fine(torch.cat([x, grey], 1))
            x = self.up(interpolate(self.deep(avg_pool2d(side, 2)), scale_factor=2))
            x = self.full(interpolate(self.merged(torch.cat([x, side], 1)), scale_factor=2))
            return torch.cat([head(x) for head in self.heads], 1)

    return Network()


if __name__ == "__main__":
    main()
