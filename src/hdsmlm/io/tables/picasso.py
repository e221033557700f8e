"""The native table: HDF5 in Picasso's layout, with a YAML file beside it.

A structured dataset ``locs`` holds one record per row (Schnitzbauer et al., Nat. Protoc. 2017; file
formats in Picasso's documentation): ``x``, ``y``, ``sx``, ``sy``, ``lpx``, ``lpy`` in camera
pixels, ``z`` and ``lpz`` in nm, ``frame`` from 0. Positions are 0 at the CENTRE of the first pixel:

``x_nm = (x + 1/2)·p``.

Columns that Picasso does not know follow in the same record under our names, and real numbers are
float64 (Picasso converts), so that reading gives the table that was written.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import OutputError, TableError
from hdsmlm.io.tables.hdf5 import is_hdf5, member, open_hdf5
from hdsmlm.io.tables.port import TableInfo, require_pixel_size
from hdsmlm.io.tables.rows import Source, emitters_from_columns, geometric_mean
from hdsmlm.io.tables.sidecar import documents, info_from, read_sidecar, write_sidecar
from hdsmlm.io.tables.thunderstorm import require_finite_positions
from hdsmlm.io.writing import atomic_path, writing
from hdsmlm.records.columns import COLUMNS
from hdsmlm.records.emitters import Emitters
from hdsmlm.units import centre_to_corner_px, corner_to_centre_px, nm_to_px, px_to_nm

LOCS = "locs"
METADATA = "metadata"
CHUNK_ROWS = 8192
_IN_PIXELS = {"uncertainty_x_nm": "lpx", "uncertainty_y_nm": "lpy"}
_SAME = {
    "photons": "photons",
    "background": "bg",
    "z_nm": "z",
    "uncertainty_z_nm": "lpz",
    "uncertainty_photons": "photons_unc",
    "uncertainty_background": "bg_unc",
}
_ORDER = ("photons", "sigma_nm", "background", "uncertainty_x_nm", "uncertainty_y_nm", "z_nm")
"""Picasso's order of fields; the others follow."""


class PicassoTable:
    """The native format."""

    name = "picasso"
    suffixes = (".hdf5", ".h5")
    summary = "Native table: Picasso's HDF5 (`locs`) with its YAML, and all our columns"
    origin = "pixels from the centre of the first pixel; frames from 0"

    def sniff(self, path: Path) -> bool:
        """An HDF5 file with records under ``locs``."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            locs = member(file, LOCS, "dataset")
            return locs is not None and locs.dtype.names is not None

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the rows; see :func:`hdsmlm.io.tables.read_table`."""
        if pixel_size_nm is None:
            pixel_size_nm = self.info(path).pixel_size_nm
        pixel_size_nm = require_pixel_size(
            pixel_size_nm, str(path), "positions are in pixels, no YAML file or metadata is with it"
        )
        with open_hdf5(path) as file:
            locs = member(file, LOCS, "dataset")
            if locs is None or locs.dtype.names is None:
                raise TableError(f"{path}: no records under '{LOCS}', as Picasso has them")
            records: NDArray[Any] = locs[...]
        columns, fields = _columns(records, pixel_size_nm)
        return emitters_from_columns(
            columns, Source(str(path), fields), frames_begin=0, first_frame=first_frame
        )

    def info(self, path: Path) -> TableInfo:
        """Return what the YAML file says, or else the metadata inside, as Picasso looks for it."""
        sidecar = path.with_suffix(".yaml")
        found = read_sidecar(sidecar)
        if found:
            return info_from(found, str(sidecar))
        with open_hdf5(path) as file:
            text = member(file, METADATA, "dataset")
            raw = text[()] if text is not None and text.shape == () else b"[]"
        try:
            found = json.loads(raw)
        except (ValueError, TypeError) as error:
            raise TableError(f"{path}: its metadata is not JSON: {error}") from error
        contents = [entry for entry in found if isinstance(entry, dict)]
        return info_from(contents, str(path))

    def write(self, path: Path, emitters: Emitters, info: TableInfo) -> None:
        """Write the table and its YAML file."""
        with self.open_writer(path, emitters.names, info) as writer:
            writer.append(emitters)

    def open_writer(self, path: Path, names: tuple[str, ...], info: TableInfo) -> PicassoWriter:
        """Return a writer for pieces that all have the columns ``names``."""
        return PicassoWriter(path, names, info)


def require_free_sidecar(path: Path) -> None:
    """Refuse a table whose YAML file would replace one of something else.

    Raises
    ------
    OutputError
        When there is no such table yet, but a YAML file of its name.
    """
    sidecar = path.with_suffix(".yaml")
    if sidecar.exists() and not path.exists():  # of a RAW movie, of a run, or of a camera
        raise OutputError(
            f"{sidecar} is in the way: the table {path.name} needs a YAML file of that name, and "
            "this one belongs to something else. Choose another name, such as "
            f"{path.stem}_locs{path.suffix}"
        )


