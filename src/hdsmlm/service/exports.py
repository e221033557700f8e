"""Tables in other formats and rendered pictures, made when they are asked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from hdsmlm.config.base import parse_section
from hdsmlm.config.postprocessing import RenderConfig
from hdsmlm.errors import ConfigError, TableError

FORMATS = {
    "csv": (".csv", "text/csv"),
    "thunderstorm": (".csv", "text/csv"),
    "hdf5": (".hdf5", "application/x-hdf5"),
    "parquet": (".parquet", "application/vnd.apache.parquet"),
}
COLOURS = {"none": None, "time": "frame", "z": "z_nm", "uncertainty": "uncertainty_x_nm"}

KEPT_PICTURES = 8
"""Pictures of a kind that a job keeps: every other pixel size would be another one."""


@dataclass(frozen=True)
class PictureRequest:
    """A picture of a table.

    Parameters
    ----------
    form : str
        ``png`` or ``tif``.
    colour : str
        A key of :data:`COLOURS`.
    pixel_nm : float
        Pixel of the picture.
    condition : str
        Rows that are drawn, see :mod:`hdsmlm.postprocessing.expressions`; empty: all.
    region_nm : tuple of float or None
        x from, x to, y from, y to.
    """

    form: str
    colour: str
    pixel_nm: float
    condition: str
    region_nm: tuple[float, float, float, float] | None


def export_table(source: Path, folder: Path, form: str, pixel_size_nm: float | None) -> Path:
    """Return the table in another format; it is converted once and kept.

    Raises
    ------
    TableError
        When it cannot be read, or lacks what the format needs.
    """
    from hdsmlm.pipelines.convert import Conversion, convert_table

    suffix = FORMATS[form][0]
    if source.suffix == suffix:
        return source
    target = folder / f"table{suffix}"
    if not target.exists():
        folder.mkdir(exist_ok=True)
        convert_table(Conversion(source, target, pixel_size_nm=pixel_size_nm, overwrite=True))
    return target


def keep_newest(folder: Path, pattern: str, most: int) -> None:
    """Remove all but the newest files of a kind that can be made again."""
    found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in found[most:]:
        path.unlink(missing_ok=True)


def render_picture(source: Path, folder: Path, asked: PictureRequest, most_pixels: int) -> Path:
    """Return a picture of a table; it is rendered once and kept.

    Raises
    ------
    ConfigError
        When the picture would be too large.
    TableError
        When no row is left, or a column is missing.
    """
    from hdsmlm.io.tables import read_table
    from hdsmlm.postprocessing.filtering import filter_emitters
    from hdsmlm.postprocessing.pictures import write_png, write_tiff
    from hdsmlm.postprocessing.render import render

    words = json.dumps([asked.__dict__, source.stat().st_mtime_ns])
    target = folder / f"{hashlib.sha256(words.encode()).hexdigest()[:24]}.{asked.form}"
    if target.exists():
        return target
    keep_newest(folder, f"*.{asked.form}", KEPT_PICTURES - 1)
    table = read_table(source)
    if asked.condition:
        table = filter_emitters(table, asked.condition)
    if len(table) == 0:
        raise TableError("no localization is left to draw; loosen the filter")
    x0, x1, y0, y1 = asked.region_nm or (
        0.0, float(table["x_nm"].max()), 0.0, float(table["y_nm"].max()),
    )  # fmt: skip
    if (x1 - x0) * (y1 - y0) / asked.pixel_nm**2 > most_pixels:
        raise ConfigError(
            f"the picture would have more than {most_pixels} pixels; choose larger pixels or a "
            "part of the field"
        )
    colour = COLOURS[asked.colour]
    if colour is not None and colour not in table:
        raise TableError(f"the table has no {colour}; choose another colour")
    values = {
        "pixel_size_nm": asked.pixel_nm,
        "colour_by": colour,
        "region_nm": asked.region_nm,
    }
    config = parse_section(RenderConfig, values, "picture")
    rendering = render(table, config)
    folder.mkdir(exist_ok=True)
    if asked.form == "png":
        write_png(rendering, config, target)
    else:
        write_tiff(rendering, target)
    return target
