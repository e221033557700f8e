"""Arguments and options that the commands on tables share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Table = Annotated[
    Path, typer.Argument(metavar="TABLE", help="Table of localizations of any known program.")
]
OutTable = Annotated[
    Path, typer.Option("--out", "-o", help="Table to write: .hdf5 (native), .csv or .parquet.")
]
OutResults = Annotated[
    list[Path] | None,
    typer.Option(
        "--out",
        "-o",
        help="File to write: .png (plot), .csv (curve) or .json (numbers). May be given again.",
    ),
]
CameraPixel = Annotated[
    float | None,
    typer.Option(
        "--camera-pixel-nm",
        help="Pixel of the camera in nm, where the table counts in pixels and does not say it.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


def given(**options: object) -> dict[str, object]:
    """Return the options that were given; the rest keep the defaults of the section."""
    return {name: value for name, value in options.items() if value is not None}


def parse_numbers(text: str | None, option: str, example: str) -> tuple[float, ...] | None:
    """Return the numbers of text such as ``0:500`` or ``0:500,100:600``; None for None.

    Raises
    ------
    ConfigError
        When the text is not built like ``example``.
    """
    from hdsmlm.errors import ConfigError

    if text is None:
        return None
    parts = [part.split(":") for part in text.split(",")]
    try:
        numbers = tuple(float(number) for part in parts for number in part)
        if len(parts) != example.count(",") + 1 or any(len(part) != 2 for part in parts):
            raise ValueError
    except ValueError:
        raise ConfigError(f"{option} wants {example}, got '{text}'") from None
    return numbers
