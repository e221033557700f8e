"""Plots of the report as SVG text that follows the page's colours in light and dark.

Axes and text are drawn in placeholder colours that are then replaced by ``currentColor`` and by the
page's variable for grid lines.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.evaluation.bins import BinScore
from hdsmlm.evaluation.calibration import Calibration
from hdsmlm.evaluation.counts import CountScores

_INK, _GRID = "#010203", "#040506"
F1_COLOUR, PRECISION_COLOUR, RECALL_COLOUR, CHANCE_COLOUR = (
    "#a24de0",
    "#2d8fe8",
    "#e5533d",
    "#8a8f98",
)
_FEW = 10  # points of fewer places say nothing and are not drawn
_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hdsmlm",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


def density_plot(bins: Sequence[BinScore]) -> str:
    """F1, precision and recall by local density, with the F1 of chance."""
    shown = [part for part in bins if part.score.tp + part.score.fn >= _FEW]

    def draw(axes: Any) -> None:
        place = np.arange(len(shown))
        for name, colour in (
            ("precision", PRECISION_COLOUR),
            ("recall", RECALL_COLOUR),
            ("f1", F1_COLOUR),
        ):
            values = [getattr(part.score, name) for part in shown]
            axes.plot(place, values, "o-", color=colour, label=name.replace("f1", "F1"))
        chance = [part.chance_f1 for part in shown]
        axes.plot(place, chance, "o--", color=CHANCE_COLOUR, label="F1 of chance", markersize=3.5)
        _category_axis(axes, shown, "local density of true emitters (per µm² and frame)")
        axes.set_ylabel("score (kNN, tier 1)")
        axes.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), columnspacing=1.2)

    return _svg(draw)


def snr_plot(bins: Sequence[BinScore]) -> str:
    """Recall by signal-to-noise ratio."""
    shown = [part for part in bins if part.score.tp + part.score.fn >= _FEW]

    def draw(axes: Any) -> None:
        place = np.arange(len(shown))
        axes.bar(place, [part.score.recall for part in shown], color=RECALL_COLOUR, width=0.7)
        _category_axis(axes, shown, "signal-to-noise ratio of the true emitter")
        axes.set_ylabel("recall (kNN, all tiers)")

    return _svg(draw)


def reliability_plot(calibration: Calibration) -> str:
    """Share of occupied pixels against the probability that was given."""

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], "--", color=CHANCE_COLOUR, lw=1.2, label="calibrated")
        some = calibration.n >= _FEW
        mean, observed = calibration.mean_probability[some], calibration.observed_share[some]
        error = np.sqrt(observed * (1.0 - observed) / calibration.n[some])
        axes.errorbar(
            mean, observed, error, fmt="o-", color=F1_COLOUR, label="count map", clip_on=False
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability that the pixel is occupied")
        axes.set_ylabel("share of pixels that are")
        axes.set_aspect("equal")
        axes.grid(True)
        axes.legend(loc="upper left")

    return _svg(draw, size_inch=(4.2, 3.9))


def confusion_plot(confusion: NDArray[np.int64], window_px: int) -> str:
    """Confusion of the counts 0, 1, 2, 3+ per window; shades and shares are by row."""
    names = ("0", "1", "2", "3+")

    def draw(axes: Any) -> None:
        rows = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
        share = confusion / rows
        for i in range(4):
            for j in range(4):
                cell = (j - 0.5, i - 0.5)
                colour = F1_COLOUR if i == j else RECALL_COLOUR
                axes.add_patch(_rectangle(cell, colour, 0.06 + 0.74 * float(share[i, j])))
                axes.text(j, i - 0.1, f"{100 * share[i, j]:.1f} %", ha="center", va="center")
                axes.text(
                    j, i + 0.22, f"{confusion[i, j]:,}", ha="center", va="center", fontsize=7.5
                )
        axes.set(xlim=(-0.5, 3.5), ylim=(3.5, -0.5), xticks=range(4), yticks=range(4))
        axes.set_xticklabels(names)
        axes.set_yticklabels(names)
        axes.set_xlabel(f"counted emitters per {window_px}×{window_px} px")
        axes.set_ylabel("true emitters")
        axes.set_aspect("equal")
        axes.tick_params(length=0)

    return _svg(draw, size_inch=(4.2, 3.9))


def count_plot(sources: dict[str, CountScores]) -> str:
    """Mean counted against true number of emitters per window."""

    def draw(axes: Any) -> None:
        top = 1
        for (name, scores), colour in zip(
            sources.items(), (PRECISION_COLOUR, F1_COLOUR), strict=False
        ):
            enough = np.flatnonzero(scores.n_by_truth >= _FEW)
            axes.plot(
                enough,
                scores.mean_by_truth[enough],
                "o-",
                color=colour,
                label={"table": "rows of the table", "map": "count map"}[name],
            )
            top = max(top, int(enough.max(initial=1)))
        axes.plot([0, top], [0, top], "--", color=CHANCE_COLOUR, lw=1.2, label="unbiased")
        axes.set_xlabel("true emitters in the window")
        axes.set_ylabel("mean counted emitters")
        axes.grid(True)
        axes.legend(loc="upper left")
        axes.locator_params(integer=True)

    return _svg(draw, size_inch=(4.2, 3.9))


def _category_axis(axes: Any, bins: Sequence[BinScore], title: str) -> None:
    labels = [f"{part.label}\n{_short(part.score.tp + part.score.fn)}" for part in bins]
    axes.set_xticks(range(len(bins)), labels, fontsize=8.5)
    axes.set_xlabel(f"{title}\nbelow each bin: number of true emitters")
    axes.set_ylim(0, 1.02)
    axes.set_xlim(-0.5, len(bins) - 0.5)
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)


def _short(number: int) -> str:
    return f"{number / 1000:.1f}k" if number >= 10_000 else f"{number}"


def _rectangle(corner: tuple[float, float], colour: str, alpha: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 1.0, 1.0, facecolor=colour, alpha=alpha, edgecolor="none")


def _svg(draw: Callable[[Any], None], size_inch: tuple[float, float] = (6.4, 3.7)) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_RC):
        figure = Figure(figsize=size_inch, layout="constrained")
        draw(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    return text.replace(_INK, "currentColor").replace(_GRID, "var(--line)")
