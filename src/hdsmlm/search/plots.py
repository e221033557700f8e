"""Plots of a search as SVG text that follows the page's colours; no library, no script."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from hdsmlm.config.search import ValueRange
from hdsmlm.search.record import TrialRecord
from hdsmlm.search.summary import Summary, plain, short_names, value_text

_HEIGHT = 300
_TOP, _BOTTOM = 30, 40
_AXIS_GAP = 150
_MARGIN = 70


@dataclass(frozen=True)
class Axis:
    """One axis: where a trial lies on it, from 0 to 1, and its labels.

    Parameters
    ----------
    title : str
        Heading.
    ticks : tuple of (float, str)
        Place and text.
    place : callable
        Trial to place.
    """

    title: str
    ticks: tuple[tuple[float, str], ...]
    place: Callable[[TrialRecord], float]


def axes_of(summary: Summary) -> list[Axis]:
    """Return an axis per varied field, then that of the score."""
    names = short_names(list(summary.config.space))
    return [*(_field_axis(summary, f, names[f]) for f in names), score_axis(summary)]


def score_axis(summary: Summary) -> Axis:
    """Return the axis of the compared score."""
    scores = [summary.score(record) for record in summary.complete]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    span = high - low or 1.0
    ticks = tuple((k / 4, f"{low + k / 4 * span:.4f}") for k in range(5))
    return Axis(summary.config.metric, ticks, lambda record: (summary.score(record) - low) / span)


def _field_axis(summary: Summary, field: str, title: str) -> Axis:
    choice = summary.config.space[field]
    if isinstance(choice, ValueRange):
        scale = math.log if choice.log else float
        low, high = scale(choice.low), scale(choice.high)
        back = math.exp if choice.log else float
        ticks = tuple((k / 3, f"{back(low + k / 3 * (high - low)):.3g}") for k in range(4))
        return Axis(title, ticks, lambda r: (scale(float(r.values[field])) - low) / (high - low))
    places = {plain(v): (k + 0.5) / len(choice) for k, v in enumerate(choice)}
    ticks = tuple((places[plain(value)], value_text(value)) for value in choice)
    return Axis(title, ticks, lambda record: places[plain(record.values[field])])


def parallel_coordinates(summary: Summary) -> str:
    """Return the plot of all complete trials: one line each, the better the more colour."""
    axes = axes_of(summary)
    width = 2 * _MARGIN + _AXIS_GAP * (len(axes) - 1)
    parts = [_open(width)]
    goodness = _goodness(summary)
    for record in reversed(summary.complete):  # the best on top
        points = " ".join(
            f"{_MARGIN + _AXIS_GAP * k:.1f},{_y(axis.place(record)):.1f}"
            for k, axis in enumerate(axes)
        )
        share = goodness[record.number]
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="var(--purple)" '
            f'stroke-width="{1.2 + 1.6 * share:.2f}" opacity="{0.2 + 0.8 * share:.2f}">'
            f"<title>{escape(_hint(summary, record))}</title></polyline>"
        )
    for k, axis in enumerate(axes):
        parts += _draw_axis(axis, _MARGIN + _AXIS_GAP * k)
    return "\n".join([*parts, "</svg>"])


def field_plot(summary: Summary, field: str) -> str:
    """Return the plot of the score against one field: a dot per trial, a bar at each mean."""
    axis = _field_axis(summary, field, short_names(list(summary.config.space))[field])
    score = score_axis(summary)
    width, left = 420, 64
    inner = width - left - 20
    parts = [_open(width)]
    for place, text in score.ticks:
        y = _y(place)
        parts.append(
            f'<line x1="{left}" x2="{width - 20}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        )
        parts.append(_text(left - 6, y + 4, text, "end"))
    for place, text in axis.ticks:
        parts.append(_text(left + inner * place, _HEIGHT - _BOTTOM + 18, text, "middle"))
    for record in summary.complete:
        x = left + inner * axis.place(record)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{_y(score.place(record)):.1f}" r="4.5" '
            f'fill="var(--purple)" opacity="0.55"><title>{escape(_hint(summary, record))}</title>'
            "</circle>"
        )
    parts += _means(summary, field, axis, left, inner)
    parts.append(_text(left + inner / 2, _HEIGHT - 4, axis.title, "middle"))
    return "\n".join([*parts, "</svg>"])


def _means(summary: Summary, field: str, axis: Axis, left: float, inner: float) -> list[str]:
    effects = {effect.value: effect for effect in summary.effects(field)}
    scores = [summary.score(record) for record in summary.complete]
    low, span = min(scores, default=0.0), (max(scores, default=1.0) - min(scores, default=0.0))
    parts = []
    for place, text in axis.ticks if effects else ():
        if text in effects:
            y = _y((effects[text].mean - low) / (span or 1.0))
            x = left + inner * place
            parts.append(
                f'<line x1="{x - 16:.1f}" x2="{x + 16:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
                'stroke="var(--red)" stroke-width="2.5"/>'
            )
    return parts


def _goodness(summary: Summary) -> dict[int, float]:
    """Return 1 for the best complete trial down to 0 for the worst, by rank."""
    ranked: Sequence[TrialRecord] = summary.complete
    last = max(1, len(ranked) - 1)
    return {record.number: 1 - rank / last for rank, record in enumerate(ranked)}


def _hint(summary: Summary, record: TrialRecord) -> str:
    names = short_names(list(summary.config.space))
    values = ", ".join(f"{names[f]} {value_text(v)}" for f, v in record.values.items())
    score = f"{summary.config.metric} {summary.score(record):.4f}"
    return f"trial {record.number}: {score}; {values}"


def _draw_axis(axis: Axis, x: float) -> list[str]:
    parts = [f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" class="axis"/>']
    parts.append(_text(x, _HEIGHT - 12, axis.title, "middle"))
    parts += [_text(x + 6, _y(place) + 4, text, "start") for place, text in axis.ticks]
    return parts


def _y(place: float) -> float:
    return _HEIGHT - _BOTTOM - place * (_HEIGHT - _TOP - _BOTTOM)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _open(width: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {_HEIGHT}" '
        'role="img" fill="currentColor" font-size="11">'
    )
