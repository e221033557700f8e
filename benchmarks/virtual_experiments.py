"""Virtual experiments: binned movies of known truth, against it and against direct simulation.

A sparse movie is simulated, localized and added up as ``hdsmlm bin`` does it; then

* labels against truth: recall, precision, error of place, share in doubt;
* what summands share, with the measured lag and without;
* light, noise, PSF width and blinking against a direct simulation of the same density;
* variance of the background against theory.

Usage: python benchmarks/virtual_experiments.py --out FOLDER [--frames 600] [--size 64]
       [--density 0.08] [--photons 1500] [--camera emccd|scmos] [--factors 5,10]
       [--sequences 60] [--seed 5]
Prints Markdown tables; writes ``virtual_experiments.png``. A second run in the same folder takes
the localizations of the first.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import ks_2samp

from hdsmlm.binning.background import spot_mask
from hdsmlm.binning.orientation import turned, turned_emitters
from hdsmlm.binning.plan import PlanRules, Summand, draw_sum
from hdsmlm.config.binning import BinningConfig
from hdsmlm.config.camera import CameraConfig, EmccdConfig, ScmosConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.simulation import (
    BackgroundRanges,
    PhotophysicsRanges,
    PsfWeights,
    SimulationConfig,
    StructureWeights,
)
from hdsmlm.estimation.psf_width import psf_width
from hdsmlm.estimation.sample import FrameSample
from hdsmlm.evaluation.doubt import DoubtfulTruth
from hdsmlm.evaluation.matching import match_knn
from hdsmlm.evaluation.scores import tiers
from hdsmlm.imaging.build import build_camera
from hdsmlm.imaging.camera import Camera
from hdsmlm.io.movies import open_movie
from hdsmlm.io.movies.writing import write_tiff_movie
from hdsmlm.labels.counts import doubt_map
from hdsmlm.pipelines.sparse import Sparse, SparseJob, measure_sparse
from hdsmlm.pipelines.sums import Sums
from hdsmlm.records.emitters import Emitters
from hdsmlm.simulation.conditions import Conditions, draw_conditions
from hdsmlm.simulation.recording import Recording

PIXEL_NM, SIGMA_PX, BACKGROUND, ON_FRAMES = 100.0, 1.3, 20.0, 3.0
CAMERAS: dict[str, CameraConfig] = {
    "emccd": EmccdConfig(),
    "scmos": ScmosConfig(quantum_efficiency=0.8, read_noise_e=1.6),
}
FREE_SIGMAS, BORDER_PX = 5.0, 8


@dataclass(frozen=True)
class Experiment:
    """A simulated sparse movie and its truth."""

    conditions: Conditions
    frames: np.ndarray
    truth: Emitters
    background: np.ndarray


@dataclass(frozen=True)
class Set:
    """Sequences (n, t, y, x) in photons and their truth; its frames count through."""

    photons: np.ndarray
    truth: Emitters
    camera: Camera

    @property
    def stack(self) -> np.ndarray:
        """All frames (n·t, y, x)."""
        return self.photons.reshape(-1, *self.photons.shape[2:])


def record(options: argparse.Namespace, density: float, seed: int, n_frames: int) -> Experiment:
    """Simulate a recording; everything but density, seed and length is the same for all."""
    config = SimulationConfig(
        density_per_um2=density,
        pixel_size_nm=PIXEL_NM,
        sigma_px=SIGMA_PX,
        sigma_spread=0.03,
        photons=options.photons,
        min_median_snr=0.0,
        psfs=PsfWeights(gaussian=1.0, astigmatic=0.0, diffraction=0.0),
        structures=StructureWeights(uniform=1.0, curves=0.0, rings=0.0, clusters=0.0, mesh=0.0),
        photophysics=PhotophysicsRanges(
            mean_on_frames=ON_FRAMES,
            mean_off_frames=40.0,
            blinks_per_molecule=2.0,
            rate_spread=0.3,
        ),
        background=BackgroundRanges(
            photons=BACKGROUND, structure=0.2, structure_scale_px=20.0, bleached_share=0.0
        ),
    )
    conditions = draw_conditions(config, np.random.default_rng(seed))
    conditions = conditions.model_copy(update={"camera": CAMERAS[options.camera]})
    recording = Recording(conditions, (options.size, options.size), (seed, 17))
    frames, truth = recording.read(n_frames)
    return Experiment(conditions, frames, truth, recording.background.photons(0))


def measure(options: argparse.Namespace, sparse: Experiment, config: BinningConfig) -> Sparse:
    """Write the movie and measure it as ``hdsmlm bin`` does; the microscope is known."""
    path = options.out / "sparse.tif"
    write_tiff_movie(path, iter(sparse.frames), sparse.frames.shape, PIXEL_NM)
    microscope = MicroscopeConfig(
        camera=sparse.conditions.camera, psf=sparse.conditions.psf, pixel_size_nm=PIXEL_NM
    )
    return measure_sparse(
        open_movie(path), SparseJob(path, options.model, microscope), config, options.out
    )


def union(truth: Emitters, rules: PlanRules, summands: tuple[Summand, ...]) -> Emitters:
    """Return the true emitters of a sum; ``summand`` is kept as ``flags``."""
    parts = []
    height, width = (side * PIXEL_NM for side in rules.shape)
    for number, summand in enumerate(summands):
        stop = summand.start + rules.sequence_frames
        part = truth.select(np.arange(*np.searchsorted(truth["frame"], [summand.start, stop])))
        part = part.with_columns(
            frame=part["frame"] - summand.start,
            x_nm=part["x_nm"] - summand.left * PIXEL_NM,
            y_nm=part["y_nm"] - summand.top * PIXEL_NM,
            flags=np.full(len(part), number),
        )
        inside = (part["x_nm"] >= 0) & (part["x_nm"] < width)
        inside &= (part["y_nm"] >= 0) & (part["y_nm"] < height)
        parts.append(turned_emitters(part.select(inside), summand.orientation, (height, width)))
    return Emitters.concatenate(parts).sorted()


def labels_row(sums: Sums, truth: Emitters) -> str:
    """Compare labels with the truth; the truth's tier is that of the single frame."""
    names = ("true", "found", "doubt", "labels", "faint", "real", "spots", "ignored")
    n = dict.fromkeys(names, 0)
    error2, pixels = 0.0, 0
    noisy = Sums(sums.sparse, sums.config.model_copy(update={"snr_of": "sum"}), sums.rules.factor)
    for index in range(sums.n_sequences):
        scene = sums.sequence(index)
        true = union(truth, sums.rules, draw_sum(sums.rules, sums.config.seed, index))
        tier1 = tiers(true) == 1
        match = match_knn(true, scene.emitters, PIXEL_NM)
        unsure = DoubtfulTruth(true, scene.doubtful, sums.shape, PIXEL_NM).in_doubt(true)
        n["true"] += int(tier1.sum())
        n["found"] += int((tier1 & match.truth_matched & ~unsure).sum())
        n["doubt"] += int((tier1 & unsure).sum())
        n["labels"] += len(scene.emitters)
        n["faint"] += int((noisy.sequence(index).emitters["snr"] < 2).sum())
        n["real"] += len(match)
        n["spots"] += len(scene.doubtful)
        n["ignored"] += int(doubt_map(scene.doubtful, sums.shape, PIXEL_NM).sum())
        error2 += float((match.distances_nm**2).sum())
        pixels += scene.frames.size
    area_um2 = pixels * (PIXEL_NM / 1000) ** 2
    known = n["true"] - n["doubt"]
    return (
        f"| {sums.rules.factor} | {n['true'] / area_um2:.3f} | {n['labels'] / area_um2:.3f} | "
        f"{n['found'] / known:.4f} | {n['real'] / n['labels']:.4f} | "
        f"{np.sqrt(error2 / n['real']):.1f} | {n['doubt'] / n['true']:.3f} | "
        f"{n['spots'] / (n['spots'] + n['labels']):.3f} | {n['ignored'] / pixels:.3f} | "
        f"{n['faint'] / n['labels']:.3f} |"
    )


