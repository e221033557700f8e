"""Renderings as files: PNG for the eye, 32-bit TIFF with the pixel size for measurements."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.base import nearest
from hdsmlm.config.postprocessing import RenderConfig
from hdsmlm.errors import ConfigError
from hdsmlm.io.writing import atomic_path
from hdsmlm.postprocessing.render import Rendering
from hdsmlm.records.columns import COLUMNS
from hdsmlm.units import NM_PER_UM

_CLASSIC_TIFF_BYTES = 3_900_000_000
_BAR_LENGTHS_NM = tuple(n * 10.0**k for k in range(1, 7) for n in (1, 2, 5))
_STRIP_ROWS = 1024


def write_tiff(rendering: Rendering, path: Path) -> None:
    """Write localizations per pixel as 32-bit floats, with the pixel size in the metadata.

    With a coloured rendering the second channel is the mean of the column. ImageJ layout; OME in
    BigTIFF above 3.9 GB. The corner of the image in the table's coordinates stands in ``Info``.
    """
    import tifffile

    channels = [rendering.density, *([] if rendering.mean is None else [rendering.mean])]
    pixel_um = rendering.pixel_size_nm / NM_PER_UM
    resolution = (1 / pixel_um, 1 / pixel_um)
    axes = "CYX" if len(channels) > 1 else "YX"
    data = np.stack(channels) if len(channels) > 1 else channels[0]
    big = data.nbytes > _CLASSIC_TIFF_BYTES
    if big:
        metadata: dict[str, Any] = {
            "axes": axes,
            **{f"PhysicalSize{axis}": pixel_um for axis in "XY"},
            **{f"PhysicalSize{axis}Unit": "µm" for axis in "XY"},
        }
    else:
        x, y = rendering.origin_nm
        info = f"hdsmlm rendering\nx_nm of the corner = {x!r}\ny_nm of the corner = {y!r}\n"
        metadata = {"axes": axes, "unit": "um", "Info": info}
    with (
        atomic_path(path) as temporary,
        tifffile.TiffWriter(temporary, imagej=not big, ome=big, bigtiff=big) as writer,
    ):
        writer.write(data, photometric="minisblack", resolution=resolution, metadata=metadata)


def write_png(rendering: Rendering, config: RenderConfig, path: Path) -> None:
    """Write the picture with a scale bar, and a colour bar where a column colours it.

    The brightness ends at a percentile of the pixels that hold light.

    Raises
    ------
    ConfigError
        For an unknown colour map.
    """
    from PIL import Image

    picture = Image.fromarray(_coloured(rendering, config))
    _draw_scale_bar(picture, rendering.pixel_size_nm, config.scale_bar_nm)
    if rendering.colour_range is not None and config.colour_by is not None:
        _draw_colour_bar(picture, rendering.colour_range, config)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def _coloured(rendering: Rendering, config: RenderConfig) -> NDArray[np.uint8]:
    """Return the RGB picture, shape (y, x, 3); strip by strip to bound the memory."""
    table = _colour_table(config)
    density = rendering.density
    lit = density[density > 0]
    # Tails of Gaussians are everywhere; what counts as light begins at a thousandth of the top.
    lit = lit[lit > 1e-3 * lit.max()]
    white = float(np.percentile(lit, config.percentile))
    picture = np.empty((*density.shape, 3), np.uint8)
    for start in range(0, len(density), _STRIP_ROWS):
        rows = slice(start, start + _STRIP_ROWS)
        level = np.clip(density[rows] / white, 0, 1)
        if rendering.mean is None or rendering.colour_range is None:
            picture[rows] = table[np.rint(level * 255).astype(np.intp)]
            continue
        low, high = rendering.colour_range
        place = np.clip((np.nan_to_num(rendering.mean[rows], nan=low) - low) / (high - low), 0, 1)
        hue = table[np.rint(place * 255).astype(np.intp)]
        picture[rows] = np.rint(hue * level[..., None]).astype(np.uint8)
    return picture


def _colour_table(config: RenderConfig) -> NDArray[np.uint8]:
    """Return 256 colours, shape (256, 3)."""
    from matplotlib import colormaps

    name = config.colour_map or ("turbo" if config.colour_by else "inferno")
    if name not in colormaps:
        best = nearest(name, list(colormaps))
        hint = f"did you mean '{best}'?" if best else "e.g. inferno, gray, turbo, viridis"
        raise ConfigError(f"there is no colour map '{name}'; {hint}")
    colours: NDArray[np.uint8] = colormaps[name](np.arange(256) / 255, bytes=True)[:, :3]
    return colours


def _font(size_px: int) -> Any:
    from matplotlib import font_manager
    from PIL import ImageFont

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size_px)


def scale_bar_length_nm(width_nm: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at most a fifth of the width.

    Examples
    --------
    >>> scale_bar_length_nm(12_800.0), scale_bar_length_nm(600.0)
    (2000.0, 100.0)
    """
    return max((n for n in _BAR_LENGTHS_NM if n <= width_nm / 5), default=width_nm / 5)


def _draw_scale_bar(picture: Any, pixel_size_nm: float, length_nm: float | None) -> None:
    from PIL import ImageDraw

    width, height = picture.size
    if length_nm is None:
        length_nm = scale_bar_length_nm(width * pixel_size_nm)
    if length_nm == 0 or min(width, height) < 48:
        return
    long, edge = length_nm / pixel_size_nm, min(width, height)
    margin, thick = max(4, edge // 40), max(2, edge // 150)
    right, bottom = width - margin, height - margin
    draw = ImageDraw.Draw(picture)
    draw.rectangle((right - math.ceil(long), bottom - thick, right - 1, bottom - 1), fill="white")
    unit, factor = ("µm", NM_PER_UM) if length_nm >= NM_PER_UM else ("nm", 1.0)
    text = f"{length_nm / factor:g} {unit}"
    place = (right - long / 2, bottom - 2 * thick)
    draw.text(place, text, fill="white", font=_font(max(9, edge // 32)), anchor="mb")


def _draw_colour_bar(picture: Any, ends: tuple[float, float], config: RenderConfig) -> None:
    from PIL import Image, ImageDraw

    width, height = picture.size
    edge = min(width, height)
    if edge < 96:
        return
    margin, long, thick = max(4, edge // 40), edge // 4, max(4, edge // 60)
    ramp = np.rint(np.linspace(0, 255, long)).astype(np.intp)
    bar = np.broadcast_to(_colour_table(config)[ramp][None], (thick, long, 3))
    top = height - margin - thick
    picture.paste(Image.fromarray(np.ascontiguousarray(bar)), (margin, top))
    draw, font = ImageDraw.Draw(picture), _font(max(9, edge // 40))
    name = str(config.colour_by)
    unit = COLUMNS[name].unit
    title = name.removesuffix(f"_{unit}") + (f", {unit}" if unit else "")
    line = max(9, edge // 40) + 3
    for place, height_px, text, anchor in (
        (margin, top - 2, _short(ends[0]), "lb"),
        (margin + long, top - 2, _short(ends[1]), "rb"),
        (margin, top - 2 - line, title, "lb"),
    ):
        draw.text((place, height_px), text, fill="white", font=font, anchor=anchor)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
