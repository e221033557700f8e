"""Tables, count maps and movies as napari's layer tuples, each pixel and nanometre in its place.

napari puts the CENTRE of pixel (0, 0) at the origin of the world; this program counts nm from its
outer corner. A pixel of side ``p`` nm therefore shows the position ``x_nm`` at ``x_nm / p - 1/2``.
Layers of points keep nm as their data, and carry that change in ``scale`` and ``translate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import ConfigError
from hdsmlm.io.count_maps import CountMapFile
from hdsmlm.napari_plugin.lazy import LazyCountMap, LazyMovie
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.movie import MovieReader

LayerTuple = tuple[Any, dict[str, Any], str]
"""Data, arguments and kind of a layer, as napari takes them."""

POINT_SIZE_PX = 3.0
"""Diameter of a mark: about the width of a spot (twice a sigma of 1.3 px)."""
_COLOUR_PERCENTILES = (2.0, 98.0)
_CLASS_NAMES = ("P(0)", "P(1)", "P(2)", "P(3+)")
_EXPECTED = "expected count"


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the world: world = ``scale`` · index + ``translate``, axes (t, y, x).

    Parameters
    ----------
    scale, translate : tuple of float
        Of the image layer; the default is that of a movie opened as it is.
    units : tuple or None
        Units of the layer's axes; None leaves napari's own.
    """

    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    translate: tuple[float, float, float] = (0.0, 0.0, 0.0)
    units: tuple[Any, ...] | None = None

    def of_nm(self, pixel_size_nm: float) -> dict[str, Any]:
        """Return ``scale``, ``translate`` of a layer whose data are (frame, y_nm, x_nm).

        Examples
        --------
        >>> placed = Placement().of_nm(100.0)
        >>> placed["scale"], placed["translate"]
        ([1.0, 0.01, 0.01], [0.0, -0.5, -0.5])
        """
        t, y, x = self.scale
        place = {
            "scale": [t, y / pixel_size_nm, x / pixel_size_nm],
            "translate": [
                self.translate[0],
                self.translate[1] - y / 2,
                self.translate[2] - x / 2,
            ],
        }
        return place if self.units is None else place | {"units": self.units}


def placement_of(layer: Any) -> Placement:
    """Return where an image layer lies.

    Raises
    ------
    ConfigError
        When it has no axes (t, y, x), or is turned or sheared.
    """
    if layer.ndim not in (2, 3) or getattr(layer, "rgb", False):
        raise ConfigError(
            f"layer '{layer.name}': a movie with the axes (t, y, x) in grey values was wanted, but "
            f"it has {layer.ndim} axes{' and colours' if getattr(layer, 'rgb', False) else ''}; "
            "choose another layer, or split its channels"
        )
    linear = np.asarray(layer.affine.linear_matrix)
    moved = np.any(np.asarray(layer.affine.translate))
    if not np.allclose(layer.rotate, np.eye(layer.ndim)) or np.any(layer.shear) or moved:
        straight = False
    else:
        straight = np.allclose(linear, np.eye(layer.ndim))
    if not straight:
        raise ConfigError(
            f"layer '{layer.name}' is turned, sheared or moved by a transform; reset its transform"
        )
    scale, translate = list(layer.scale), list(layer.translate)
    if layer.ndim == 2:
        scale, translate = [1.0, *scale], [0.0, *translate]
    return Placement(
        (float(scale[0]), float(scale[1]), float(scale[2])),
        (float(translate[0]), float(translate[1]), float(translate[2])),
        tuple(layer.units) if layer.ndim == 3 else None,
    )


def stated_pixel_size_nm(layer: Any) -> float | None:
    """Return the side of a pixel when the layer's axes have a unit of length, else None."""
    stated = layer.metadata.get("pixel_size_nm")
    if stated is not None:
        return float(stated)
    unit = layer.units[-1]
    if not unit.is_compatible_with("nm"):
        return None
    return float((float(layer.scale[-1]) * (1 * unit)).to("nm").magnitude)


