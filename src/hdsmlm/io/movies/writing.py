"""Write 16-bit movies frame by frame: ImageJ stacks, or OME in BigTIFF where they are large."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from hdsmlm.units import NM_PER_UM

_BIGTIFF_BYTES = 3_900_000_000


def write_tiff_movie(
    path: Path,
    frames: Iterator[NDArray[np.uint16]],
    shape: tuple[int, int, int],
    pixel_size_nm: float,
) -> None:
    """Write frames as they come.

    Parameters
    ----------
    path : Path
        The file; callers that want all or nothing give a temporary one.
    frames : iterator of array of uint16, shape (y, x)
        The frames.
    shape : tuple of int
        (t, y, x) of the movie.
    pixel_size_nm : float
        Side of a pixel, written where ImageJ and OME readers look for it.
    """
    big = 2 * shape[0] * shape[1] * shape[2] > _BIGTIFF_BYTES
    pixel_um = pixel_size_nm / NM_PER_UM
    if big:
        metadata = {
            "axes": "TYX",
            "PhysicalSizeX": pixel_um,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": pixel_um,
            "PhysicalSizeYUnit": "µm",
        }
        with tifffile.TiffWriter(path, bigtiff=True, ome=True) as writer:
            writer.write(
                frames, shape=shape, dtype="uint16", photometric="minisblack", metadata=metadata
            )
        return
    with tifffile.TiffWriter(path, imagej=True) as writer:
        writer.write(
            frames,
            shape=shape,
            dtype="uint16",
            photometric="minisblack",
            resolution=(1 / pixel_um, 1 / pixel_um),
            metadata={"axes": "TYX", "unit": "um"},
        )
