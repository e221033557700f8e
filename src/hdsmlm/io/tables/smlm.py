"""The SMLM format (Ouyang et al., specification 0.2): a zip with ``manifest.json`` and binary rows.

The manifest gives name, dtype and unit of each column; lengths without a unit are nm; offsets are
added. Where positions count from is not specified; it is taken as the outer corner of the first
pixel. Intensities without a unit are taken as photons.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import TableError
from hdsmlm.io.tables.port import TableInfo, require_pixel_size
from hdsmlm.io.tables.rows import Source, emitters_from_columns
from hdsmlm.io.tables.text import read_head
from hdsmlm.records.emitters import Emitters

MANIFEST = "manifest.json"
_MANIFEST_BYTES = 16 * 2**20
_NM = {"": 1.0, "nm": 1.0, "um": 1e3, "µm": 1e3, "mm": 1e6, "m": 1e9, "angstrom": 0.1}
_PIXEL = ("px", "pixel", "pixels")
_DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64")
_NAMES = {
    "frame": "frame",
    "intensity": "photons",
    "background": "background",
    "local_background": "background",
    **{
        spelled: f"{axis}_nm"
        for axis in "xyz"
        for spelled in (axis, f"{axis}_position", f"position_{axis}")
    },
    **{
        spelled: f"uncertainty_{axis}_nm"
        for axis in "xyz"
        for spelled in (f"{axis}_precision", f"uncertainty_{axis}")
    },
}


class SmlmTable:
    """The binary table of the SMLM format."""

    name = "smlm"
    suffixes = (".smlm",)
    summary = "SMLM files (ShareLoc, Locan) with one binary table: positions, photons, precision"
    origin = "nm, corner or centre not specified, taken as corner; frames from 1 (0 if it occurs)"

    def sniff(self, path: Path) -> bool:
        """A zip with a manifest."""
        if read_head(path, 4) != b"PK\x03\x04":
            return False
        try:
            with zipfile.ZipFile(path) as archive:
                return MANIFEST in archive.namelist()
        except (zipfile.BadZipFile, OSError):
            return False

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the rows; see :func:`hdsmlm.io.tables.read_table`."""
        try:
            with zipfile.ZipFile(path) as archive:
                file, form = _one_table(archive, path)
                records = _records(archive, file, form, path)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise TableError(
                f"{path}: the archive is truncated or damaged ({error}); copy it again"
            ) from error
        offsets = file.get("offset") or {}
        units = dict(zip(form["headers"], form.get("units") or (), strict=False))
        columns: dict[str, NDArray[np.float64]] = {}
        for header in records.dtype.names or ():
            name = _NAMES.get(header.lower())
            factor = _factor(name, str(units.get(header, "")), str(path), pixel_size_nm)
            if name is not None and name not in columns and factor is not None:
                values = records[header].astype(np.float64) + float(offsets.get(header, 0))
                columns[name] = values * factor
        return emitters_from_columns(
            columns, Source(str(path)), frames_begin=None, first_frame=first_frame
        )

    def info(self, _path: Path) -> TableInfo:
        """The format has no place for the movie."""
        return TableInfo()


def _one_table(archive: zipfile.ZipFile, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entry of the only table and its format."""
    if archive.getinfo(MANIFEST).file_size > _MANIFEST_BYTES:
        raise TableError(f"{path}: its manifest is larger than {_MANIFEST_BYTES} bytes; damaged?")
    try:
        manifest = json.loads(archive.read(MANIFEST))
        tables = [entry for entry in manifest["files"] if entry["type"] == "table"]
        if len(tables) != 1:
            channels = ", ".join(str(entry.get("channel", "?")) for entry in tables)
            raise TableError(
                f"{path}: it holds {len(tables)} tables ({channels}); one was wanted. Save one "
                "channel to a file of its own"
            )
        form = manifest["formats"][tables[0]["format"]]
        complete = {"headers", "dtype"} <= set(form)
    except (ValueError, KeyError, TypeError) as error:
        raise TableError(f"{path}: its manifest is not that of an SMLM file ({error!r})") from error
    if form.get("mode") != "binary" or not complete:
        raise TableError(f"{path}: its table is not binary; unpack the csv in it and give that")
    return tables[0], form


def _records(
    archive: zipfile.ZipFile, file: Mapping[str, Any], form: Mapping[str, Any], path: Path
) -> NDArray[Any]:
    """Return the rows as a structured array of the declared size."""
    try:
        shapes = form.get("shape") or [1] * len(form["headers"])
        fields = []
        for header, dtype, shape in zip(form["headers"], form["dtype"], shapes, strict=True):
            if dtype not in _DTYPES:
                raise TableError(f"{path}: column '{header}' has the dtype '{dtype}'")
            size = tuple(int(n) for n in shape) if isinstance(shape, list) else (int(shape),)
            kind = np.dtype(dtype).newbyteorder("<")
            fields.append((header, kind) if size == (1,) else (header, kind, size))
        record = np.dtype(fields)
        n_rows = int(file["rows"])
        entry = archive.getinfo(str(file["name"]))
    except (ValueError, KeyError, TypeError) as error:
        raise TableError(f"{path}: its manifest is not that of an SMLM file ({error!r})") from error
    if n_rows < 0 or entry.file_size != n_rows * record.itemsize:
        raise TableError(
            f"{path}: {n_rows} rows of {record.itemsize} bytes were wanted, but the table has "
            f"{entry.file_size} bytes; is it cut off?"
        )
    return np.frombuffer(archive.read(entry), record)


def _factor(name: str | None, unit: str, source: str, pixel_size_nm: float | None) -> float | None:
    """Return what turns the file's unit into ours; None for another quantity."""
    if name is None or name == "frame":
        return 1.0
    if name in ("photons", "background"):
        return 1.0 if not unit or unit.startswith("photon") else None
    if unit in _PIXEL:
        return require_pixel_size(pixel_size_nm, source, f"'{name}' is in pixels")
    if unit not in _NM:
        raise TableError(f"{source}: '{name}' has the unit '{unit}'; nm was wanted")
    return _NM[unit]
