"""Files of spline PSFs: the own ``.npz``, and the ``.mat`` of SMAP and fit3Dspline."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import ConfigError, require_extra
from hdsmlm.imaging.spline import SplinePsf
from hdsmlm.imaging.spline_kernel import TERMS
from hdsmlm.units import NM_PER_UM

FORMAT = "hdsmlm spline psf 1"
_NUMBERS = ("z_min_nm", "z_step_nm", "pixel_size_nm")


@dataclass(frozen=True)
class _SmapValues:
    """What a SMAP file says: MATLAB's (row, column, z, 64), dz in nm, 1-based x0, pixels in µm."""

    coefficients: NDArray[np.float32]
    dz_nm: float
    z0: float
    x0: float
    pixel_size_um: float | None


def spline_arrays(psf: SplinePsf) -> dict[str, NDArray[Any]]:
    """Return what a calibration file holds, for ``numpy.savez_compressed``."""
    numbers = {name: np.array(getattr(psf, name), np.float64) for name in _NUMBERS}
    return {
        "format": np.array(FORMAT),
        "coefficients": psf.coefficients,
        **numbers,
        "provenance": np.array(json.dumps(dict(psf.provenance), default=str)),
    }


def read_spline(path: Path | str, pixel_size_nm: float | None = None) -> SplinePsf:
    """Read a spline PSF.

    Parameters
    ----------
    path : path
        ``.npz`` of this program, or ``.mat`` of SMAP / fit3Dspline (Li et al., Nat. Methods 15,
        367 (2018)), of which the first array axis is taken to be the image's rows.
    pixel_size_nm : float, optional
        For a ``.mat`` that does not say its own.

    Returns
    -------
    SplinePsf
        A ``.mat`` keeps its own normalization and its own z = 0.

    Raises
    ------
    ConfigError
        When the file is missing, is no such calibration, or holds impossible values.
    MissingExtraError
        When a ``.mat`` of version 7.3 needs h5py and it is not installed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such calibration; give the spline.npz that 'hdsmlm calibrate' wrote, or "
            "the .mat of SMAP"
        )
    try:
        if path.suffix.lower() == ".mat":
            return _from_smap(path, _read_mat(path), pixel_size_nm)
        return _read_npz(path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _read_npz(path: Path) -> SplinePsf:
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ConfigError(
            f"cannot be read as a calibration ({error}); make it again with 'hdsmlm calibrate'"
        ) from None
    wanted = {"format", "coefficients", "provenance", *_NUMBERS}
    if not wanted <= set(values) or str(values["format"]) != FORMAT:
        raise ConfigError(
            f"'{FORMAT}' with {', '.join(sorted(wanted))} was wanted, but it holds "
            f"{', '.join(sorted(values)) or 'nothing'}; make it with 'hdsmlm calibrate'"
        )
    numbers = {name: float(values[name]) for name in _NUMBERS}
    return SplinePsf(
        coefficients=values["coefficients"],
        provenance=json.loads(str(values["provenance"])),
        **numbers,
    )


def _from_smap(path: Path, values: _SmapValues, pixel_size_nm: float | None) -> SplinePsf:
    table = values.coefficients
    if table.ndim != 4 or table.shape[3] != TERMS:
        raise ConfigError(f"coefficients of shape (y, x, z, {TERMS}) wanted, got {table.shape}")
    if values.pixel_size_um is not None:
        pixel_size_nm = values.pixel_size_um * NM_PER_UM
    if pixel_size_nm is None:
        raise ConfigError("does not say its pixel size; give pixel_size_nm")
    rows, columns, planes, _ = table.shape
    powers = table.reshape(rows, columns, planes, 4, 4, 4)  # of z, column, row
    ordered = powers.transpose(2, 0, 1, 3, 5, 4).reshape(planes, rows, columns, TERMS)
    return SplinePsf(
        coefficients=_centred(ordered, round(values.x0) - 1),
        z_min_nm=-values.z0 * values.dz_nm,
        z_step_nm=values.dz_nm,
        pixel_size_nm=pixel_size_nm,
        provenance={"source": path.name, "format": "SMAP"},
    )


def _centred(table: NDArray[np.float32], centre: int) -> NDArray[np.float32]:
    """Add cells of 0 until the corner before cell ``centre`` is the middle along y and x."""
    widths = [(0, 0)]
    for n in table.shape[1:3]:
        half = max(centre, n - centre)
        widths.append((half - centre, half - (n - centre)))
    return np.pad(table, [*widths, (0, 0)])


def _read_mat(path: Path) -> _SmapValues:
    from scipy.io import loadmat

    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)
    except NotImplementedError:  # version 7.3 is HDF5
        return _read_mat_hdf5(path)
    except Exception as error:  # scipy raises whatever a broken file leads it to
        raise ConfigError(f"cannot be read as a MATLAB file ({error})") from None
    section = content.get("SXY", content.get("cspline") and _Holder(content))
    if section is None:
        raise ConfigError(
            f"SXY.cspline was wanted, but it holds {', '.join(k for k in content if k[0] != '_')}; "
            "give the ..._3dcal.mat of SMAP or fit3Dspline"
        )
    if isinstance(section, np.ndarray):
        raise ConfigError(
            f"holds {section.size} calibrations (channels or parts of the field); save one alone"
        )
    spline = getattr(section, "cspline", None)
    if spline is None or not hasattr(spline, "coeff"):
        raise ConfigError("holds no cspline.coeff; calibrate with the spline model in SMAP")
    table = spline.coeff
    if table.dtype == object:
        table = table.flat[0]
    parameters = content.get("parameters")
    pixel = np.atleast_1d(getattr(parameters, "pixelsize", []))
    return _SmapValues(
        np.asarray(table, np.float32),
        float(spline.dz),
        float(spline.z0),
        float(getattr(spline, "x0", table.shape[0] // 2 + 1)),
        float(pixel[0]) if pixel.size and pixel.dtype.kind in "fiu" else None,
    )


class _Holder:
    """A file whose cspline lies at the top, as older ones have it."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.cspline = content["cspline"]


def _read_mat_hdf5(path: Path) -> _SmapValues:
    """Read a .mat of version 7.3: HDF5, axes in reverse order, cells as references."""
    require_extra("h5py", "train", "to read a .mat of version 7.3")
    import h5py

    with h5py.File(path, "r") as file:

        def numbers(name: str) -> NDArray[Any] | None:
            if name not in file:
                return None
            found = file[name][()]
            while found.dtype == object:
                found = file[found.flat[0]][()]
            return np.asarray(found)

        root = "SXY/cspline" if "SXY/cspline" in file else "cspline"
        needed = {key: numbers(f"{root}/{key}") for key in ("coeff", "dz", "z0")}
        missing = [key for key, value in needed.items() if value is None]
        if missing:
            raise ConfigError(f"holds no SXY.cspline.{missing[0]}; give the _3dcal.mat of SMAP")
        table = np.asarray(needed["coeff"]).T
        x0, pixel = numbers(f"{root}/x0"), numbers("parameters/pixelsize")
        return _SmapValues(
            table.astype(np.float32),
            float(np.ravel(needed["dz"])[0]),  # type: ignore[arg-type]
            float(np.ravel(needed["z0"])[0]),  # type: ignore[arg-type]
            table.shape[0] // 2 + 1 if x0 is None else float(np.ravel(x0)[0]),
            None if pixel is None else float(np.ravel(pixel)[0]),
        )