def points_layer(
    emitters: Emitters,
    name: str,
    pixel_size_nm: float | None,
    placement: Placement | None = None,
) -> LayerTuple:
    """Return a table as a layer of rings, one per row, seen in the frame it belongs to.

    Parameters
    ----------
    emitters : Emitters
        The rows.
    name : str
        Of the layer.
    pixel_size_nm : float or None
        Side of a pixel of the movie; None shows the positions in nm, off the movie, until the
        layer is laid on it.
    placement : Placement, optional
        Of the movie; default: a movie opened as it is.

    Returns
    -------
    tuple
        Data (n, 3) of (frame, y_nm, x_nm), arguments with ``features``, ``"points"``.
    """
    data = np.column_stack([emitters["frame"], emitters["y_nm"], emitters["x_nm"]]).astype(float)
    side_nm = pixel_size_nm or 100.0  # of the marks alone, where the pixels are not known
    arguments: dict[str, Any] = {
        "name": name,
        "ndim": 3,
        "features": features(emitters),
        "size": POINT_SIZE_PX * side_nm,
        "face_color": "transparent",
        "border_width": 0.12,
        "border_color": "orange",
        "blending": "translucent_no_depth",
        "metadata": {"pixel_size_nm": pixel_size_nm, "unit": "nm"},
    }
    photons = emitters["photons"] if "photons" in emitters else np.empty(0)
    photons = photons[np.isfinite(photons)]
    if len(photons) and len(photons) == len(emitters):
        low, high = np.percentile(photons, _COLOUR_PERCENTILES)
        if high > low:
            arguments |= {
                "border_color": "photons",
                "border_colormap": "cool",
                "border_contrast_limits": (float(low), float(high)),
            }
    if pixel_size_nm is not None:
        arguments |= (placement or Placement()).of_nm(pixel_size_nm)
    return data, arguments, "points"


def features(emitters: Emitters) -> dict[str, NDArray[Any]]:
    """Return every column of a table, and ``uncertainty_nm``, the lateral standard error.

    ``uncertainty_nm`` is √((σx² + σy²)/2), as ThunderSTORM counts it.
    """
    table = {name: emitters[name] for name in emitters.names}
    if "uncertainty_x_nm" in emitters and "uncertainty_y_nm" in emitters:
        variances = emitters["uncertainty_x_nm"] ** 2 + emitters["uncertainty_y_nm"] ** 2
        table["uncertainty_nm"] = np.sqrt(variances / 2)
    return table


def count_map_layers(file: CountMapFile, visible: bool = True) -> list[LayerTuple]:
    """Return the four classes and, on top, the expected count; only that one is shown at first.

    Parameters
    ----------
    file : CountMapFile
        Stays open as long as the layers live.
    visible : bool
        Whether the expected count is shown.
    """
    shared: dict[str, Any] = {
        "contrast_limits": (0.0, 1.0),
        "multiscale": False,
        "rgb": False,
        "translate": [float(file.first_frame), 0.0, 0.0],
    }
    layers: list[LayerTuple] = [
        (
            LazyCountMap(file, count_class),
            shared | {"name": name, "colormap": "gray", "visible": False},
            "image",
        )
        for count_class, name in enumerate(_CLASS_NAMES)
    ]
    look = {"name": _EXPECTED, "colormap": "magma", "blending": "additive", "visible": visible}
    layers.append((LazyCountMap(file, None), shared | look, "image"))
    return layers


def movie_layer(reader: MovieReader, pixel_size_nm: float | None = None) -> LayerTuple:
    """Return a movie as an image layer that reads the frame it shows.

    Parameters
    ----------
    reader : MovieReader
        Stays open as long as the layer lives.
    pixel_size_nm : float, optional
        Where the movie does not say it itself.
    """
    info = reader.info
    looked_at: Sequence[int] = sorted({0, info.n_frames // 2, info.n_frames - 1})
    sample = np.concatenate([reader.read(k, k + 1) for k in looked_at])
    low, high = (float(value) for value in np.percentile(sample, (1.0, 99.8)))
    arguments = {
        "name": info.name,
        "contrast_limits": (low, high if high > low else low + 1.0),
        "multiscale": False,
        "rgb": False,
        "metadata": {"pixel_size_nm": info.pixel_size_nm or pixel_size_nm, "notes": info.notes},
    }
    return LazyMovie(reader), arguments, "image"
