"""Conditions on the columns of a table, written as text and evaluated without ``eval``.

The grammar is a part of Python's: numbers, names of columns and of :class:`Flag` bits, arithmetic,
``&`` and ``|`` on whole numbers, comparisons (also chained), ``and``, ``or``, ``not``, and the
functions of :data:`FUNCTIONS` and ``neighbours(radius_nm)``. Anything else is an error.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.base import nearest
from hdsmlm.errors import TableError
from hdsmlm.postprocessing.neighbours import count_neighbours
from hdsmlm.records.columns import COLUMNS
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.flags import Flag

FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "abs": np.abs,
    "sqrt": np.sqrt,
    "log10": np.log10,
    "isfinite": np.isfinite,
}
"""Functions of one value."""

THUNDERSTORM_NAMES = {
    "intensity": "photons",
    "offset": "background",
    "uncertainty": "uncertainty_x_nm",
}
"""What ThunderSTORM's filters and csv headers call these columns."""


def _differs(a: Any, b: Any) -> Any:
    """Return ``a != b``, false where either is NaN."""
    return np.logical_or(a < b, a > b)


_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.true_divide,
    ast.Mod: np.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: np.bitwise_and,
    ast.BitOr: np.bitwise_or,
}
_COMPARE: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: _differs,
}
_EXAMPLE = "'uncertainty_x_nm < 20 and photons > 300 and flags == 0'"


def rows_where(emitters: Emitters, expression: str) -> NDArray[np.bool_]:
    """Return which rows satisfy a condition.

    A comparison with NaN is false, ``!=`` as well.

    Parameters
    ----------
    emitters : Emitters
        The table.
    expression : str
        The condition.

    Returns
    -------
    array of bool, shape (n,)
        One value per row.

    Raises
    ------
    TableError
        For an unknown column (the nearest is named), text that is not of the grammar, and an
        expression that is not a condition.

    Examples
    --------
    >>> table = Emitters({"frame": [0, 1], "x_nm": [5, 6], "y_nm": [1, 1], "photons": [90, 400]})
    >>> rows_where(table, "photons > 100 and 0 < x_nm <= 6").tolist()
    [False, True]
    """
    value = _Evaluation(emitters, expression).value(parse(expression))
    if np.asarray(value).dtype != np.bool_:
        raise TableError(
            f"filter '{expression}': this is a number, not a condition; compare it with something, "
            f"e.g. {_EXAMPLE}"
        )
    return np.broadcast_to(np.asarray(value), (len(emitters),)).copy()


def parse(expression: str) -> ast.expr:
    """Return the syntax tree of an expression.

    Raises
    ------
    TableError
        When it is not a Python expression.
    """
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or "it cannot be read"
        raise TableError(
            f"filter '{expression}': {reason}; a condition on columns was wanted, e.g. {_EXAMPLE}"
        ) from None


def clauses(expression: str) -> list[str]:
    """Return the conditions that the top-level ``and`` of an expression joins.

    Examples
    --------
    >>> clauses("photons > 300 and (flags == 0 or snr > 5)")
    ['photons > 300', 'flags == 0 or snr > 5']
    """
    tree = parse(expression)
    parts = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    return [ast.unparse(part) for part in parts]


class _Evaluation:
    """Values of the nodes of one expression over one table."""

    def __init__(self, emitters: Emitters, expression: str) -> None:
        self._emitters = emitters
        self._expression = expression

    def value(self, node: ast.expr) -> Any:
        """Return the value of a node: an array or a number."""
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return number
            case ast.Name(id=name):
                return self._named(name)
            case ast.BoolOp(op=op, values=values):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return join.reduce(np.broadcast_arrays(*(self._condition(v) for v in values)))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return np.logical_not(self._condition(operand))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._number(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return self._binary(op, self._number(left), self._number(right))
            case ast.Compare():
                return self._compare(node)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
                return self._call(name, argument)
        raise self._error(f"'{ast.unparse(node)}' is not understood")

    def _named(self, name: str) -> Any:
        if name in self._emitters:
            return self._emitters[name]
        if name in Flag.__members__:
            return int(Flag[name])
        known = [*self._emitters.names, *Flag.__members__]
        if name in COLUMNS:
            raise self._error(
                f"the table has no column '{name}'; it has {', '.join(self._emitters.names)}"
            )
        own = THUNDERSTORM_NAMES.get(name, f"{name}_nm")
        best = own if own in known else nearest(name, known)
        hint = f"did you mean '{best}'?" if best else f"known: {', '.join(known)}"
        raise self._error(f"there is no column '{name}'; {hint}")

    def _number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if np.asarray(value).dtype == np.bool_:
            raise self._error(
                f"'{ast.unparse(node)}' is a condition where a number was wanted; join conditions "
                "with 'and' and 'or'"
            )
        return value

    def _condition(self, node: ast.expr) -> Any:
        value = self.value(node)
        if np.asarray(value).dtype != np.bool_:
            raise self._error(f"'{ast.unparse(node)}' is a number where a condition was wanted")
        return value

    def _binary(self, op: ast.operator, left: Any, right: Any) -> Any:
        if isinstance(op, ast.Pow) and not (np.ndim(right) == 0 and abs(right) <= 16):
            raise self._error("a power wants a number up to 16 as its exponent")
        try:
            with np.errstate(all="ignore"):
                # In floats a large constant overflows to infinity instead of growing for ever.
                left = np.float64(left) if isinstance(op, ast.Pow) else left
                return _BINARY[type(op)](left, right)
        except (TypeError, ZeroDivisionError, OverflowError) as error:
            raise self._error(f"{error}; & and | want whole numbers such as flags") from None

    def _compare(self, node: ast.Compare) -> Any:
        for part in node.comparators[:-1]:
            # "a > 1 & b < 2" reads as "a > (1 & b) < 2", which nobody means.
            if isinstance(part, ast.BinOp) and isinstance(part.op, (ast.BitAnd, ast.BitOr)):
                raise self._error(
                    f"'{ast.unparse(node)}' is a chain of comparisons; join conditions with 'and' "
                    "and 'or'; & and | are for whole numbers such as flags"
                )
        values = [self.value(part) for part in (node.left, *node.comparators)]
        results = []
        for op, left, right in zip(node.ops, values, values[1:], strict=False):
            if type(op) not in _COMPARE:
                raise self._error(f"'{ast.unparse(node)}' is not understood; use < <= > >= == !=")
            results.append(np.asarray(_COMPARE[type(op)](left, right)))
        return np.logical_and.reduce(np.broadcast_arrays(*results))

    def _call(self, name: str, argument: ast.expr) -> Any:
        if name in FUNCTIONS:
            with np.errstate(all="ignore"):
                return FUNCTIONS[name](self._number(argument))
        if name == "neighbours":
            radius = self._number(argument)
            if np.ndim(radius) != 0:
                raise self._error("neighbours(radius_nm) wants one number, e.g. neighbours(50)")
            return count_neighbours(self._emitters, float(radius))
        known = [*FUNCTIONS, "neighbours"]
        best = nearest(name, known)
        hint = f"did you mean '{best}'?" if best else f"known: {', '.join(known)}"
        raise self._error(f"there is no function '{name}'; {hint}")

    def _error(self, reason: str) -> TableError:
        return TableError(f"filter '{self._expression}': {reason}")
