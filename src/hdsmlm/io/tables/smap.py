"""Tables of SMAP (Ries, Nat. Methods 2020): ``_sml.mat`` and its csv export.

SMAP counts pixels as MATLAB does, 1 at the CENTRE of the first pixel, multiplied by the pixel size,
and adds the camera's region of interest (its fitters and ``fitloc2locdata``); frames from 1. So
``x_nm = xnm - (roi_x + 1/2)·p``. The ``.mat`` states both; the csv does not, so it needs the pixel
size, and its region is taken as the whole chip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import TableError
from hdsmlm.io.tables.hdf5 import is_hdf5, member, numbers, open_hdf5
from hdsmlm.io.tables.port import TableInfo, require_pixel_size
from hdsmlm.io.tables.rows import Source, emitters_from_columns, geometric_mean
from hdsmlm.io.tables.text import has_headers, head_lines, read_columns, read_head, split_line
from hdsmlm.records.emitters import Emitters

_MATLAB_5 = b"MATLAB 5.0 MAT-file"
_FIELDS = {
    "frame": ("frame",),
    "z_nm": ("znm",),
    "photons": ("phot",),
    "background": ("bg",),
    "uncertainty_x_nm": ("xnmerr", "locprecnm"),
    "uncertainty_y_nm": ("ynmerr", "locprecnm"),
    "uncertainty_z_nm": ("znmerr", "zerr", "locprecznm"),
    "uncertainty_photons": ("photerr", "phot_err"),
    "uncertainty_background": ("bgerr",),
}
_WANTED = {"xnm", "ynm", "PSFxnm", "PSFynm", "filenumber"}.union(*_FIELDS.values())


@dataclass(frozen=True)
class _Movie:
    """Pixel sizes in nm and the corner of the region of interest in pixels, x first."""

    sizes_nm: tuple[float, float] | None = None
    corner_px: tuple[float, float] = (0.0, 0.0)
    n_frames: int | None = None
    height: int | None = None
    width: int | None = None


class SmapTable:
    """SMAP's ``.mat`` of versions 5 and 7.3, and csv."""

    name = "smap"
    suffixes = (".mat", ".csv")
    summary = "SMAP, `_sml.mat` and csv: positions, photons, background, uncertainties, widths"
    origin = "nm, one pixel at the centre of the first pixel, plus the region; frames from 1"

    def sniff(self, path: Path) -> bool:
        """A MATLAB file with ``saveloc``, or csv with ``xnm`` and ``ynm``."""
        if is_hdf5(path):
            with open_hdf5(path) as file:
                return member(file, "saveloc/loc", "group") is not None
        if read_head(path, len(_MATLAB_5)) == _MATLAB_5:
            return True
        return has_headers(path, "xnm", "ynm")

    def read(
        self, path: Path, pixel_size_nm: float | None = None, first_frame: int | None = None
    ) -> Emitters:
        """Read the rows; see :func:`hdsmlm.io.tables.read_table`."""
        loc, movie = _load(path)
        missing = [name for name in ("xnm", "ynm", "frame") if name not in loc]
        if missing:
            raise TableError(
                f"{path}: the fields {', '.join(missing)} of SMAP are missing; it has "
                f"{', '.join(sorted(loc)) or 'none'}. Export them too"
            )
        if "filenumber" in loc and len(np.unique(loc["filenumber"])) > 1:
            raise TableError(
                f"{path}: it holds localizations of {len(np.unique(loc['filenumber']))} movies; "
                "save them one by one in SMAP, since their frames are counted apart"
            )
        sizes_nm = movie.sizes_nm
        if pixel_size_nm is not None or sizes_nm is None:
            size = require_pixel_size(
                pixel_size_nm, str(path), "SMAP counts from half a pixel outside the first one"
            )
            sizes_nm = (size, size)
        columns: dict[str, NDArray[Any]] = {}
        for axis, name in enumerate(("x", "y")):
            shift_px = movie.corner_px[axis] + 0.5
            columns[f"{name}_nm"] = loc[f"{name}nm"] - shift_px * sizes_nm[axis]
        for name, fields in _FIELDS.items():
            found = next((field for field in fields if field in loc), None)
            if found is not None:
                columns[name] = loc[found]
        if "PSFxnm" in loc:
            columns["sigma_nm"] = geometric_mean(loc["PSFxnm"], loc.get("PSFynm", loc["PSFxnm"]))
        return emitters_from_columns(
            columns, Source(str(path)), frames_begin=1, first_frame=first_frame
        )

    def info(self, path: Path) -> TableInfo:
        """Return what the file says of the first movie."""
        _, movie = _load(path)
        sizes = movie.sizes_nm
        size = sizes[0] if sizes is not None and sizes[0] == sizes[1] else None
        return TableInfo(size, movie.n_frames, movie.height, movie.width)


