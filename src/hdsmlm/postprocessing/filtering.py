"""Keep the rows of a table that satisfy a condition."""

from __future__ import annotations

from hdsmlm.errors import TableError
from hdsmlm.postprocessing.expressions import clauses, rows_where
from hdsmlm.records.emitters import Emitters


def filter_emitters(emitters: Emitters, expression: str) -> Emitters:
    """Return the rows that satisfy a condition.

    Parameters
    ----------
    emitters : Emitters
        The table.
    expression : str
        See :mod:`hdsmlm.postprocessing.expressions`.

    Raises
    ------
    TableError
        For an expression that cannot be evaluated, and when no row is left: the message then says
        how many rows each part of the condition alone would keep.
    """
    keep = rows_where(emitters, expression)
    if keep.any():
        return emitters.select(keep)
    alone = [f"{part}: {rows_where(emitters, part).sum()}" for part in clauses(expression)]
    raise TableError(
        f"filter '{expression}': none of the {len(emitters)} rows is left. Rows that each part "
        f"alone keeps: {'; '.join(alone)}. Loosen what keeps too few"
    )
