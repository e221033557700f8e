"""Where coordinates count from, and the conversions between their conventions.

Tables hold nanometres with the origin at the OUTER CORNER of pixel (0, 0): the centre of pixel
(row i, column j) lies at ``((j + 0.5)·p, (i + 0.5)·p)`` nm, as in ThunderSTORM tables and the SMLM
challenge. Pixel coordinates inside the program ("_px") use the same corner origin, so
``x_px = x_nm / p`` and the pixel that holds an emitter is ``floor(x_px)``. Indices of arrays, and
programs that put zero at the pixel centre (Picasso, napari, Matplotlib's ``imshow``), differ by
half a pixel: :func:`corner_to_centre_px`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NM_PER_UM = 1000.0


def nm_to_px(value_nm: NDArray[np.floating] | float, pixel_size_nm: float) -> NDArray[np.float64]:
    """Nanometres to pixels, both from the outer corner of the first pixel."""
    return np.asarray(value_nm, np.float64) / pixel_size_nm


def px_to_nm(value_px: NDArray[np.floating] | float, pixel_size_nm: float) -> NDArray[np.float64]:
    """Pixels to nanometres, both from the outer corner of the first pixel."""
    return np.asarray(value_px, np.float64) * pixel_size_nm


def corner_to_centre_px(value_px: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """Corner-origin pixels to the convention where an integer is a pixel's centre."""
    return np.asarray(value_px, np.float64) - 0.5


def centre_to_corner_px(value_px: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """Inverse of :func:`corner_to_centre_px`."""
    return np.asarray(value_px, np.float64) + 0.5


def density_per_um2(count_per_frame: float, height: int, width: int, pixel_size_nm: float) -> float:
    """Emitters that are on per µm² and frame, for a field of ``height`` × ``width`` pixels."""
    area_um2 = height * width * (pixel_size_nm / NM_PER_UM) ** 2
    return count_per_frame / area_um2