def plans(sums: Sums) -> dict[str, tuple[PlanRules, list[tuple[Summand, ...]]]]:
    """Return rules and summands: measured lag, augmented, any frames, neighbouring sequences."""
    rules, count, seed = sums.rules, sums.n_sequences, sums.config.seed
    augmented = replace(rules, crop_px=min(rules.height, rules.width) * 7 // 8)
    rng = np.random.default_rng(7)
    last = rules.n_frames - rules.sequence_frames
    length = rules.sequence_frames * rules.factor
    return {
        f"lag {rules.lag_frames} (measured)": (
            rules,
            [draw_sum(rules, seed, index) for index in range(count)],
        ),
        f"lag {rules.lag_frames}, augmented": (
            augmented,
            [draw_sum(augmented, seed, index) for index in range(count)],
        ),
        "starts drawn without a rule": (
            rules,
            [
                tuple(Summand(int(s)) for s in rng.integers(last + 1, size=rules.factor))
                for _ in range(count)
            ],
        ),
        "neighbouring sequences": (
            rules,
            [
                tuple(Summand(int(start) + rules.sequence_frames * k) for k in range(rules.factor))
                for start in rng.integers(rules.n_frames - length + 1, size=count)
            ],
        ),
    }


def doubles_share(truth: Emitters) -> float:
    """Return the share of the occupied pixels that hold two emitters or more."""
    column, row = (np.floor(truth[k] / PIXEL_NM).astype(np.int64) for k in ("x_nm", "y_nm"))
    pixel = (truth["frame"].astype(np.int64) * 100_000 + row) * 100_000 + column
    _, counts = np.unique(pixel, return_counts=True)
    return float((counts > 1).mean())


def in_two_summands(truth: Emitters, column: str, factor: int) -> np.ndarray:
    """Return which emitters have their blink, or molecule, in another summand too."""
    keys, where = np.unique(truth[column], return_inverse=True)
    first, last = np.full(len(keys), factor), np.full(len(keys), -1)
    np.minimum.at(first, where, truth["flags"])
    np.maximum.at(last, where, truth["flags"])
    return (last > first)[where]


def shared_row(
    sums: Sums, truth: Emitters, name: str, plan: tuple[PlanRules, list[tuple[Summand, ...]]]
) -> str:
    """Say what the summands of a plan have in common."""
    rules, sets = plan
    blinks, molecules, tables, correlations = [], [], [], []
    movie = sums.sparse.movie
    for index, summands in enumerate(sets):
        true = union(truth, rules, summands)
        blinks.append(in_two_summands(true, "blink_id", rules.factor))
        molecules.append(in_two_summands(true, "emitter_id", rules.factor))
        tables.append(true.with_columns(frame=true["frame"] + index * rules.sequence_frames))
        light = []
        for s in summands:
            seen = movie.read_photons(s.start, s.start + 1)[0] - movie.backgrounds.at(s.start)
            window = (slice(s.top, s.top + rules.shape[0]), slice(s.left, s.left + rules.shape[1]))
            light.append(turned(seen[window], s.orientation).ravel())
        correlations.append(np.corrcoef(light)[np.triu_indices(len(light), 1)].mean())
    error = np.std(correlations) / np.sqrt(len(correlations))
    return (
        f"| {rules.factor} | {name} | {100 * np.concatenate(blinks).mean():.2f} | "
        f"{100 * np.concatenate(molecules).mean():.1f} | "
        f"{np.mean(correlations):.4f} ± {error:.4f} | "
        f"{100 * doubles_share(Emitters.concatenate(tables)):.2f} |"
    )


def binned_set(sums: Sums, truth: Emitters) -> Set:
    """Return the sums in photons, from the grey values that are written."""
    camera = build_camera(sums.camera_config, sums.rules.shape)
    frames, tables = [], []
    for index in range(sums.n_sequences):
        frames.append(camera.to_photons(sums.sequence(index).frames))
        true = union(truth, sums.rules, draw_sum(sums.rules, sums.config.seed, index))
        tables.append(true.with_columns(frame=true["frame"] + index * sums.shape[0]))
    return Set(np.array(frames), Emitters.concatenate(tables), camera)


def direct_set(options: argparse.Namespace, sums: Sums, density: float, own_camera: bool) -> Set:
    """Simulate the density of the sums, with the sparse camera or the one that describes sums."""
    t, n = sums.rules.sequence_frames, sums.n_sequences
    made = record(options, density, options.seed, 1)
    config = made.conditions.camera if own_camera else sums.camera_config
    conditions = made.conditions.model_copy(update={"camera": config})
    shape = (options.size, options.size)
    recording = Recording(conditions, shape, (options.seed, 17))
    recording.read(64)  # past the start, where fewer molecules emit
    frames, truth = recording.read(t * n)
    truth = truth.with_columns(frame=truth["frame"] - 64)
    camera = build_camera(config, shape)
    return Set(camera.to_photons(frames).reshape(n, t, *shape), truth, camera)


def free_pixels(part: Set) -> np.ndarray:
    """Return pixels (frames, y, x) to which no emitter gives light."""
    x_px, y_px = (part.truth[name] / PIXEL_NM for name in ("x_nm", "y_nm"))
    frame = part.truth["frame"].astype(int)
    mask = ~spot_mask(frame, x_px, y_px, part.stack.shape, FREE_SIGMAS * SIGMA_PX)
    mask[:, :BORDER_PX] = mask[:, -BORDER_PX:] = False  # emitters outside the field
    mask[:, :, :BORDER_PX] = mask[:, :, -BORDER_PX:] = False
    return mask


def looks(part: Set, background: np.ndarray) -> dict[str, float]:
    """Return what a movie looks like."""
    free = free_pixels(part)
    residual = np.where(free, part.stack - background, 0.0)
    level = residual.sum() / free.sum()
    truth = part.truth
    tier1 = truth.select(tiers(truth) == 1)
    t = part.photons.shape[1]
    key = truth["frame"].astype(np.int64) * (int(truth["blink_id"].max()) + 1) + truth["blink_id"]
    step = int(truth["blink_id"].max()) + 1
    inner = truth["frame"] % t < t - 1
    width = psf_width(FrameSample(tuple(part.photons), tuple(range(len(part.photons)))))
    pair = part.photons - part.photons.mean(axis=(2, 3), keepdims=True)
    together = (pair[:, 1:] * pair[:, :-1]).mean() / (pair**2).mean()
    return {
        "occupied pixels with 2+, %": 100 * doubles_share(truth),
        "median photons, tier 1": float(np.median(tier1["photons"])),
        "background left, photons": float((background * free).sum() / free.sum() + level),
        "noise of the background, photons": float(
            np.sqrt((residual**2).sum() / free.sum() - level**2)
        ),
        "PSF width from flicker, px": width.sigma_px,
        "error of the width, px": width.error_px,
        "still on in the next frame": float(np.isin(key[inner] + step, key).mean()),
        "correlation of neighbouring frames": float(together),
    }


def intensity_ks(one: Set, other: Set) -> float:
    """Return the largest difference of the distributions of grey values, after normalization."""
    scaled = []
    for part in (one, other):
        low, high = np.percentile(part.stack, [20, 99])
        scaled.append(((part.stack - low) / (high - low)).ravel())
    return float(ks_2samp(*scaled).statistic)


def variance_row(sums: Sums, part: Set, background: np.ndarray) -> str:
    """Compare the variance of pixels without emitters with theory; photons²."""
    n, kept = sums.rules.factor, sums.config.backgrounds_kept
    camera = sums.sparse.camera
    efficiency = camera.quantum_efficiency
    free = free_pixels(part)
    residual = np.where(free, part.stack - kept * background, 0.0)
    count = free.sum(axis=0)
    seen = count > 20
    mean = residual.sum(axis=0)[seen] / count[seen]
    square = (residual**2).sum(axis=0)[seen] / count[seen]
    shot = camera.excess_noise_factor2 * (efficiency * background + camera.dark_e)
    grey = part.camera.to_photons(np.full(background.shape, 1.0)) - part.camera.to_photons(
        np.zeros(background.shape)
    )
    theory = n * (shot + camera.input_read_variance_e2) / efficiency**2 + (n + 1) * grey**2 / 12
    theory = np.broadcast_to(theory, background.shape)[seen]
    ratio = square / theory
    ordinary = float(np.mean((shot + camera.input_read_variance_e2) / efficiency**2))
    error = float(ratio.std() / np.sqrt(len(ratio)))
    offset = float(mean.std() / np.sqrt(len(mean)))
    return (
        f"| {n} | {square.mean():.1f} | {theory.mean():.1f}"
        f" | {ratio.mean():.4f} ± {error:.4f} | {square.mean() / ordinary:.2f} | "
        f"{mean.mean():+.3f} ± {offset:.3f} |"
    )


def draw(options: argparse.Namespace, sparse: Experiment, sets: dict[str, Set]) -> None:
    """Draw a frame of each set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * (len(sets) + 1), 3.5), layout="constrained")
    camera = build_camera(sparse.conditions.camera, sparse.background.shape)
    first = {"sparse": camera.to_photons(sparse.frames[100])}
    shown = first | {name: part.stack[2] for name, part in sets.items()}
    for axes, (name, frame) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        axes.imshow(frame, cmap="gray", vmin=0, vmax=np.percentile(shown["bin5"], 99.7))
        axes.set(title=name, xticks=[], yticks=[])
    figure.savefig(options.out / "virtual_experiments.png", dpi=110)


def compare(options: argparse.Namespace, sums: Sums, sparse: Experiment, n: int) -> dict[str, Set]:
    """Print the comparison with direct simulation; return the sets."""
    density = n * options.density
    sets = {
        f"bin{n}": binned_set(sums, sparse.truth),
        f"direct {density:g}/µm²": direct_set(options, sums, density, own_camera=True),
        "direct, camera.yaml of the sums": direct_set(options, sums, density, own_camera=False),
    }
    rows = {name: looks(part, sparse.background) for name, part in sets.items()}
    binned = sets[f"bin{n}"]
    scenes = [sums.sequence(index).emitters for index in range(sums.n_sequences)]
    labels = Emitters.concatenate(scenes)["photons"]
    for name, part in sets.items():
        bright = part.truth["photons"][tiers(part.truth) == 1]
        mine = binned.truth["photons"][tiers(binned.truth) == 1]
        rows[name]["photons of truth against bin, KS"] = float(ks_2samp(bright, mine).statistic)
        rows[name]["photons of labels against truth, KS"] = float(
            ks_2samp(bright, labels).statistic
        )
        rows[name]["grey values against bin, KS"] = intensity_ks(binned, part)
    print(f"\n| | {' | '.join(rows)} |\n|---|{'---|' * len(rows)}")
    for key in rows[f"bin{n}"]:
        print(f"| {key} | {' | '.join(f'{row[key]:.3f}' for row in rows.values())} |")
    return sets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="wolf")
    parser.add_argument("--camera", choices=sorted(CAMERAS), default="emccd")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--density", type=float, default=0.08)
    parser.add_argument("--photons", type=float, default=1500.0)
    parser.add_argument("--factors", default="5,10")
    parser.add_argument("--sequences", type=int, default=60)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    experiment = record(options, options.density, options.seed, options.frames)
    config = BinningConfig(sequences=options.sequences, background_frames=options.frames)
    sparse = measure(options, experiment, config)
    assert sparse.correlation is not None
    course = ", ".join(f"{value:.3f}" for value in sparse.correlation.value[:8])
    print(f"blinks: C = {course}; lag {sparse.correlation_lag_frames} frames, {ON_FRAMES:g} on")
    factors = [int(part) for part in options.factors.split(",")]
    made = {n: Sums(sparse, replace_factor(config, n), factor=n) for n in (1, *factors)}
    print(
        "\n| n | true /µm² | labels /µm² | recall beside doubt | precision | RMSE nm | "
        "true in doubt | spots in doubt | pixels ignored | labels of SNR < 2 in the sum |\n"
        f"|{'---|' * 10}"
    )
    for sums in made.values():
        print(labels_row(sums, experiment.truth))
    print(
        "\n| n | summands | blink in two summands % | molecule in two summands % | "
        "correlation of summands | occupied pixels with 2+ % |\n|---|---|---|---|---|---|"
    )
    for n in factors:
        for name, plan in plans(made[n]).items():
            print(shared_row(made[n], experiment.truth, name, plan))
    shown: dict[str, Set] = {}
    for n in factors:
        shown |= compare(options, made[n], experiment, n)
    print(
        "\n| n | variance, photons² | theory | ratio | over a single frame's | mean - background |"
        "\n|---|---|---|---|---|---|"
    )
    for n in factors:
        print(variance_row(made[n], shown[f"bin{n}"], experiment.background))
    shown.pop("direct, camera.yaml of the sums")
    draw(options, experiment, shown)


def replace_factor(config: BinningConfig, n: int) -> BinningConfig:
    """Return the config for sums of ``n``."""
    return config.model_copy(update={"factor": max(n, 2)})


if __name__ == "__main__":
    main()
