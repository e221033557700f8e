"""Draw docs/images/overview.png: a dense frame, what the model sees in it, what is right.

Run it from the root of the repository: ``python docs/images/make_overview.py``.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from hdsmlm.bundle import load_bundle
from hdsmlm.evaluation.matching import match_knn
from hdsmlm.evaluation.overlay import CORRECT_COLOUR, FALSE_COLOUR, MISSED_COLOUR
from hdsmlm.evaluation.scores import score, tiers
from hdsmlm.inference.decode import decode
from hdsmlm.inference.engines import build_engine
from hdsmlm.inference.predictor import Predictor
from hdsmlm.normalization import normalizer_of_array
from hdsmlm.pipelines.demo import DEMO_MOVIE
from hdsmlm.records.count_map import expected_count
from hdsmlm.simulation.scene import SceneSampler
from hdsmlm.units import corner_to_centre_px, nm_to_px

FRAME = 4
CROP = slice(20, 84)
BACKGROUND = "#101014"


def main(model: str = "wolf") -> None:
    """Simulate, predict, draw."""
    bundle = load_bundle(model)
    scene = SceneSampler(DEMO_MOVIE.simulation, (9, 128, 128)).draw(11, 0)
    normalize = normalizer_of_array(scene.frames, bundle.manifest.normalization)
    predictor = Predictor(build_engine("openvino", bundle), bundle.manifest)
    probabilities = predictor.predict(normalize(scene.frames, 0))
    found = decode(probabilities, bundle.manifest.decoding, pixel_size_nm=scene.pixel_size_nm)
    matching = match_knn(scene.emitters, found, scene.pixel_size_nm)
    result = score(matching, tiers(scene.emitters) == 1)

    figure, axes = plt.subplots(1, 3, figsize=(13.2, 4.9), facecolor=BACKGROUND)
    titles = (
        "one frame of a dense movie",
        "expected emitters per pixel",
        f"correct, missed, false (F1 {result.f1:.2f})",
    )
    grey = scene.frames[FRAME].astype(float)
    levels = {"vmin": np.percentile(grey, 1), "vmax": np.percentile(grey, 99.7)}
    axes[0].imshow(grey, cmap="gray", **levels)
    counts = expected_count(probabilities)[FRAME]
    axes[1].imshow(counts, cmap="magma", vmin=0, vmax=1)
    axes[2].imshow(grey, cmap="gray", **levels)
    _draw_marks(axes[2], scene, found, matching)
    for axis, title in zip(axes, titles, strict=True):
        axis.set_xlim(CROP.start - 0.5, CROP.stop - 0.5)
        axis.set_ylim(CROP.stop - 0.5, CROP.start - 0.5)
        axis.set_title(title, color="white", fontsize=13)
        axis.set_axis_off()
    bar_px = 1000.0 / scene.pixel_size_nm
    x, y = CROP.stop - bar_px - 3, CROP.stop - 4
    axes[0].plot([x, x + bar_px], [y, y], color="white", linewidth=4, solid_capstyle="butt")
    axes[0].text(x + bar_px / 2, y - 1.5, "1 µm", color="white", ha="center", fontsize=11)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.92, bottom=0.01, wspace=0.02)
    target = Path(__file__).with_name("overview.png")
    figure.savefig(target, dpi=90, facecolor=BACKGROUND)


def _draw_marks(axis, scene, found, matching) -> None:
    groups = (
        (found, matching.predicted_matched, CORRECT_COLOUR, "o"),
        (scene.emitters, ~matching.truth_matched, MISSED_COLOUR, "s"),
        (found, ~matching.predicted_matched, FALSE_COLOUR, "x"),
    )
    for table, chosen, colour, symbol in groups:
        here = table.select(chosen & (table["frame"] == FRAME))
        x = corner_to_centre_px(nm_to_px(here["x_nm"], scene.pixel_size_nm))
        y = corner_to_centre_px(nm_to_px(here["y_nm"], scene.pixel_size_nm))
        filled = {"facecolors": "none"} if symbol != "x" else {}
        edge = {"edgecolors": colour} if symbol != "x" else {"c": colour}
        axis.scatter(x, y, s=42, marker=symbol, linewidths=1.5, **edge, **filled)


if __name__ == "__main__":
    main(*sys.argv[1:])
