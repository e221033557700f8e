"""Tables of DECODE (Speiser et al., Nat. Methods 2021): HDF5 and csv.

DECODE counts frames from 0 and pixels from the CENTRE of the first one, and its x runs along the
ROWS (the first axis of a frame), its y along the columns; the two pixel sizes are given in that
order. So ``x_nm = (y + 1/2)·px_size[1]`` and ``y_nm = (x + 1/2)·px_size[0]``. A file whose unit is
nm has the same origin, so its pixel size is needed too. ``*_cr`` are variances, ``*_sig`` standard
deviations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import TableError
from hdsmlm.io.tables.hdf5 import is_hdf5, member, numbers, open_hdf5
from hdsmlm.io.tables.port import PIXEL_SIZE_OPTION, TableInfo, require_pixel_size
from hdsmlm.io.tables.rows import Source, emitters_from_columns
from hdsmlm.io.tables.text import head_lines, read_columns, read_head, split_line
from hdsmlm.records.emitters import Emitters

_FIRST_LINE = b"# DECODE EmitterSet"
_HEADER_LINES = 4
"""Name, version, metadata, headers."""
_CSV_FIELDS = {
    **{"frame_ix": "frame_ix", "phot": "phot", "bg": "bg", "prob": "prob", "id": "id"},
    **{f"{part}_{kind}": f"{part}_{kind}" for part in ("phot", "bg") for kind in ("sig", "cr")},
    **{f"xyz_{kind}": kind for kind in ("sig", "cr")},
}


@dataclass(frozen=True)
class _Meta:
    """Unit of x and y, and the sizes of a pixel along rows and columns in nm, where stated."""

    unit: str
    rows_nm: float | None
    columns_nm: float | None


class DecodeTable:
    """DECODE's HDF5 and csv."""

    name = "decode"
    suffixes = (".h5", ".csv")
    summary = "DECODE, HDF5 and csv: positions, photons, background, uncertainties, probability"
    origin = "pixels (or nm) from the centre of the first pixel, x along the rows; frames from 0"

    def sniff(self, path: Path) -> bool:
        """HDF5 with ``data/xyz``, or csv with DECODE's first line."""
        if not is_hdf5(path):
            return read_head(path, len(_FIRST_LINE)) == _FIRST_LINE
        with open_hdf5(path) as file:
            return all(member(file, f"data/{name}", "dataset") for name in ("xyz", "frame_ix"))

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the rows; see :func:`hdsmlm.io.tables.read_table`."""
        data, meta = _load(path)
        rows_nm = require_pixel_size(
            pixel_size_nm or meta.rows_nm, str(path), "positions count from the middle of a pixel"
        )
        columns_nm = pixel_size_nm or meta.columns_nm or rows_nm
        columns = _columns(data, meta.unit, rows_nm, columns_nm)
        return emitters_from_columns(
            columns, Source(str(path)), frames_begin=0, first_frame=first_frame
        )

    def info(self, path: Path) -> TableInfo:
        """Return the pixel size, where it is one for both axes."""
        _, meta = _load(path)
        return TableInfo(meta.rows_nm if meta.rows_nm == meta.columns_nm else None)


def _load(path: Path) -> tuple[dict[str, NDArray[Any]], _Meta]:
    """Return the fields as DECODE's HDF5 names them, and the metadata."""
    if not is_hdf5(path):
        return _load_csv(path)
    with open_hdf5(path) as file:
        group = member(file, "data", "group")
        if group is None:
            raise TableError(f"{path}: no group 'data', as DECODE writes it")
        data = {
            name: numbers(entry, str(path)).reshape(entry.shape)
            for name, entry in group.items()
            if getattr(entry, "shape", None)  # what DECODE does not know has no shape
        }
        meta = member(file, "meta", "group")
        return data, _meta(dict(meta.attrs) if meta is not None else {}, path)