def _load(path: Path) -> tuple[dict[str, NDArray[np.float64]], _Movie]:
    if is_hdf5(path):
        return _load_matlab_7(path)
    if read_head(path, len(_MATLAB_5)) == _MATLAB_5:
        return _load_matlab_5(path)
    headers, separator = split_line(next(iter(head_lines(path)), ""))
    places = {place: header for place, header in enumerate(headers) if header in _WANTED}
    found = read_columns(path, str(path), places, len(headers), separator=separator)
    return {header: found[place] for place, header in places.items()}, _Movie()


def _load_matlab_7(path: Path) -> tuple[dict[str, NDArray[np.float64]], _Movie]:
    with open_hdf5(path) as file:
        group = member(file, "saveloc/loc", "group")
        if group is None:
            raise TableError(f"{path}: no 'saveloc.loc', as SMAP saves it")
        loc = {}
        for name in _WANTED & set(group):
            entry = member(group, name, "dataset")
            if entry is not None and "MATLAB_empty" not in entry.attrs:
                loc[name] = numbers(entry, str(path)).astype(np.float64)
        info = member(file, "saveloc/file/info")
        if info is not None and hasattr(info, "dtype"):  # several files: an array of references
            references = np.ravel(info[...])
            info = file[references[0]] if len(references) else None
        values = {}
        for name in ("cam_pixelsize_um", "roi", "numberOfFrames", "Width", "Height"):
            entry = member(info, name, "dataset") if info is not None else None
            if entry is not None and entry.dtype.kind in "fiu":
                values[name] = np.ravel(entry[...])
        return loc, _movie(values, path)


def _load_matlab_5(path: Path) -> tuple[dict[str, NDArray[np.float64]], _Movie]:
    from scipy.io import loadmat

    try:
        found = loadmat(path, simplify_cells=True, variable_names=["saveloc"])
    except Exception as error:  # scipy raises what the bytes lead to
        raise TableError(
            f"{path}: this MATLAB file cannot be read, it is truncated or damaged ({error}). Save "
            "it again"
        ) from error
    saved = found.get("saveloc")
    if not isinstance(saved, dict) or not isinstance(saved.get("loc"), dict):
        raise TableError(
            f"{path}: a MATLAB file without 'saveloc.loc', so not a table of SMAP; export the "
            "table as csv with the headers 'frame', 'x [nm]', 'y [nm]'"
        )
    loc = {
        name: np.atleast_1d(np.asarray(values, np.float64)).ravel()
        for name, values in saved["loc"].items()
        if name in _WANTED and np.asarray(values).dtype.kind in "fiub"
    }
    files = saved.get("file")
    first = files[0] if isinstance(files, list | np.ndarray) and len(files) else files
    info = first.get("info") if isinstance(first, dict) else None
    values = {
        name: np.ravel(np.asarray(value, np.float64))
        for name, value in (info.items() if isinstance(info, dict) else ())
        if np.asarray(value).dtype.kind in "fiu"
    }
    return loc, _movie(values, path)


def _movie(values: Mapping[str, NDArray[Any]], path: Path) -> _Movie:
    sizes = 1e3 * np.asarray(values.get("cam_pixelsize_um", []), np.float64)
    if len(sizes) and not (np.isfinite(sizes) & (sizes > 0)).all():
        raise TableError(
            f"{path}: its cam_pixelsize_um is {sizes / 1e3}; positive numbers were wanted"
        )
    roi = np.asarray(values.get("roi", []), np.float64)
    corner = (float(roi[0]), float(roi[1])) if len(roi) >= 2 else (0.0, 0.0)

    def count(name: str) -> int | None:
        found = values.get(name)
        return int(found[0]) if found is not None and len(found) and found[0] > 0 else None

    return _Movie(
        (float(sizes[0]), float(sizes[-1])) if len(sizes) else None,
        corner,
        count("numberOfFrames"),
        count("Height"),
        count("Width"),
    )
