"""Localize a movie with programs that pip installs, for the comparison in dense_fit.py.

    python -m venv peers && peers/bin/pip install picassosr sdt-python
    python benchmarks/dense_fit.py --peers peers/bin/python

This script runs in the peers' own environment and knows nothing of hdsmlm. It reads the frames and
the true camera from one .npz file and writes the localizations of every setting into another, with
x and y in pixels from the outer corner of the first pixel. What is swept is each program's
detection threshold, and nothing is held back: the caller keeps the setting that scores best.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np

PICASSO_BOX = 7
PICASSO_MIN_SHARE = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6)
"""Least net gradient, as a share of that of an isolated emitter of median brightness."""
DAOSTORM_SCORES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Threshold above the background, in standard deviations of the background."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("movie")
    parser.add_argument("out")
    parser.add_argument("--program", choices=("picasso", "daostorm"), required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # they are the peers', not ours to mend
    with np.load(options.movie) as file:
        movie = {name: file[name] for name in file.files}
    run = picasso if options.program == "picasso" else daostorm
    found = {}
    for setting, (frame, x_px, y_px) in run(movie).items():
        found[setting] = np.column_stack([frame, x_px, y_px])
    np.savez(options.out, **found)


def photons(movie: dict[str, np.ndarray]) -> np.ndarray:
    """Return frames in photo-electrons, offset removed."""
    return (movie["frames"].astype(float) - movie["baseline_adu"]) * movie["e_per_adu_input"]


def picasso(movie: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, ...]]:
    """Picasso: spots from the net gradient, each fitted alone in a box by MLE or least squares."""
    from picasso import gausslq, gaussmle, localize

    frames = np.ascontiguousarray(movie["frames"])
    camera = {
        "Baseline": float(movie["baseline_adu"]),
        "Sensitivity": float(movie["e_per_adu"]),
        "Gain": float(movie["em_gain"]),
        "Qe": 1.0,
    }
    isolated = _isolated_gradient(movie, localize)
    spots_at = localize.identify(frames, PICASSO_MIN_SHARE[0] * isolated, PICASSO_BOX)
    if isinstance(spots_at, tuple):  # newer versions return (table, information)
        spots_at = spots_at[0]
    if hasattr(spots_at, "to_records"):
        spots_at = spots_at.reset_index(drop=True)
    spots = localize.get_spots(frames, spots_at, PICASSO_BOX, camera)
    theta, *_ = gaussmle.gaussmle(spots, 1e-3, 100, method="sigma")
    least = gausslq.fit_spots(spots)
    corner = PICASSO_BOX // 2
    places = {
        "MLE": (theta[:, 0] - corner, theta[:, 1] - corner),
        "LQ": (least[:, 0], least[:, 1]),
    }
    frame, net = np.asarray(spots_at["frame"]), np.asarray(spots_at["net_gradient"])
    found = {}
    for name, (dx, dy) in places.items():
        x_px = np.asarray(spots_at["x"]) + dx + 0.5
        y_px = np.asarray(spots_at["y"]) + dy + 0.5
        fitted = np.isfinite(x_px) & np.isfinite(y_px)
        fitted &= (np.abs(dx) < PICASSO_BOX) & (np.abs(dy) < PICASSO_BOX)
        for share in PICASSO_MIN_SHARE:
            kept = fitted & (net >= share * isolated)
            found[f"Picasso {name}/{share:g}"] = (frame[kept], x_px[kept], y_px[kept])
    return found


def _isolated_gradient(movie: dict[str, np.ndarray], localize: object) -> float:
    """Return the net gradient of one noiseless emitter in the middle of a pixel, grey values."""
    size = 21
    axis = np.arange(size) - size // 2
    profile = np.exp(-0.5 * (axis / float(movie["sigma_px"])) ** 2)
    share = np.outer(profile, profile) / profile.sum() ** 2
    grey = share * movie["photons"] * movie["quantum_efficiency"] / movie["e_per_adu_input"]
    frame = np.rint(grey + 1000).astype(np.float32)
    _, _, net = localize.identify_in_image(frame, 0.0, PICASSO_BOX)
    return float(net.max())


def daostorm(movie: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, ...]]:
    """3D-DAOSTORM (sdt-python): peaks, a joint fit of all, residual, more peaks; width fixed."""
    from sdt.loc import daostorm_3d

    frames = photons(movie)
    background = float(movie["background_photons"] * movie["quantum_efficiency"])
    noise = np.sqrt(2 * background)
    found = {}
    for score in DAOSTORM_SCORES:
        table = daostorm_3d.batch(
            frames,
            float(movie["sigma_px"]),
            "2dfixed",
            score * noise,
            max_iterations=20,
            find_filter="Identity",
            num_threads=1,
        )
        columns = [np.asarray(table[name], float) for name in ("frame", "x", "y")]
        found[f"3D-DAOSTORM/{score:g}"] = (columns[0], columns[1] + 0.5, columns[2] + 0.5)
    return found


if __name__ == "__main__":
    main()
