"""`localize` on dense simulated movies, beside published results, peers and the Cramér-Rao bound.

    python benchmarks/dense_fit.py [--frames 64] [--fits joint,frame] [--peers VENV/bin/python]

EMCCD, 64×64 pixels of 100 nm, sigma 1.3 px, 20 photons of background that vary by 10 % over the
field, blinks of 2 frames on average, 30 % spread of brightness between molecules. Scores by the
SMLM 2016 rules: pairs within 250 nm, nearest first; a border of 500 nm left out. The camera and
the PSF are given to every program. Of a peer the best of all its thresholds counts, chosen for
each cell with the truth at hand; ours runs with its defaults.

One movie per cell, of a seed that nothing was tuned on. `--out` keeps what was measured as JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2

from hdsmlm.config.camera import EmccdConfig
from hdsmlm.config.localize import LocalizeConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.psf import GaussianPsfConfig, PsfConfig
from hdsmlm.config.test_set import TestCase, TestSetConfig
from hdsmlm.evaluation.matching import Field, inside_border, match_within
from hdsmlm.evaluation.scores import score
from hdsmlm.imaging.fisher_blinks import BlinkRun, place_bound
from hdsmlm.io.movies.array import ArrayMovie
from hdsmlm.io.tables import read_table
from hdsmlm.pipelines.localize import LocalizeJob, localize_movie
from hdsmlm.pipelines.test_set import simulation_of_case
from hdsmlm.records.emitters import Emitters
from hdsmlm.simulation.conditions import draw_conditions
from hdsmlm.simulation.recording import Recording

PIXEL_NM = 100.0
SIGMA_PX = 1.3
SIZE = 64
BORDER_NM = 500.0
DENSITIES = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
PUBLISHED_EFFICIENCY = {
    5000: (86, 76, 67, 58, 47, 36),
    1000: (68, 60, 50, 42, 36, 26),
    300: (25, 17, 15, 6, 4, -1),
}
"""Best of six localizers, each tuned in its favour, on movies of this kind; by density."""
PUBLISHED_F1 = {
    (5000, 2.0): 0.91, (5000, 3.0): 0.87, (5000, 4.0): 0.83, (5000, 6.0): 0.79,
    (1000, 2.0): 0.83, (1000, 3.0): 0.80, (1000, 4.0): 0.77, (1000, 6.0): 0.68,
}  # fmt: skip
"""3D-DAOSTORM's F1 at 100 nm on movies of this kind."""
RUN_FRAMES = 9
"""Length of the runs in which the space-time bound is taken."""
SUBPIXEL_BINS = 10


