"""Do two tables and a field belong together? Wrong units and shifted frames look like bad scores.

What cannot be scored is an error; what looks odd is a note for the reader of the score.
"""

from __future__ import annotations

import numpy as np

from hdsmlm.errors import TableError
from hdsmlm.evaluation.matching import Field, match_knn
from hdsmlm.evaluation.result import Evaluation
from hdsmlm.evaluation.scores import score
from hdsmlm.records.emitters import Emitters

_OUTSIDE_SHARE = 0.05
_SHIFT_EMITTERS = 20_000


def require_rows(table: Emitters, name: str) -> None:
    """Raise TableError for a table without rows."""
    if not len(table):
        raise TableError(f"{name}: the table has no rows; emitters to compare were wanted")


def require_common_frames(truth: Emitters, predicted: Emitters) -> None:
    """Raise TableError when no frame holds rows of both tables, unless nothing is predicted."""
    if not len(predicted):
        return
    if np.intersect1d(truth["frame"], predicted["frame"]).size:
        return
    spans = [f"{t['frame'].min()} to {t['frame'].max()}" for t in (truth, predicted)]
    raise TableError(
        f"truth and prediction have no frame in common: counted from 0, the truth lies in frames "
        f"{spans[0]}, the prediction in {spans[1]}. Check that both belong to the same movie and "
        "state the number of the first frame of each file"
    )


def require_inside(table: Emitters, name: str, field: Field) -> None:
    """Raise TableError when positions do not fit the field, naming the likely pixel size."""
    if not len(table):
        return
    x_nm, y_nm = table["x_nm"], table["y_nm"]
    outside = (x_nm < 0) | (x_nm > field.width_nm) | (y_nm < 0) | (y_nm > field.height_nm)
    share = float(outside.mean())
    x_far, y_far = (float(np.percentile(values, 99.9)) for values in (x_nm, y_nm))
    size = (
        f"{field.height}×{field.width} px of {field.pixel_size_nm:g} nm "
        f"= {field.height_nm:g}×{field.width_nm:g} nm (height × width)"
    )
    if share > _OUTSIDE_SHARE:
        negative = float(((x_nm < 0) | (y_nm < 0)).mean())
        if negative > share / 2:
            hint = "Many are negative: positions must start at the corner of the first pixel"
        else:
            likely = max(x_far / field.width, y_far / field.height)
            hint = f"They would fit a pixel size of about {likely:.3g} nm; check the pixel size"
        raise TableError(
            f"{name}: {100 * share:.0f} % of the positions lie outside the field of {size}; they "
            f"reach x = {x_far:.5g} nm, y = {y_far:.5g} nm. {hint} and the size of the frames"
        )
    if len(table) >= 50 and x_far <= field.width and y_far <= field.height:
        raise TableError(
            f"{name}: all positions lie within {max(x_far, y_far):.3g} nm of the corner of a field "
            f"of {size}; they seem to be in pixels. Give a column header with the unit, such as "
            "'x [nm]' or 'x [px]'"
        )


def extent_notes(truth: Emitters, field: Field) -> tuple[str, ...]:
    """Return a note when the truth fills so little of the field that the pixel size is doubtful."""
    x_far, y_far = (float(np.percentile(truth[name], 99.9)) for name in ("x_nm", "y_nm"))
    filled = max(x_far / field.width_nm, y_far / field.height_nm)
    if len(truth) < 50 or filled > 0.6:
        return ()
    likely = filled * field.pixel_size_nm
    return (
        f"The true emitters reach over only {100 * filled:.0f} % of the field. If they should fill "
        f"it, the pixel size is about {likely:.3g} nm and not {field.pixel_size_nm:g} nm.",
    )


def frame_notes(truth: Emitters, predicted: Emitters, field: Field) -> tuple[str, ...]:
    """Return notes on frames that seem shifted by one, or that the prediction does not reach."""
    if not len(predicted):
        return ("The prediction has no rows: every true emitter counts as missed.",)
    notes = []
    few = truth.select(truth["frame"] <= _frame_of_row(truth, _SHIFT_EMITTERS))
    reach = predicted.select(predicted["frame"] <= int(few["frame"].max()) + 1)
    f1 = {
        shift: score(
            match_knn(few, reach.with_columns(frame=reach["frame"] + shift), field.pixel_size_nm)
        ).f1
        for shift in (-1, 0, 1)
    }
    best = max(f1, key=lambda shift: f1[shift])
    if f1[best] > f1[0] + 0.05:
        notes.append(
            f"With the predicted frames shifted by {best:+d} the F1 would be {f1[best]:.2f} and "
            f"not {f1[0]:.2f}: the tables seem to count frames from different numbers."
        )
    behind = int(truth["frame"].max()) - int(predicted["frame"].max())
    if behind > max(5, 0.05 * field.n_frames):
        notes.append(
            f"The truth goes on for {behind} frames after the last predicted one; "
            "their emitters count as missed."
        )
    return tuple(notes)


def offset_notes(evaluation: Evaluation) -> tuple[str, ...]:
    """Return a note when the matches are off by a constant shift, as from another origin."""
    x_nm, y_nm = evaluation.offset_nm
    if not np.hypot(x_nm, y_nm) > 0.3 * evaluation.field.pixel_size_nm:
        return ()
    return (
        f"Matched predictions lie off the truth by ({x_nm:+.0f}, {y_nm:+.0f}) nm in the mean. Half "
        "a pixel in both axes means that one table puts 0 at the centre of the first pixel.",
    )


def _frame_of_row(table: Emitters, row: int) -> int:
    """Return the frame at which a table sorted by frame would have its ``row``-th row."""
    frames = np.sort(table["frame"])
    return int(frames[min(row, len(frames) - 1)])
