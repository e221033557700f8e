"""Picasso RAW movies (Jungmann lab): flat frames, described by a YAML file of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from hdsmlm.errors import MovieError
from hdsmlm.io.movies.flat import FlatLayout, open_flat
from hdsmlm.io.movies.frames import FrameSource, plausible_pixel_size_nm


def open_picasso_raw(path: Path, *, allow_truncated: bool = False) -> FrameSource:
    """Open a Picasso RAW movie.

    Raises
    ------
    MovieError
        When the YAML file is missing, broken or incomplete.
    TruncatedMovieError
        When the file holds fewer frames than the YAML file says.
    """
    header = path.with_suffix(".yaml")
    if not header.is_file():
        raise MovieError(
            f"{path}: a Picasso RAW movie needs {header.name} beside it (Height, Width, Frames, "
            "Data Type, Byte Order), but there is none; copy it to the same folder"
        )
    values = _first_document(header)
    try:
        layout = FlatLayout(
            int(values["Height"]),
            int(values["Width"]),
            np.dtype(str(values["Data Type"])).newbyteorder(_byte_order(values)),
        )
        frames = int(values["Frames"])
    except KeyError as error:
        raise MovieError(f"{header}: the key {error} is missing; a Picasso header has it") from None
    except (TypeError, ValueError) as error:
        raise MovieError(f"{header}: a value cannot be used: {error}") from None
    pixel = values.get("Pixelsize", values.get("Camera.Pixelsize"))
    return open_flat(
        path,
        layout,
        promised_frames=frames,
        allow_truncated=allow_truncated,
        pixel_size_nm=plausible_pixel_size_nm(
            float(pixel) if isinstance(pixel, int | float) else None
        ),
    )


def _byte_order(values: dict[str, Any]) -> Literal["<", ">"]:
    order = values.get("Byte Order", "<")
    if order == "<":
        return "<"
    if order == ">":
        return ">"
    raise ValueError(f"Byte Order must be '<' or '>', not {order!r}")


def _first_document(header: Path) -> dict[str, Any]:
    try:
        with header.open(encoding="utf-8") as stream:
            document = next(iter(yaml.safe_load_all(stream)), None)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MovieError(f"{header}: not readable as YAML: {error}") from error
    if not isinstance(document, dict):
        raise MovieError(f"{header}: a list of 'key: value' lines was wanted")
    return document
