"""What the command line writes as text: sizes, ranges and choices of a kind."""

from __future__ import annotations

from typing import Any

from hdsmlm.config.base import nearest
from hdsmlm.errors import ConfigError


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Return (height, width) of text such as ``256x320``; None for None."""
    if text is None:
        return None
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--size wants height x width in pixels such as 256x320, got '{text}'")
    return int(parts[0]), int(parts[1])


def parse_range(text: str | None, option: str) -> list[float] | None:
    """Return [low, high] of text such as ``2`` or ``0.5:4``; None for None."""
    if text is None:
        return None
    try:
        ends = [float(part) for part in text.split(":")]
    except ValueError:
        ends = []
    if len(ends) not in (1, 2):
        raise ConfigError(
            f"{option} wants a number such as 2, or low:high such as 0.5:4, got '{text}'"
        )
    return [ends[0], ends[-1]]


def only(kind: str | None, kinds: list[str], what: str) -> dict[str, float] | None:
    """Return weights that choose one kind; None for None."""
    if kind is None:
        return None
    if kind not in kinds:
        best = nearest(kind, kinds)
        hint = f"; did you mean '{best}'?" if best else ""
        raise ConfigError(f"--{what} wants one of {', '.join(kinds)}, got '{kind}'{hint}")
    return {name: float(name == kind) for name in kinds}


def nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested sections."""
    values: dict[str, Any] = {}
    for key, value in dotted.items():
        *parents, last = key.split(".")
        section = values
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return values