class PicassoWriter:
    """Appends emitters to one file; it takes its name when the block ends without an error.

    Parameters
    ----------
    path : Path
        Is replaced when it exists, and the YAML file beside it too.
    names : tuple of str
        Columns of every piece.
    info : TableInfo
        The pixel size is needed; a shape of the movie that is not known is estimated from the rows.

    Raises
    ------
    TableError
        When the pixel size is not known.
    OutputError
        When the file cannot be written.
    """

    def __init__(self, path: Path, names: tuple[str, ...], info: TableInfo) -> None:
        self._path = path
        self._pixel_size_nm = require_pixel_size(
            info.pixel_size_nm, str(path), "Picasso's layout wants positions in pixels"
        )
        self._info = info
        self._dtype = _record_dtype(names)
        self._largest = np.zeros(3)
        self._stack = ExitStack()
        self._file: Any = None

    def __enter__(self) -> PicassoWriter:
        import h5py

        require_free_sidecar(self._path)
        part = self._stack.enter_context(atomic_path(self._path))
        with writing(self._path):
            self._file = self._stack.enter_context(h5py.File(part, "w"))
            self._file.create_dataset(
                LOCS, shape=(0,), maxshape=(None,), dtype=self._dtype, chunks=(CHUNK_ROWS,)
            )
        return self

    def append(self, emitters: Emitters) -> None:
        """Add rows, which must follow those before in time."""
        if len(emitters) == 0:
            return
        require_finite_positions(self._path, emitters)
        records = _records(emitters, self._dtype, self._pixel_size_nm)
        last = [emitters[name].max() for name in ("frame", "x_nm", "y_nm")]
        self._largest = np.maximum(self._largest, last)
        with writing(self._path):
            locs = self._file[LOCS]
            begin = len(locs)
            locs.resize(begin + len(records), axis=0)
            locs[begin:] = records

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        contents = self._documents() if kind is None else []
        if kind is None:
            with writing(self._path):
                self._file.create_dataset(METADATA, data=json.dumps(contents))
                self._path.with_suffix(".yaml").unlink(missing_ok=True)  # tells of the old rows
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            write_sidecar(self._path.with_suffix(".yaml"), contents)

    def _documents(self) -> list[dict[str, Any]]:
        """Picasso wants the shape of the movie; where it is not known the rows tell the least."""
        frame, x_nm, y_nm = self._largest
        least = {
            "n_frames": int(frame) + 1,
            "height": int(y_nm // self._pixel_size_nm) + 1,
            "width": int(x_nm // self._pixel_size_nm) + 1,
        }
        known = {name: getattr(self._info, name) for name in least}
        shape = {name: known[name] or least[name] for name in least}
        keys = {"n_frames": "Frames", "height": "Height", "width": "Width"}
        info = TableInfo(self._pixel_size_nm, **shape, provenance=self._info.provenance)
        return documents(info, estimated=[keys[name] for name in least if known[name] is None])


def _record_dtype(names: tuple[str, ...]) -> np.dtype[Any]:
    """Return Picasso's fields in its order, then ours."""
    fields: list[tuple[str, str]] = [("frame", "<u4"), ("x", "<f8"), ("y", "<f8")]
    rest = [name for name in names if name not in ("frame", "x_nm", "y_nm", *_ORDER)]
    for name in (*(name for name in _ORDER if name in names), *rest):
        if name == "sigma_nm":
            fields += [("sx", "<f8"), ("sy", "<f8")]
        else:
            kind = np.dtype(COLUMNS[name].dtype).str
            fields.append((_IN_PIXELS.get(name) or _SAME.get(name) or name, kind))
    return np.dtype(fields)


def _records(emitters: Emitters, dtype: np.dtype[Any], pixel_size_nm: float) -> NDArray[Any]:
    records = np.zeros(len(emitters), dtype)
    for name in emitters.names:
        values = emitters[name]
        if name in ("x_nm", "y_nm"):
            records[name[0]] = corner_to_centre_px(nm_to_px(values, pixel_size_nm))
        elif name == "sigma_nm":
            records["sx"] = records["sy"] = nm_to_px(values, pixel_size_nm)
        elif name in _IN_PIXELS:
            records[_IN_PIXELS[name]] = nm_to_px(values, pixel_size_nm)
        else:
            records[_SAME.get(name, name)] = values
    return records


def _columns(
    records: NDArray[Any], pixel_size_nm: float
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the columns in our names and units, and the fields they come from."""
    present = set(records.dtype.names or ())
    fields = {"frame": "frame", "x_nm": "x", "y_nm": "y", **_SAME, **_IN_PIXELS}
    fields = {name: entry for name, entry in fields.items() if entry in present}
    ours = {name: name for name in COLUMNS if name in present and name not in fields}
    columns: dict[str, NDArray[Any]] = {}
    for name, entry in (fields | ours).items():
        values = records[entry]
        if name in ("x_nm", "y_nm"):
            values = px_to_nm(centre_to_corner_px(values), pixel_size_nm)
        elif name in _IN_PIXELS:
            values = px_to_nm(values, pixel_size_nm)
        columns[name] = values
    if {"sx", "sy"} <= present:
        width_px = geometric_mean(records["sx"], records["sy"])
        columns["sigma_nm"] = px_to_nm(width_px, pixel_size_nm)
    return columns, fields
