"""Pictures of a frame with the emitters drawn on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.evaluation.matching import Matching
from hdsmlm.evaluation.scores import tiers
from hdsmlm.io.writing import atomic_path
from hdsmlm.labels.counts import RELIABLE_SNR
from hdsmlm.records.emitters import Emitters
from hdsmlm.units import NM_PER_UM, nm_to_px

CORRECT_COLOUR = "#c264ff"
"""Purple: a prediction that is matched to a true emitter."""
MISSED_COLOUR = "#ff4538"
"""Red: a true emitter without a prediction."""
FAINT_COLOUR = "#b05a55"
"""Dull red: a true emitter of SNR < 2, excluded from training, without a prediction."""
FALSE_COLOUR = "#38a3ff"
"""Blue: a prediction without a true emitter."""
UNKNOWN_COLOUR = "#ffd23f"
"""Yellow: a prediction where no truth is known."""

_DPI = 100
_LONG_SIDE_SCREEN_PX = 1000
_FOOT_INCH = 0.42
_HEAD_INCH = 0.36


@dataclass(frozen=True)
class Marks:
    """Emitters that are drawn alike.

    Parameters
    ----------
    name : str
        Their name in the legend.
    xy_px : array, shape (n, 2)
        Positions (x, y) in pixels from the corner of the first pixel.
    colour : str
        Colour as ``#rrggbb``.
    symbol : str
        Matplotlib marker: ``"o"``, ``"s"``, ``"x"``.
    """

    name: str
    xy_px: NDArray[np.float64]
    colour: str
    symbol: str = "o"


def draw_overlay(
    frame: NDArray[np.generic],
    marks: Sequence[Marks],
    path: Path,
    pixel_size_nm: float | None = None,
    title: str = "",
) -> Path:
    """Write a PNG of ``frame`` in grey with ``marks``, a legend and a scale bar.

    Parameters
    ----------
    frame : array, shape (y, x)
        Camera counts; shown from their 1st to their 99.8th percentile.
    marks : sequence of Marks
        Drawn in this order; see :func:`scored_marks` and :func:`predicted_marks`.
    path : Path
        The PNG to write.
    pixel_size_nm : float, optional
        For the scale bar; without it there is none.
    title : str
        Printed above the picture.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    from matplotlib.figure import Figure

    height, width = frame.shape
    zoom = float(np.clip(_LONG_SIDE_SCREEN_PX / max(height, width), 1.0, 14.0))
    picture_inch = height * zoom / _DPI
    width_inch = max(width * zoom / _DPI, 4.2)
    height_inch = picture_inch + _FOOT_INCH + _HEAD_INCH
    figure = Figure(figsize=(width_inch, height_inch), dpi=_DPI, facecolor="#14161a")
    axes = figure.add_axes((0, _FOOT_INCH / height_inch, 1, picture_inch / height_inch))
    axes.set_axis_off()
    low, high = np.percentile(frame.astype(np.float64), (1.0, 99.8))
    axes.imshow(
        frame,
        cmap="gray",
        vmin=low,
        vmax=max(high, low + 1e-9),
        extent=(0, width, height, 0),
        interpolation="nearest",
    )
    _draw_marks(axes, marks, zoom)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    if pixel_size_nm is not None:
        _draw_scale_bar(axes, frame.shape, pixel_size_nm, zoom)
    top = 1.0 - 0.5 * _HEAD_INCH / height_inch
    figure.text(0.5, top, title, color="#e8e8ea", ha="center", va="center", fontsize=11)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="center",
        bbox_to_anchor=(0.5, 0.5 * _FOOT_INCH / height_inch),
        ncols=max(len(names), 1),
        frameon=False,
        labelcolor="#e8e8ea",
        fontsize=10,
        handletextpad=0.3,
        columnspacing=1.4,
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", facecolor=figure.get_facecolor())
    return path


def predicted_marks(predicted: Emitters, frame: int, pixel_size_nm: float) -> tuple[Marks, ...]:
    """Return the predictions of one frame, where no truth is known."""
    xy_px = _positions_px(predicted.select(predicted["frame"] == frame), pixel_size_nm)
    return (Marks(f"predicted ({len(xy_px)})", xy_px, UNKNOWN_COLOUR),)


def scored_marks(
    truth: Emitters,
    predicted: Emitters,
    matching: Matching,
    frame: int,
    pixel_size_nm: float,
) -> tuple[Marks, ...]:
    """Return one frame's correct (purple), missed (red) and false (blue) emitters.

    A correct emitter is drawn where it was predicted, a missed one where it truly is. Missed
    emitters of tier 2 and 3 (SNR < 2) are a group of their own, in dull red.
    """
    correct = matching.predicted_matched & (predicted["frame"] == frame)
    false = ~matching.predicted_matched & (predicted["frame"] == frame)
    missed = ~matching.truth_matched & (truth["frame"] == frame)
    reliable = tiers(truth) == 1
    parts = [
        ("correct", predicted.select(correct), CORRECT_COLOUR, "o"),
        ("missed", truth.select(missed & reliable), MISSED_COLOUR, "s"),
        ("false", predicted.select(false), FALSE_COLOUR, "x"),
    ]
    if not reliable.all():
        faint = truth.select(missed & ~reliable)
        parts.insert(2, (f"missed, SNR < {RELIABLE_SNR:g}", faint, FAINT_COLOUR, "s"))
    return tuple(
        Marks(f"{name} ({len(table)})", _positions_px(table, pixel_size_nm), colour, symbol)
        for name, table, colour, symbol in parts
    )


def _positions_px(table: Emitters, pixel_size_nm: float) -> NDArray[np.float64]:
    xy_nm = np.column_stack([table["x_nm"], table["y_nm"]])
    return np.asarray(nm_to_px(xy_nm, pixel_size_nm))


def _draw_marks(axes: Any, marks: Sequence[Marks], zoom: float) -> None:
    diameter_points = float(np.clip(1.3 * zoom, 6.0, 16.0)) * 72.0 / _DPI
    for group in marks:
        open_symbol = group.symbol not in ("x", "+")
        axes.scatter(
            group.xy_px[:, 0],
            group.xy_px[:, 1],
            s=(diameter_points * (1.0 if open_symbol else 0.8)) ** 2,
            marker=group.symbol,
            linewidths=1.4,
            label=group.name,
            **({"facecolors": "none", "edgecolors": group.colour} if open_symbol else {}),
            **({} if open_symbol else {"color": group.colour}),
        )


def _draw_scale_bar(axes: Any, shape: tuple[int, ...], pixel_size_nm: float, zoom: float) -> None:
    height, width = shape
    field_um = width * pixel_size_nm / NM_PER_UM
    steps = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100])
    length_um = float(steps[np.argmin(np.abs(steps - field_um / 6.0))])
    length_px = length_um * NM_PER_UM / pixel_size_nm
    right, bottom = width - 14 / zoom, height - 14 / zoom
    back = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 2.0}
    axes.plot(
        [right - length_px, right], [bottom, bottom], color="white", lw=4, solid_capstyle="butt"
    )
    axes.text(
        right - length_px / 2,
        bottom - 8 / zoom,
        f"{length_um:g} µm",
        color="white",
        ha="center",
        va="bottom",
        fontsize=10,
        bbox=back,
    )
