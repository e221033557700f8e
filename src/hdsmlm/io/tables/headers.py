"""Headers on disk and columns inside: one mapping for writing and reading.

The native header follows from the column registry: ``x_nm`` becomes ``x [nm]``. Where ThunderSTORM
(Ovesny et al., Bioinformatics 2014) has a name for the same quantity, that name is used. Frames are
1-based on disk, as in ThunderSTORM and the SMLM challenge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hdsmlm.errors import TableError
from hdsmlm.io.tables.port import PIXEL_SIZE_OPTION
from hdsmlm.records.columns import COLUMNS, REQUIRED

FIRST_FRAME_ON_DISK = 1
ID_HEADER = "id"

_THUNDERSTORM = {
    "photons": "intensity [photon]",
    "background": "offset [photon]",
    "uncertainty_photons": "uncertainty_photons [photon]",  # "uncertainty" alone is that of x and y
}
_ALIASES = {
    "frame": ("frame", "frames", "frame number", "framenumber", "image number", "first frame"),
    "x_nm": ("x", "xnano", "position x", "x position"),
    "y_nm": ("y", "ynano", "position y", "y position"),
    "z_nm": ("z", "znano", "position z", "z position"),
    "photons": ("photons", "intensity", "number photons"),
    "background": ("background", "offset"),
    "sigma_nm": ("sigma",),
    "emitter_id": ("emitter id", "emitter", "molecule", "molecule id"),
    "uncertainty_x_nm": ("x precision", "precision x"),
    "uncertainty_y_nm": ("y precision", "precision y"),
    "uncertainty_z_nm": ("z precision", "precision z"),
}
_LATERAL_STEMS = frozenset({"uncertainty", "uncertainty xy", "precision", "localization precision"})
_LATERAL = ("uncertainty_x_nm", "uncertainty_y_nm")
LATERAL_UNCERTAINTY = "uncertainty [nm]"
"""ThunderSTORM has one number for x and y: it is written as their quadratic mean, and read as both
where a file does not give them one by one."""
_LENGTH_NM = {"nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "mm": 1e6, "m": 1e9}
_PIXEL = frozenset({"px", "pixel", "pixels", "pix"})
_PHOTON = frozenset({"photon", "photons", "photons/px", "photon/pixel", "photons/pixel"})
_MUST_BE = {"photons": "photon", "background": "photon"}


@dataclass(frozen=True)
class Binding:
    """One column of a file that is read.

    Parameters
    ----------
    name : str
        Column inside the program.
    index : int
        Column of the file, 0-based.
    header : str
        As it stands in the file.
    factor : float
        Multiplies the values of the file.
    """

    name: str
    index: int
    header: str
    factor: float = 1.0


def native_header(name: str) -> str:
    """Return the header that is written for a column.

    Examples
    --------
    >>> native_header("x_nm"), native_header("photons"), native_header("snr")
    ('x [nm]', 'intensity [photon]', 'snr')
    """
    if name in _THUNDERSTORM:
        return _THUNDERSTORM[name]
    unit = COLUMNS[name].unit
    return f"{name.removesuffix('_' + unit)} [{unit}]" if unit else name


def split_header(header: str) -> tuple[str, str]:
    """Split a header into name and unit, both lower case.

    Examples
    --------
    >>> split_header("X (nm)"), split_header("x [nm]"), split_header("x_px"), split_header("Frame")
    (('x', 'nm'), ('x', 'nm'), ('x', 'px'), ('frame', ''))
    """
    text = header.strip().strip('"').strip().lower()
    match = re.fullmatch(r"(.*?)\s*[\[(]\s*([^\])]*?)\s*[\])]", text)
    if match:
        name, unit = str(match[1]), str(match[2])
    else:
        match = re.fullmatch(r"(.+)_(nm|um|px)", text)
        name, unit = text, ""
        if match:
            name, unit = str(match[1]), str(match[2])
    return re.sub(r"[\s_]+", " ", name).strip(), unit


def bind(headers: Sequence[str], source: str, pixel_size_nm: float | None) -> list[Binding]:
    """Find the program's columns among the headers of a file.

    Raises
    ------
    TableError
        When frame, x or y is not among them, or lengths are in pixels and their size is unknown.
    """
    lookup: dict[str, str] = {}
    for column in COLUMNS:
        lookup[split_header(native_header(column))[0]] = column
        for alias in _ALIASES.get(column, ()):
            lookup[alias] = column
    found: dict[str, Binding] = {}
    for index, header in enumerate(headers):
        stem, unit = split_header(header)
        name = lookup.get(stem)
        if name is None or name in found:
            continue
        factor = _factor(name, unit, header, source, pixel_size_nm)
        if factor is not None:
            found[name] = Binding(name, index, header, factor)
    for index, header in enumerate(headers):
        stem, unit = split_header(header)
        length = not unit or unit in _LENGTH_NM or unit in _PIXEL
        if stem in _LATERAL_STEMS and length and not set(_LATERAL) & set(found):
            factor = _factor(_LATERAL[0], unit, header, source, pixel_size_nm)
            if factor is not None:
                found |= {name: Binding(name, index, header, factor) for name in _LATERAL}
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        wanted = ", ".join(f"'{native_header(name)}'" for name in missing)
        raise TableError(
            f"{source}: no column {wanted} was found. The first line has: "
            f"{', '.join(repr(h) for h in headers) or 'nothing'}. Name the columns 'frame', "
            "'x [nm]' and 'y [nm]' as ThunderSTORM does"
        )
    return [found[name] for name in COLUMNS if name in found]


def _factor(
    name: str, unit: str, header: str, source: str, pixel_size_nm: float | None
) -> float | None:
    """Return what turns the file's unit into ours; None when the column is another quantity."""
    if COLUMNS[name].unit == "nm":
        if unit in _PIXEL:
            if pixel_size_nm is None:
                raise TableError(
                    f"{source}: column '{header}' is in pixels; give the pixel size in nm "
                    f"({PIXEL_SIZE_OPTION}) to read this table"
                )
            return pixel_size_nm
        if unit and unit not in _LENGTH_NM:
            raise TableError(
                f"{source}: column '{header}' has the unit '{unit}'; nm, um or px was wanted"
            )
        return _LENGTH_NM.get(unit, 1.0)
    if name in _MUST_BE and unit and unit not in _PHOTON:
        return None  # camera counts are not photons
    return 1.0