@dataclass(frozen=True)
class Movie:
    """One cell's recording with its truth."""

    photons: int
    density: float
    frames: np.ndarray
    truth: Emitters
    recording: Recording
    psf: PsfConfig

    @property
    def field(self) -> Field:
        """Frames and size, as the scores need them."""
        return Field(len(self.frames), SIZE, SIZE, PIXEL_NM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--seed", type=int, default=20_417)
    parser.add_argument("--photons", default="5000,1000,300")
    parser.add_argument("--densities", default=",".join(f"{d:g}" for d in DENSITIES))
    parser.add_argument("--fits", default="joint", help="joint, frame, or both by comma; or none")
    parser.add_argument("--model", default="wolf")
    parser.add_argument("--peers", help="Python of an environment with picassosr and sdt-python")
    parser.add_argument("--bounds", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, help="JSON file; what it holds already is kept")
    options = parser.parse_args()
    fits = [name for name in options.fits.split(",") if name != "none"]
    kept = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    for photons in map(int, options.photons.split(",")):
        for density in map(float, options.densities.split(",")):
            movie = simulate(photons, density, options.frames, options.seed)
            cell = kept.setdefault(f"{photons} {density:g}", {})
            cell["true_per_um2"] = len(movie.truth) / movie.field.area_um2 / options.frames
            if options.bounds and "bound_joint_nm" not in cell:
                cell.update(bounds(movie))
            for fit in fits:
                cell[fit] = measure(movie, *ours(movie, fit, options.model))
            if options.peers:
                cell["peers"] = best_of_peers(movie, options.peers)
            if options.out:
                options.out.write_text(json.dumps(kept, indent=1))
            print_cell(photons, density, cell)
    print()
    print_tables(kept)


def simulate(
    photons: int,
    density: float,
    n_frames: int,
    seed: int,
    psf: PsfConfig | None = None,
    z_range_nm: float = 0.0,
) -> Movie:
    """Draw the movie of a cell; the same seed gives the same movie."""
    psf = psf or GaussianPsfConfig(sigma_px=SIGMA_PX)
    case = TestCase(
        name="cell", density_per_um2=density, camera="emccd", photons=photons,
        background_photons=20.0, sigma_px=SIGMA_PX, mean_on_frames=2.0,
    )  # fmt: skip
    config = simulation_of_case(case, TestSetConfig())
    entropy = (seed, photons, int(10 * density))
    drawn = draw_conditions(config, np.random.default_rng(entropy))
    conditions = drawn.model_copy(
        update={
            "camera": EmccdConfig(),
            "psf": psf,
            "z_range_nm": z_range_nm,
            "sigma_spread": 0.0,
            "rate_spread": 0.3,
            "background_structure": 0.1,
        }
    )
    recording = Recording(conditions, (SIZE, SIZE), entropy, horizon=n_frames)
    frames, truth = recording.read(n_frames)
    return Movie(photons, density, frames, truth, recording, psf)


def ours(movie: Movie, fit: str, model: str) -> tuple[Emitters, float]:
    """Return the localizations of `hdsmlm localize` and the processor seconds it took."""
    microscope = MicroscopeConfig(camera=EmccdConfig(), psf=movie.psf, pixel_size_nm=PIXEL_NM)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.hdf5"
        reader = ArrayMovie(movie.frames, pixel_size_nm=PIXEL_NM)
        job = LocalizeJob(movie=reader, out=out, model=model, microscope=microscope)
        start = time.process_time()
        localize_movie(job, LocalizeConfig(fit="joint" if fit == "joint" else "frame"))
        return read_table(out), time.process_time() - start


def measure(movie: Movie, found: Emitters, seconds: float) -> dict[str, Any]:
    """Score a table; with uncertainties also z-scores and where in the pixel positions lie."""
    truth = movie.truth.select(inside_border(movie.truth, movie.field, BORDER_NM))
    found = found.select(inside_border(found, movie.field, BORDER_NM))
    pairs = match_within(truth, found, 250.0)
    result = score(pairs)
    hit, guess = truth.select(pairs.truth_rows), found.select(pairs.predicted_rows)
    row: dict[str, Any] = {
        "efficiency": result.efficiency(),
        "jaccard": result.jaccard,
        "rmse_nm": result.rmse_nm,
        "median_nm": float(np.median(pairs.distances_nm)) if len(pairs) else float("nan"),
        "f1_100nm": score(match_within(truth, found, 100.0)).f1,
        "found": result.tp,
        "false": result.fp,
        "missed": result.fn,
        "cpu_ms_per_frame": 1e3 * seconds / len(movie.frames),
    }
    if "uncertainty_x_nm" in found and len(hit):
        z = np.concatenate(
            [(guess[f"{a}_nm"] - hit[f"{a}_nm"]) / guess[f"uncertainty_{a}_nm"] for a in "xy"]
        )
        row["z_median"] = float(np.median(z))
        row["z_robust_sd"] = float(1.4826 * np.median(np.abs(z - np.median(z))))
        row["z_beyond_3"] = float(np.mean(np.abs(z) > 3))
        _, once = np.unique(hit["emitter_id"], return_index=True)  # rows of one molecule agree
        for name, table in (("", guess), ("true_", hit)):
            row[f"{name}subpixel"] = subpixel_histogram(table.select(once))
    return row


def subpixel_histogram(table: Emitters) -> list[int]:
    """Count positions by where in their pixel they lie, x and y together."""
    inside = np.concatenate([table["x_nm"], table["y_nm"]]) / PIXEL_NM % 1.0
    return np.histogram(inside, SUBPIXEL_BINS, (0.0, 1.0))[0].tolist()


def bounds(movie: Movie) -> dict[str, float]:
    """Median lateral bound of the true blinks, frame by frame and in runs of nine frames."""
    lateral = {
        name: float(np.median(np.hypot(bound[:, 0], bound[:, 1])) * PIXEL_NM)
        for name, bound in bounds_of_rows(movie).items()
    }
    return {f"bound_{name}_nm": value for name, value in lateral.items()}


def bounds_of_rows(movie: Movie) -> dict[str, np.ndarray]:
    """Bounds of x and y in pixels, and z in nm, of true rows inside the border: frame and joint."""
    n_runs = int(np.clip(4 / movie.density, 1, 4))
    camera, psf = movie.recording.camera, movie.recording.psf
    place: dict[str, list[np.ndarray]] = {"frame": [], "joint": []}
    for first in range(0, min(n_runs * RUN_FRAMES, len(movie.frames)), RUN_FRAMES):
        frame = movie.truth["frame"]
        rows = movie.truth.select((frame >= first) & (frame < first + RUN_FRAMES))
        z_nm = rows["z_nm"] if psf.is_3d else np.zeros(len(rows))
        run = BlinkRun(
            rows["frame"].astype(np.int64),
            rows["blink_id"].astype(np.int64),
            np.column_stack([rows["x_nm"] / PIXEL_NM, rows["y_nm"] / PIXEL_NM, z_nm]),
            rows["photons"].astype(float),
            rows["background"].astype(float),
        )
        inside = inside_border(rows, movie.field, BORDER_NM)
        for name, version in (("frame", run.as_single_frames()), ("joint", run)):
            place[name].append(place_bound(version, psf, camera, (SIZE, SIZE))[inside])
    return {name: np.concatenate(values) for name, values in place.items()}


def best_of_peers(movie: Movie, python: str) -> dict[str, Any]:
    """Run each peer with all its thresholds and keep the one of the best efficiency."""
    camera = EmccdConfig()
    best: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "movie.npz", Path(folder) / "found.npz"
        np.savez(
            given,
            frames=movie.frames,
            e_per_adu_input=camera.e_per_adu / camera.em_gain,
            sigma_px=SIGMA_PX,
            background_photons=20.0,
            photons=movie.photons,
            **{k: v for k, v in camera.model_dump().items() if k != "kind"},
        )
        for program in ("picasso", "daostorm"):
            driver = Path(__file__).with_name("peers.py")
            subprocess.run(
                [python, str(driver), str(given), str(out), "--program", program], check=True
            )
            with np.load(out) as file:
                for setting in file.files:
                    name, threshold = setting.split("/")
                    row = measure(movie, _table(file[setting]), float("nan"))
                    row["threshold"] = float(threshold)
                    if name not in best or not row["efficiency"] <= best[name]["efficiency"]:
                        best[name] = row
    return best


def _table(rows: np.ndarray) -> Emitters:
    frame, x_px, y_px = rows.T
    return Emitters({"frame": frame.astype(int), "x_nm": x_px * PIXEL_NM, "y_nm": y_px * PIXEL_NM})


def print_cell(photons: int, density: float, cell: dict[str, Any]) -> None:
    rows = {name: cell[name] for name in ("joint", "frame") if name in cell}
    for name, row in (rows | cell.get("peers", {})).items():
        print(
            f"{photons:5d} photons {density:3g}/µm² {name:14} "
            f"E {row['efficiency']:5.1f}  J {row['jaccard']:.3f}  RMSE {row['rmse_nm']:5.1f} nm  "
            f"F1 {row['f1_100nm']:.3f}  false {row['false']}  missed {row['missed']}",
            flush=True,
        )


def print_tables(cells: dict[str, Any]) -> None:
    """Print the comparison as Markdown."""
    print_comparison(cells)
    if any("peers" in cell for cell in cells.values()):
        print_peers(cells)
    for fit in ("joint", "frame"):
        if any(fit in cell for cell in cells.values()):
            print_quality(cells, fit)
            print_subpixel(cells, fit)


def print_comparison(cells: dict[str, Any]) -> None:
    print(
        "| photons | per µm² | published | joint | difference | frame-wise | Jaccard | RMSE nm | "
        "median error nm | bound, frames nm | bound, space-time nm | F1 100 nm | published F1 |"
    )
    print("|---" * 13 + "|")
    for photons, density, cell in _sorted(cells):
        published = PUBLISHED_EFFICIENCY[photons][DENSITIES.index(density)]
        joint, frame = cell.get("joint", {}), cell.get("frame", {})
        values = [
            f"{photons}", f"{density:g}", f"{published}", _text(joint, "efficiency", 1),
            f"{joint['efficiency'] - published:+.1f}" if joint else "",
            _text(frame, "efficiency", 1), _text(joint, "jaccard", 3), _text(joint, "rmse_nm", 1),
            _text(joint, "median_nm", 1), _text(cell, "bound_frame_nm", 1),
            _text(cell, "bound_joint_nm", 1), _text(joint, "f1_100nm", 3),
            f"{PUBLISHED_F1.get((photons, density), '')}",
        ]  # fmt: skip
        print("| " + " | ".join(values) + " |")
    print()


def print_peers(cells: dict[str, Any]) -> None:
    names = sorted({name for cell in cells.values() for name in cell.get("peers", {})})
    heads = [f"{name}: E, RMSE nm, F1" for name in names]
    print("| photons | per µm² | hdsmlm: E, RMSE nm, F1 | " + " | ".join(heads) + " |")
    print("|---" * (3 + len(names)) + "|")
    for photons, density, cell in _sorted(cells):
        rows = [cell.get("joint", {}), *(cell.get("peers", {}).get(name, {}) for name in names)]
        texts = [
            f"{_text(r, 'efficiency', 1)}, {_text(r, 'rmse_nm', 0)}, {_text(r, 'f1_100nm', 2)}"
            for r in rows
        ]
        print(f"| {photons} | {density:g} | " + " | ".join(texts) + " |")
    print()


def print_quality(cells: dict[str, Any], fit: str) -> None:
    print(f"| {fit} fit: photons | per µm² | found | false | missed | z median | z robust sd | "
          "beyond 3 |")  # fmt: skip
    print("|---" * 8 + "|")
    for photons, density, cell in _sorted(cells):
        row = cell.get(fit, {})
        values = [_text(row, name, 0) for name in ("found", "false", "missed")]
        values += [_text(row, name, 2) for name in ("z_median", "z_robust_sd")]
        print(f"| {photons} | {density:g} | " + " | ".join(values)
              + f" | {_text(row, 'z_beyond_3', 3)} |")  # fmt: skip
    print()


def print_subpixel(cells: dict[str, Any], fit: str) -> None:
    """Chi-square of the position within the pixel against a flat histogram, densities pooled."""
    print(f"| {fit} fit: photons | positions | chi² of fitted ({SUBPIXEL_BINS - 1} d.o.f.) | p | "
          "chi² of true | p |")  # fmt: skip
    print("|---" * 6 + "|")
    for photons in PUBLISHED_EFFICIENCY:
        values: list[str] = []
        for name in ("subpixel", "true_subpixel"):
            rows = [cell[fit][name] for p, _, cell in _sorted(cells)
                    if p == photons and name in cell.get(fit, {})]  # fmt: skip
            if not rows:
                continue
            total = np.sum(rows, axis=0)
            expected = total.sum() / SUBPIXEL_BINS
            value = float(np.sum((total - expected) ** 2) / expected)
            if not values:
                values.append(f"{total.sum()}")
            values += [f"{value:.1f}", f"{chi2.sf(value, SUBPIXEL_BINS - 1):.2g}"]
        if values:
            print(f"| {photons} | " + " | ".join(values) + " |")
    print()


def _sorted(cells: dict[str, Any]) -> list[tuple[int, float, dict[str, Any]]]:
    rows = [(int(key.split()[0]), float(key.split()[1]), cell) for key, cell in cells.items()]
    return sorted(rows, key=lambda row: (-row[0], row[1]))


def _text(row: dict[str, Any], name: str, digits: int) -> str:
    return f"{row[name]:.{digits}f}" if name in row else ""


if __name__ == "__main__":
    main()
