"""A quantity that is drawn from a range, or fixed when one number is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator


def _as_pair(value: Any) -> Any:
    """Turn one number into a range of zero width; leave pairs alone."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (value, value)
    return value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not all(math.isfinite(end) for end in value):
        raise ValueError(f"a range needs two finite numbers, got {list(value)}")
    if value[0] > value[1]:
        raise ValueError(f"the lower end must not exceed the upper end, got {list(value)}")
    return value


def within(
    *, gt: float | None = None, ge: float | None = None, le: float | None = None
) -> AfterValidator:
    """Return a validator that bounds both ends of a range."""

    def check(value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if gt is not None and low <= gt:
            raise ValueError(f"must be above {gt:g}, got {low:g}")
        if ge is not None and low < ge:
            raise ValueError(f"must be at least {ge:g}, got {low:g}")
        if le is not None and high > le:
            raise ValueError(f"must be at most {le:g}, got {high:g}")
        return value

    checked: Callable[[tuple[float, float]], tuple[float, float]] = check
    return AfterValidator(checked)


Range = Annotated[tuple[float, float], BeforeValidator(_as_pair), AfterValidator(_ordered)]
"""(low, high); one number means that the quantity is fixed."""
PositiveRange = Annotated[Range, within(gt=0)]
"""A range above 0, so that it can be drawn log-uniformly."""
NonNegativeRange = Annotated[Range, within(ge=0)]
"""A range from 0 upwards."""
FractionRange = Annotated[Range, within(ge=0, le=1)]
"""A range within 0 to 1."""