def _load_csv(path: Path) -> tuple[dict[str, NDArray[Any]], _Meta]:
    lines = head_lines(path, _HEADER_LINES)
    try:
        meta = _meta(dict(json.loads(lines[2].lstrip("# "))), path)
        headers, separator = split_line(lines[3])
    except (IndexError, ValueError, TypeError) as error:
        raise TableError(
            f"{path}: the four lines that DECODE writes at the top were wanted (name, version, "
            "metadata, headers); export the table again"
        ) from error
    places = dict(enumerate(headers))
    found = read_columns(
        path, str(path), places, len(headers), separator=separator, skip_rows=_HEADER_LINES
    )
    flat = {header: found[place] for place, header in places.items()}
    missing = [name for name in ("x", "y", "frame_ix") if name not in flat]
    if missing:
        raise TableError(f"{path}: the columns {', '.join(missing)} of DECODE are missing")
    empty = np.full(len(flat["x"]), np.nan)
    data = {name: flat[name] for name in _CSV_FIELDS if name in flat}
    data["xyz"] = np.stack([flat.get(axis, empty) for axis in "xyz"], axis=-1)
    for kind in ("sig", "cr"):
        parts = [flat.get(f"{axis}_{kind}", empty) for axis in "xyz"]
        data[f"xyz_{kind}"] = np.stack(parts, axis=-1)
    return data, meta


def _meta(found: Mapping[str, Any], path: Path) -> _Meta:
    unit = str(found.get("xy_unit") or "")
    if unit not in ("px", "nm"):
        raise TableError(f"{path}: the unit of x and y is '{unit}'; px or nm was wanted")
    sizes = found.get("px_size")
    stated = [] if sizes is None else [float(size) for size in np.ravel(sizes)]
    if len(stated) == 1:
        stated *= 2
    if len(stated) != 2:
        return _Meta(unit, None, None)
    if not all(0 < size < np.inf for size in stated):
        raise TableError(
            f"{path}: its pixel size is {stated} nm; positive numbers were wanted. Give it with "
            f"{PIXEL_SIZE_OPTION}"
        )
    return _Meta(unit, stated[0], stated[1])


def _columns(
    data: Mapping[str, NDArray[Any]], unit: str, rows_nm: float, columns_nm: float
) -> dict[str, NDArray[Any]]:
    """Return the columns in our names and units: the axes change places."""
    sizes = np.array([rows_nm, columns_nm, 1.0])
    scale = sizes if unit == "px" else np.ones(3)
    xyz = data["xyz"].reshape(-1, 3).astype(np.float64) * scale
    columns: dict[str, NDArray[Any]] = {
        "frame": data["frame_ix"],
        "x_nm": xyz[:, 1] + columns_nm / 2,
        "y_nm": xyz[:, 0] + rows_nm / 2,
    }
    if not np.isnan(xyz[:, 2]).all():
        columns["z_nm"] = xyz[:, 2]
    spread = _deviation(data, "xyz")
    if spread is not None:
        deviation = spread.reshape(-1, 3) * scale
        for name, axis in (("x", 1), ("y", 0), ("z", 2)):
            columns[f"uncertainty_{name}_nm"] = deviation[:, axis]
    for name, field in (("photons", "phot"), ("background", "bg")):
        if _known(data, field):
            columns[name] = data[field]
        error = _deviation(data, field)
        if error is not None:
            columns[f"uncertainty_{name}"] = error
    if _known(data, "prob"):
        columns["probability"] = data["prob"]
    if _known(data, "id") and (data["id"] >= 0).all():
        columns["emitter_id"] = data["id"]
    return columns


def _known(data: Mapping[str, NDArray[Any]], field: str) -> bool:
    return field in data and not np.isnan(data[field].astype(np.float64)).all()


def _deviation(data: Mapping[str, NDArray[Any]], field: str) -> NDArray[np.float64] | None:
    """Return standard deviations: the network's, else the square root of the bound."""
    if _known(data, f"{field}_sig"):
        return data[f"{field}_sig"].astype(np.float64)
    if _known(data, f"{field}_cr"):
        return np.sqrt(data[f"{field}_cr"].astype(np.float64))
    return None
