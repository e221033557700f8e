"""The two widgets: localize a movie layer, and lay a table on a movie.

magicgui, qtpy and napari are imported where the widgets are made, so that this module can be read
without them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hdsmlm.bundle import load_bundle, shipped_models
from hdsmlm.config.microscope import preset_names
from hdsmlm.errors import ConfigError, HdsmlmError, Interrupted
from hdsmlm.napari_plugin.layers import LayerTuple, placement_of, stated_pixel_size_nm
from hdsmlm.napari_plugin.localizing import Cancelling, LocalizeRequest, localize_layer
from hdsmlm.records.events import Event

FROM_MOVIE = "estimate from the movie"
FROM_FILE = "the file below"
READY = "Choose a movie and press Localize."
_TEXT_HEIGHT = 110
_FIELDS = ("movie", "model", "camera", "camera_file", "pixel_size_nm", "sigma_px", "fit")
_MORE_FIELDS = ("first_frame", "last_frame", "table", "replace")


class LocalizeForm:
    """Fields, two buttons, a progress bar and a line of text.

    Parameters
    ----------
    napari_viewer : napari.components.ViewerModel
        Its image layers can be chosen; the points are added to it.

    Attributes
    ----------
    container : magicgui.widgets.Container
        The widget.
    worker : object or None
        The thread that runs; None when none does.
    """

    def __init__(self, napari_viewer: Any) -> None:
        from magicgui import widgets
        from superqt.utils import ensure_main_thread

        self.viewer = viewer = napari_viewer
        self.worker: Any = None
        self._cancelling: Cancelling | None = None
        self._layer: Any = None
        self.movie = widgets.ComboBox(
            label="Movie", choices=lambda _: _images(viewer), tooltip="An image layer (t, y, x)."
        )
        self.model = widgets.ComboBox(label="Model", choices=sorted(shipped_models(), reverse=True))
        self.camera = widgets.ComboBox(
            label="Camera",
            choices=[FROM_MOVIE, *preset_names(), FROM_FILE],
            tooltip="Camera and PSF; hdsmlm doctor writes a file of them.",
        )
        self.camera_file = widgets.FileEdit(
            label="Camera file", mode="r", filter="*.yaml", nullable=True
        )
        self.pixel_size_nm = widgets.FloatSpinBox(
            label="Pixel size (nm)", value=0, min=0, max=5000, step=1,
            tooltip="Side of a pixel in the sample; 0: as camera file, layer or movie say.",
        )  # fmt: skip
        self.sigma_px = widgets.FloatSpinBox(
            label="PSF sigma (px)", value=0, min=0, max=10, step=0.1,
            tooltip="Width of a Gaussian PSF; 0: that of the camera file, or estimated.",
        )  # fmt: skip
        self.fit = widgets.ComboBox(
            label="Fit",
            choices=["joint", "frame"],
            tooltip="joint: one place per blink; frame: every frame by itself.",
        )
        self.first_frame = widgets.SpinBox(label="First frame", value=0, min=0, max=10**8)
        self.last_frame = widgets.SpinBox(
            label="Up to frame", value=0, min=0, max=10**8, tooltip="Not included; 0: to the end."
        )
        self.table = widgets.FileEdit(
            label="Keep table as", mode="w", filter="*.hdf5 *.csv", nullable=True,
            tooltip="Empty: none is kept. With one, a cancelled run goes on where it stopped.",
        )  # fmt: skip
        self.replace = widgets.CheckBox(label="Replace it", value=False)
        self.run = widgets.PushButton(text="Localize")
        self.stop = widgets.PushButton(text="Cancel", enabled=False)
        self.bar = widgets.ProgressBar(value=0, min=0, max=1, visible=False, label="")
        self.text = widgets.TextEdit(value=READY, label="")
        buttons = widgets.Container(
            widgets=[self.run, self.stop], layout="horizontal", labels=False, label=""
        )
        fields = [getattr(self, name) for name in (*_FIELDS, *_MORE_FIELDS)]
        self.container = widgets.Container(widgets=[*fields, buttons, self.bar, self.text])
        self.text.native.setReadOnly(True)
        self.text.native.setMinimumHeight(_TEXT_HEIGHT)
        self._show_later = ensure_main_thread(self._show)
        # Functions, not methods: a signal holds methods weakly, and nobody else holds this form.
        self.run.changed.connect(lambda *_: self.start())
        self.stop.changed.connect(lambda *_: self.cancel())
        _follow_layers(viewer, self.movie)

    @property
    def native(self) -> Any:
        """The Qt widget, which napari docks."""
        return self.container.native

    def request(self) -> LocalizeRequest:
        """Return what the fields say.

        Raises
        ------
        ConfigError
            When a file is wanted and none is named.
        """
        camera: str | None = self.camera.value
        if camera == FROM_MOVIE:
            camera = None
        elif camera == FROM_FILE:
            if not _named(self.camera_file.value):
                raise ConfigError("choose the camera file, or another camera")
            camera = str(self.camera_file.value)
        return LocalizeRequest(
            model=self.model.value,
            camera=camera,
            sigma_px=self.sigma_px.value or None,
            pixel_size_nm=self.pixel_size_nm.value or None,
            fit=self.fit.value,
            first_frame=self.first_frame.value,
            last_frame=self.last_frame.value or None,
            out=_named(self.table.value),
            overwrite=self.replace.value,
        )

    def start(self) -> None:
        """Begin in a thread of its own; what is wrong with the fields is said at once."""
        from superqt.utils import create_worker

        layer = self.movie.value
        if layer is None or self.worker is not None:
            self.text.value = READY if layer is None else self.text.value
            return
        try:
            request = self.request()
            placement_of(layer)
            load_bundle(request.model)
        except HdsmlmError as error:
            self.text.value = str(error)
            return
        self._layer, self._cancelling = layer, Cancelling(self._show_later)
        self._set_running(True)
        self.text.value = "Looking at the movie. The first run of all compiles for half a minute."
        self.worker = create_worker(
            localize_layer, layer, request, self._cancelling,
            _start_thread=False, _ignore_errors=True,
        )  # fmt: skip
        self.worker.returned.connect(lambda result: self._returned(*result))
        self.worker.errored.connect(lambda error: self._failed(error))
        self.worker.finished.connect(lambda: self._finished())
        self.worker.start()

    def cancel(self) -> None:
        """Ask the run to stop; it ends with the window that it is at."""
        if self._cancelling is not None:
            self._cancelling.cancel()
            self.text.value = "Stopping at the end of this window of frames …"

    def _show(self, event: Event) -> None:
        self.bar.max, self.bar.value = max(1, event.total), event.done
        line = f"{event.stage}: {event.done} of {event.total} {event.unit}"
        self.text.value = f"{line}, {event.what}" if event.what else line

    def _returned(self, found: LayerTuple | None, text: str) -> None:
        if found is None:
            self.text.value = f"Nothing was found.\n{text}"
            return
        self.viewer.add_layer(_layer_of(found))
        self.text.value = re.sub(" {2,}", ": ", text)  # columns need a fixed font

    def _failed(self, error: Exception) -> None:
        kept = ""
        if isinstance(error, Interrupted) and _named(self.table.value):
            kept = ". What is finished is kept; Localize goes on there"
        self.text.value = f"{error}{kept}"
        if not isinstance(error, HdsmlmError):
            raise error  # a fault of the program: napari shows it with its traceback

    def _finished(self) -> None:
        self.worker = self._cancelling = self._layer = None
        self._set_running(False)

    def _set_running(self, running: bool) -> None:
        self.run.enabled, self.stop.enabled, self.bar.visible = not running, running, running


class PlaceForm:
    """A table, a movie and the side of its pixels: lays nm positions on the pixels.

    Parameters
    ----------
    napari_viewer : napari.components.ViewerModel
        Its layers can be chosen.
    """

    def __init__(self, napari_viewer: Any) -> None:
        from magicgui import widgets

        viewer = napari_viewer
        self.table = widgets.ComboBox(label="Table", choices=lambda _: _tables(viewer))
        self.movie = widgets.ComboBox(label="Movie", choices=lambda _: _images(viewer))
        self.pixel_size_nm = widgets.FloatSpinBox(
            label="Pixel size (nm)", value=0, min=0, max=5000, step=1,
            tooltip="Side of a pixel in the sample; 0: as the movie or the table say.",
        )  # fmt: skip
        self.run = widgets.PushButton(text="Lay on the movie", label="")
        self.text = widgets.Label(value="", label="")
        self.container = widgets.Container(
            widgets=[self.table, self.movie, self.pixel_size_nm, self.run, self.text]
        )
        self.text.native.setWordWrap(True)
        self.run.changed.connect(lambda *_: self.start())
        _follow_layers(viewer, self.table, self.movie)

    @property
    def native(self) -> Any:
        """The Qt widget, which napari docks."""
        return self.container.native

    def start(self) -> None:
        """Give the table's layer the scale and place of the movie."""
        table, movie = self.table.value, self.movie.value
        if table is None or movie is None:
            self.text.value = "Open a table and a movie first."
            return
        stated = (
            self.pixel_size_nm.value
            or stated_pixel_size_nm(movie)
            or table.metadata.get("pixel_size_nm")
        )
        if not stated:
            self.text.value = "Neither movie nor table says how wide a pixel is; give it above."
            return
        try:
            place = placement_of(movie).of_nm(stated)
        except HdsmlmError as error:
            self.text.value = str(error)
            return
        table.size = table.size * stated / (table.metadata.get("pixel_size_nm") or 100.0)
        table.metadata["pixel_size_nm"] = stated
        for name, value in place.items():
            setattr(table, name, value)
        self.text.value = f"Pixels of {stated:g} nm."


def _images(viewer: Any) -> list[Any]:
    from napari.layers import Image

    return [layer for layer in viewer.layers if isinstance(layer, Image)]


def _tables(viewer: Any) -> list[Any]:
    return [layer for layer in viewer.layers if layer.metadata.get("unit") == "nm"]


def _follow_layers(viewer: Any, *boxes: Any) -> None:
    """Keep the choices of combo boxes those of the viewer's layers."""

    def refresh(*_: Any) -> None:
        for box in boxes:
            box.reset_choices()

    for change in (viewer.layers.events.inserted, viewer.layers.events.removed):
        change.connect(refresh)


def _named(path: Any) -> Path | None:
    return Path(path) if path is not None and str(path) not in {"", "."} else None


def _layer_of(found: LayerTuple) -> Any:
    from napari.layers import Layer

    return Layer.create(*found)
