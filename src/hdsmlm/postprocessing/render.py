"""A table as an image of localizations per pixel, and the mean of a column in each pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.base import nearest
from hdsmlm.config.postprocessing import RenderConfig
from hdsmlm.errors import TableError
from hdsmlm.postprocessing.render_kernel import (
    TRUNCATION_SIGMAS,
    add_counts,
    add_normalized_gaussians,
)
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Event, Listener, silent

_CHUNK_ROWS = 500_000
_MAX_PIXELS = 400_000_000
_WIDE = 20.0
"""Gaussians wider than so many medians are drawn so wide, or one bad row would cover the image."""


@dataclass(frozen=True)
class Rendering:
    """An image of a table.

    Parameters
    ----------
    density : array of float32, shape (y, x)
        Localizations per pixel; the sum over all of the table's extent is their number.
    mean : array of float32, shape (y, x), or None
        Mean of ``RenderConfig.colour_by`` over what each pixel holds; NaN where that is nothing.
    colour_range : tuple of float, or None
        Values at the ends of the colour map.
    pixel_size_nm : float
        Side of a pixel.
    origin_nm : tuple of float
        x and y of the image's outer corner.
    """

    density: NDArray[np.float32]
    mean: NDArray[np.float32] | None
    colour_range: tuple[float, float] | None
    pixel_size_nm: float
    origin_nm: tuple[float, float]


def render(emitters: Emitters, config: RenderConfig, listener: Listener = silent) -> Rendering:
    """Render a table.

    A Gaussian is integrated over the pixels and sums to 1; its width is the localization's
    uncertainty in x and y. Rows without a finite one are drawn with the median. The image is
    aligned to multiples of the pixel from the origin of the table. Beyond the table and the image
    the memory is that of half a million rows.

    Parameters
    ----------
    emitters : Emitters
        Localizations.
    config : RenderConfig
        Pixel, region, kind, colour.
    listener : Listener
        Hears the progress in rows.

    Raises
    ------
    TableError
        For a table without rows, a missing column, an empty region, or an image that is too large.
    """
    if len(emitters) == 0:
        raise TableError("render: the table has no rows; there is nothing to draw")
    columns = _sigma_columns(emitters, config)
    widest = _widest_sigma(emitters, columns, config)
    first, shape = _extent(emitters, config, TRUNCATION_SIGMAS * max(widest, default=0.0))
    colour = _colour_column(emitters, config)
    pixel = config.pixel_size_nm
    density = np.zeros(shape, np.float32)
    total, known = (np.zeros(shape, np.float32) if colour else None for _ in range(2))
    for start in range(0, len(emitters), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        x, y = emitters["x_nm"][rows], emitters["y_nm"][rows]
        position = np.column_stack([x, y]) / pixel - first
        sigma = _sigma(emitters, columns, widest, config, rows)
        _add(density, position, sigma, np.ones(len(x)))
        if total is not None and known is not None and colour:
            value = emitters[colour][rows].astype(np.float64)
            finite = np.isfinite(value)
            _add(total, position, sigma, np.where(finite, value, 0.0))
            _add(known, position, sigma, finite.astype(np.float64))
        done = min(start + _CHUNK_ROWS, len(emitters))
        listener(Event("render", done, len(emitters), "drawn", "rows"))
    if not density.any():
        raise TableError(
            f"render: none of the {len(emitters)} localizations lies in the region; x runs from "
            f"{emitters['x_nm'].min():.0f} to {emitters['x_nm'].max():.0f} nm, y from "
            f"{emitters['y_nm'].min():.0f} to {emitters['y_nm'].max():.0f} nm"
        )
    mean = None
    if total is not None and known is not None:
        mean = np.full(shape, np.nan, np.float32)
        np.divide(total, known, out=mean, where=known > 0)
    return Rendering(
        density,
        mean,
        _colour_range(emitters, colour, config),
        pixel,
        (float(first[0] * pixel), float(first[1] * pixel)),
    )


def _add(
    image: NDArray[np.float32],
    position: NDArray[np.float64],
    sigma: NDArray[np.float64] | None,
    weight: NDArray[np.float64],
) -> None:
    if sigma is None:
        add_counts(image, position, weight)
    else:
        add_normalized_gaussians(image, position, sigma, weight)


def _sigma_columns(emitters: Emitters, config: RenderConfig) -> tuple[str, ...]:
    """Return the columns of the widths: none when a fixed width or a histogram is drawn."""
    if config.kind == "histogram" or config.sigma_nm is not None:
        return ()
    names = ("uncertainty_x_nm", "uncertainty_y_nm")
    missing = [name for name in names if name not in emitters]
    if not missing:
        return names
    if config.kind == "gaussian":
        raise TableError(
            f"render: Gaussians need the column {', '.join(missing)}, which the table lacks; give "
            "a width, e.g. --sigma-nm 15, or choose --kind histogram"
        )
    return ()


def _widest_sigma(
    emitters: Emitters, columns: tuple[str, ...], config: RenderConfig
) -> tuple[float, ...]:
    """Return the largest width that is drawn along x and y; empty for a histogram."""
    if config.kind != "histogram" and config.sigma_nm is not None:
        return (config.sigma_nm, config.sigma_nm)
    widest = []
    for name in columns:
        values = emitters[name]
        sound = values[np.isfinite(values) & (values > 0)]
        if len(sound) == 0:
            raise TableError(
                f"render: column '{name}' holds no positive number; give a width, e.g. --sigma-nm "
                "15, or choose --kind histogram"
            )
        limit = min(float(sound.max()), _WIDE * float(np.median(sound)))
        widest.append(max(limit, config.min_sigma_nm))
    return tuple(widest)


def _sigma(
    emitters: Emitters,
    columns: tuple[str, ...],
    widest: tuple[float, ...],
    config: RenderConfig,
    rows: slice,
) -> NDArray[np.float64] | None:
    """Return widths in pixels, shape (n, 2); None for a histogram."""
    if not widest:
        return None
    n_rows = len(emitters["x_nm"][rows])
    if not columns:
        return np.full((n_rows, 2), widest[0] / config.pixel_size_nm)
    drawn = []
    for name, limit in zip(columns, widest, strict=True):
        values = emitters[name][rows]
        sound = np.isfinite(values) & (values > 0)
        middle = np.median(values[sound]) if sound.any() else limit
        drawn.append(np.clip(np.where(sound, values, middle), config.min_sigma_nm, limit))
    return np.column_stack(drawn) / config.pixel_size_nm


def _extent(
    emitters: Emitters, config: RenderConfig, margin_nm: float
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Return the first pixel (x, y) and the shape (y, x) of the image."""
    pixel = config.pixel_size_nm
    if config.region_nm is not None:
        left, right, top, bottom = config.region_nm
        low = np.floor(np.array([left, top]) / pixel + 1e-9)
        high = np.ceil(np.array([right, bottom]) / pixel - 1e-9)
    else:
        x, y = emitters["x_nm"], emitters["y_nm"]
        low = np.floor((np.array([x.min(), y.min()]) - margin_nm) / pixel)
        high = np.floor((np.array([x.max(), y.max()]) + margin_nm) / pixel) + 1
    width, height = (high - low).tolist()
    if not width * height <= _MAX_PIXELS:
        fitting = pixel * math.sqrt(width * height / _MAX_PIXELS)
        raise TableError(
            f"render: the image would have {width:.0f} × {height:.0f} pixels of {pixel:g} nm; at "
            f"most {_MAX_PIXELS:.0e} are drawn. Choose a larger --pixel-size-nm (from "
            f"{fitting:.3g} on) or a --region-nm"
        )
    return low, (int(height), int(width))


def _colour_column(emitters: Emitters, config: RenderConfig) -> str | None:
    name = config.colour_by
    if name is None or name in emitters:
        return name
    best = f"{name}_nm" if f"{name}_nm" in emitters else nearest(name, list(emitters.names))
    hint = f"did you mean '{best}'?" if best else f"it has {', '.join(emitters.names)}"
    raise TableError(f"render: the table has no column '{name}' to colour by; {hint}")


def _colour_range(
    emitters: Emitters, colour: str | None, config: RenderConfig
) -> tuple[float, float] | None:
    if colour is None:
        return None
    if config.colour_range is not None:
        return config.colour_range
    values = emitters[colour]
    values = values[np.isfinite(values)]
    if len(values) == 0:
        raise TableError(f"render: column '{colour}' holds no finite number to colour by")
    low, high = np.percentile(values, [1, 99]).tolist()
    return (low, high) if high > low else (low - 0.5, high + 0.5)
