"""What the localize widget does, apart from its buttons: a layer in, a layer of points out."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hdsmlm.config.base import parse_section
from hdsmlm.config.localize import LocalizeConfig
from hdsmlm.errors import HdsmlmError, Interrupted
from hdsmlm.io.movies import ArrayMovie, open_movie
from hdsmlm.io.tables import read_table, read_table_info
from hdsmlm.napari_plugin.layers import (
    LayerTuple,
    placement_of,
    points_layer,
    stated_pixel_size_nm,
)
from hdsmlm.napari_plugin.lazy import LazyMovie
from hdsmlm.pipelines.localize import LocalizeJob, localize_movie
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.movie import MovieReader


@dataclass(frozen=True)
class LocalizeRequest:
    """What the user asked for.

    Parameters
    ----------
    model : str
        Name of a shipped model, or a bundle's folder.
    camera : str or None
        A camera.yaml or a preset; None estimates it from the movie.
    sigma_px : float or None
        Width of a Gaussian PSF; None takes that of the camera file, or estimates it.
    pixel_size_nm : float or None
        Side of a pixel in the sample; None asks camera file, layer and movie.
    fit : str
        ``"joint"`` or ``"frame"``.
    first_frame : int
        Counted from 0.
    last_frame : int or None
        One past the last frame; None goes to the end.
    out : Path or None
        The table; None keeps none. With one, a cancelled run goes on when it is asked for again.
    overwrite : bool
        Replace the table that is there.
    """

    model: str = "wolf"
    camera: str | None = None
    sigma_px: float | None = None
    pixel_size_nm: float | None = None
    fit: Literal["joint", "frame"] = "joint"
    first_frame: int = 0
    last_frame: int | None = None
    out: Path | None = None
    overwrite: bool = False


class Cancelling:
    """A listener that passes events on, until it is told to stop the run.

    Parameters
    ----------
    listener : Listener
        Who gets the events.
    """

    def __init__(self, listener: Listener = silent) -> None:
        self._listener = listener
        self._stop = threading.Event()

    def cancel(self) -> None:
        """Stop the run at its next event."""
        self._stop.set()

    def __call__(self, event: Event) -> None:
        """Pass an event on.

        Raises
        ------
        Interrupted
            After :meth:`cancel`.
        """
        if self._stop.is_set():
            raise Interrupted(f"stopped after {event.done} of {event.total} {event.unit}")
        self._listener(event)


def localize_layer(
    layer: Any, request: LocalizeRequest, listener: Listener = silent
) -> tuple[LayerTuple | None, str]:
    """Localize the movie of an image layer.

    Parameters
    ----------
    layer : napari.layers.Image
        Axes (t, y, x).
    request : LocalizeRequest
        How.
    listener : Listener
        Gets the progress, in the calling thread; what it raises ends the run.

    Returns
    -------
    layer : tuple or None
        Points that lie on the image; None when nothing was found.
    text : str
        The summary.

    Raises
    ------
    HdsmlmError
        For everything that the user can mend.
    """
    placement = placement_of(layer)
    values = {
        "fit": request.fit,
        "prediction": {
            "count_map": "none",
            "overlay_frames": 0,
            "pixel_size_nm": request.pixel_size_nm,
            "first_frame": request.first_frame,
            "last_frame": request.last_frame,
        },
    }
    config = parse_section(LocalizeConfig, values, "the form")
    with _movie_of(layer) as movie, _table_path(request) as out:
        job = LocalizeJob(
            movie, out, request.model, request.camera, request.sigma_px, overwrite=request.overwrite
        )
        summary = localize_movie(job, config, listener)
        emitters, pixel_size_nm = read_table(out), read_table_info(out).pixel_size_nm
    if not len(emitters):
        return None, summary.to_text()
    name = f"{layer.name} localizations"
    return points_layer(emitters, name, pixel_size_nm, placement), summary.to_text()


@contextmanager
def _movie_of(layer: Any) -> Iterator[MovieReader]:
    """Yield the layer's movie, read from its file where that holds what the layer shows."""
    if isinstance(layer.data, LazyMovie):
        yield layer.data.reader
        return
    pixel_size_nm = stated_pixel_size_nm(layer)
    from_file = _same_movie_on_disk(layer, pixel_size_nm)
    if from_file is not None:
        with from_file:
            yield from_file
        return
    yield ArrayMovie(np.asarray(layer.data), pixel_size_nm=pixel_size_nm, name=layer.name)


def _same_movie_on_disk(layer: Any, pixel_size_nm: float | None) -> Any:
    """Return a reader of the layer's file, so that memory stays bounded, or None.

    Only when shape and type agree, the first and last frame too, and the file knows its pixel size
    at least as well as the layer does.
    """
    path = layer.source.path
    if path is None or layer.ndim != 3:
        return None
    try:
        reader = open_movie(path)
    except HdsmlmError:
        return None
    info = reader.info
    same = (
        tuple(layer.data.shape) == (info.n_frames, info.height, info.width)
        and np.dtype(layer.data.dtype).name == info.dtype
        and (info.pixel_size_nm is not None or pixel_size_nm is None)
        and all(
            np.array_equal(np.asarray(layer.data[k]), reader.read(k, k + 1)[0])
            for k in (0, info.n_frames - 1)
        )
    )
    if not same:
        reader.close()
    return reader if same else None


@contextmanager
def _table_path(request: LocalizeRequest) -> Iterator[Path]:
    """Yield where the table is written: as asked for, or where it is removed afterwards."""
    if request.out is not None:
        yield request.out
        return
    with tempfile.TemporaryDirectory(prefix="hdsmlm-napari-") as folder:
        yield Path(folder) / "localizations.hdf5"
