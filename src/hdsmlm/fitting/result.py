"""What a fit gives back, by frames or by windows of frames."""

from __future__ import annotations

from dataclasses import dataclass

from hdsmlm.records.emitters import Emitters

LEAST_WEIGHT = 0.01
"""Alternatives with less posterior weight are not kept."""


@dataclass(frozen=True)
class FitResult:
    """Outcome of a fit.

    Parameters
    ----------
    localizations : Emitters
        One row per emitter and frame, sorted by frame, y, x.
    alternatives : Emitters or None
        What was not chosen, ``probability`` its posterior weight: other numbers of emitters in the
        same groups (:func:`hdsmlm.fitting.fit_table.rejected_counts`), or further localizations
        (:func:`hdsmlm.fitting.blink_table.refused_rows`). None unless they were asked for.
    """

    localizations: Emitters
    alternatives: Emitters | None = None
