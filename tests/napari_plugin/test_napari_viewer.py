"""The plugin inside napari: manifest, readers through napari's own door, the form, a real window.

Run where napari is installed: ``pip install -e '.[napari]' pytest hypothesis`` in an environment of
its own, then ``QT_QPA_PLATFORM=offscreen python -m pytest tests/napari_plugin``. The window needs a
display with OpenGL: ``xvfb-run -a python -m pytest tests/napari_plugin -k window``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

if not os.environ.get("DISPLAY"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

with warnings.catch_warnings():
    # napari's libraries warn about one another; that is not this program's to mend.
    warnings.simplefilter("ignore")
    reason = "napari is not installed; pip install 'hdsmlm[napari]'"
    pytest.importorskip("napari", reason=reason)
    pytest.importorskip("napari.layers", reason=reason)
    from npe2 import PluginManager, PluginManifest
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

import hdsmlm.napari_plugin  # noqa: E402
from hdsmlm.io.tables import TableInfo, read_table, write_table  # noqa: E402
from hdsmlm.napari_plugin.localizing import LocalizeRequest, localize_layer  # noqa: E402
from hdsmlm.napari_plugin.samples import simulated_movie  # noqa: E402
from hdsmlm.napari_plugin.widgets import FROM_FILE, LocalizeForm, PlaceForm  # noqa: E402
from hdsmlm.records.emitters import Emitters  # noqa: E402
from hdsmlm.records.events import Event  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = Path(hdsmlm.napari_plugin.__file__).parent / "napari.yaml"
QUICK = LocalizeRequest(camera="ideal", sigma_px=1.3, fit="frame", last_frame=12)


@pytest.fixture(scope="module")
def app() -> Any:
    from qtpy.QtWidgets import QApplication

    return QApplication.instance() or QApplication([])


@pytest.fixture
def viewer() -> Any:
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def plugins() -> PluginManager:
    manager = PluginManager.instance()
    if "hdsmlm" not in manager:
        manager.register(PluginManifest.from_file(MANIFEST))
    return manager


@pytest.fixture(scope="module")
def movie_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blinking dots of 2500 photons and sigma 1.3 px on the camera of preset ``ideal``."""
    generator = np.random.default_rng(11)
    y, x = np.mgrid[:32, :32]
    frames = []
    for k in range(24):
        light = np.full((32, 32), 10.0)
        for centre, on in (((8.25, 20.5), k % 3 != 0), ((22.0, 9.75), k % 4 != 1)):
            if on:
                r2 = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
                light += 2500 * np.exp(-r2 / (2 * 1.3**2)) / (2 * np.pi * 1.3**2)
        frames.append(100 + generator.poisson(light))
    path = tmp_path_factory.mktemp("movie") / "dots.tif"
    tifffile.imwrite(path, np.array(frames, np.uint16), photometric="minisblack")
    return path


def wait_for(app: Any, condition: Callable[[], bool], seconds: float = 240.0) -> None:
    """Let Qt work until ``condition``; a bound on a hanging test, not a measure of speed."""
    end = time.monotonic() + seconds
    while not condition():
        app.processEvents()
        time.sleep(0.01)
        assert time.monotonic() < end, "nothing happened"


# ---------------------------------------------------------------- manifest and readers


def test_manifest_is_valid_and_everything_it_names_can_be_imported() -> None:
    manifest = PluginManifest.from_file(MANIFEST)
    assert manifest.name == "hdsmlm"
    manifest.validate_imports()
    named = {command.id for command in manifest.contributions.commands}
    parts = manifest.contributions
    used = [*parts.readers, *parts.widgets, *parts.sample_data]
    assert {part.command for part in used} == named


def test_package_announces_the_manifest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entry = project["entry-points"]["napari.manifest"]["hdsmlm"]
    package, file = entry.split(":")
    assert package == "hdsmlm.napari_plugin"
    assert file == MANIFEST.name


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("a.hdf5", "hdsmlm.table_reader"),
        ("a.CSV", "hdsmlm.table_reader"),
        ("my_count_map_2.tif", "hdsmlm.count_map_reader"),
        ("a.spe", "hdsmlm.movie_reader"),
    ],
)
def test_files_find_their_reader(plugins: PluginManager, name: str, reader: str) -> None:
    assert reader in {one.command for one in plugins.iter_compatible_readers([name])}


def test_plain_tiffs_are_not_claimed(plugins: PluginManager) -> None:
    readers = plugins.iter_compatible_readers(["movie.tif"])
    assert [one.command for one in readers if one.plugin_name == "hdsmlm"] == []


def test_table_read_through_napari_lies_in_its_pixel(
    plugins: PluginManager, viewer: Any, tmp_path: Path
) -> None:
    """A spot drawn into one pixel and its localization are one place in the world."""
    from napari.layers import Layer
    from npe2 import read

    path = tmp_path / "table.hdf5"
    table = Emitters(
        {"frame": [2], "x_nm": [750.0], "y_nm": [350.0], "photons": [9.0], "z_nm": [1.0]}
    )
    write_table(table, path, info=TableInfo(pixel_size_nm=100.0, n_frames=4, height=8, width=12))
    frames = np.zeros((4, 8, 12))
    frames[2, 3, 7] = 1.0
    image = viewer.add_image(frames)
    (data,) = read([str(path)], stack=False, plugin_name="hdsmlm")
    points = viewer.add_layer(Layer.create(*data))
    viewer.dims.set_point(0, 2)
    place = points.data_to_world(points.data[0])
    assert image.get_value(place, world=True) == 1.0
    assert points.features["photons"].tolist() == [9.0]
    assert points.features["z_nm"].tolist() == [1.0]
    assert points.get_value(place, world=True) == 0
    viewer.dims.set_point(0, 1)
    assert points.get_value((1.0, 3.0, 7.0), world=True) is None


def test_lazy_layers_are_shown_frame_by_frame(viewer: Any) -> None:
    from napari.layers import Layer

    layers = [Layer.create(*data) for data in simulated_movie()]
    for layer in layers:
        viewer.add_layer(layer)
    viewer.dims.set_point(0, 40)
    np.testing.assert_array_equal(layers[0]._slice.image.raw, np.asarray(layers[0].data)[40])


# ---------------------------------------------------------------- localizing a layer


def opened(viewer: Any, path: Path, **arguments: Any) -> Any:
    return viewer.add_image(tifffile.imread(path), name="dots", **arguments)


def test_points_lie_on_the_dots_of_a_scaled_and_moved_image(viewer: Any, movie_file: Path) -> None:
    layer = opened(viewer, movie_file, scale=(1, 0.1, 0.1), translate=(0, 5, -3))
    layer.units = ("s", "um", "um")
    found, text = localize_layer(layer, QUICK)
    assert found is not None
    data, arguments, _ = found
    world = data * arguments["scale"] + arguments["translate"]
    dots = np.array([[8.25, 20.5], [22.0, 9.75]]) * 0.1 + [5, -3]
    away = np.abs(world[:, None, 1:] - dots).max(axis=2).min(axis=1)
    assert len(world) >= 12
    assert np.median(away) < 0.01  # µm: 0.1 px, several standard errors
    assert "localizations" in text
    assert arguments["metadata"]["pixel_size_nm"] == pytest.approx(100.0)


def test_pixel_size_must_be_known(viewer: Any, movie_file: Path) -> None:
    from hdsmlm.errors import ConfigError

    with pytest.raises(ConfigError, match="pixel"):
        localize_layer(opened(viewer, movie_file), QUICK)


def test_a_dark_movie_gives_no_layer(viewer: Any) -> None:
    dark = 100 + np.random.default_rng(3).poisson(5, (12, 32, 32)).astype(np.uint16)
    layer = viewer.add_image(dark, scale=(1, 100, 100), units=("pixel", "nm", "nm"))
    found, _ = localize_layer(layer, QUICK)
    assert found is None


def test_a_layer_that_shows_its_file_is_streamed_from_it(viewer: Any, movie_file: Path) -> None:
    from napari.layers._source import layer_source

    from hdsmlm.napari_plugin import localizing

    assert localizing._same_movie_on_disk(opened(viewer, movie_file), None) is None
    with layer_source(path=str(movie_file)):
        layer = opened(viewer, movie_file)
    with localizing._same_movie_on_disk(layer, None) as reader:
        assert reader.info.n_frames == 24
    layer.data = layer.data + np.uint16(1)
    assert localizing._same_movie_on_disk(layer, None) is None


# ---------------------------------------------------------------- the form


def filled_form(viewer: Any, **values: Any) -> LocalizeForm:
    form = LocalizeForm(viewer)
    given = {"camera": "ideal", "sigma_px": 1.3, "pixel_size_nm": 100.0, "fit": "frame"}
    for name, value in (given | {"last_frame": 12} | values).items():
        getattr(form, name).value = value
    return form


def test_form_localizes_in_a_thread_and_adds_the_points(
    app: Any, viewer: Any, movie_file: Path
) -> None:
    form = filled_form(viewer)
    assert form.movie.value is None
    layer = opened(viewer, movie_file)
    assert form.movie.value is layer
    shown: list[Event] = []
    show = form._show_later
    form._show_later = lambda event: (shown.append(event), show(event))
    form.run.native.click()
    assert not form.run.enabled
    assert form.stop.enabled
    wait_for(app, lambda: form.worker is None)
    assert form.run.enabled
    assert [one.name for one in viewer.layers] == ["dots", "dots localizations"]
    assert shown[-1].done == shown[-1].total == 12
    assert form.bar.max == 12
    assert "localizations" in form.text.value


def test_form_stops_and_goes_on(app: Any, viewer: Any, movie_file: Path, tmp_path: Path) -> None:
    opened(viewer, movie_file)
    table = tmp_path / "table.hdf5"
    form = filled_form(viewer, table=table)
    form.start()
    form.cancel()
    wait_for(app, lambda: form.worker is None)
    assert "stopped" in form.text.value
    assert "goes on there" in form.text.value
    assert len(viewer.layers) == 1
    form.start()
    wait_for(app, lambda: form.worker is None)
    assert len(viewer.layers) == 2
    assert len(read_table(table)) == len(viewer.layers[1].data)


def test_form_says_what_is_wrong(app: Any, viewer: Any, movie_file: Path, tmp_path: Path) -> None:
    form = filled_form(viewer)
    form.start()
    assert form.worker is None
    assert "Choose a movie" in form.text.value
    opened(viewer, movie_file)
    form.camera.value = FROM_FILE
    form.start()
    assert "camera file" in form.text.value
    form.camera_file.value = tmp_path / "absent.yaml"
    form.start()
    wait_for(app, lambda: form.worker is None)
    assert "absent.yaml" in form.text.value
    viewer.layers.clear()
    viewer.add_image(np.zeros((2, 3, 4, 5)), name="four axes")
    form.start()
    assert "four axes" in form.text.value


def test_place_form_lays_a_loose_table_on_the_movie(
    app: Any, viewer: Any, movie_file: Path, tmp_path: Path
) -> None:
    from napari.layers import Layer

    from hdsmlm.napari_plugin.readers import table_reader

    path = tmp_path / "loose.csv"
    write_table(Emitters({"frame": [1], "x_nm": [650.0], "y_nm": [950.0]}), path)
    read = table_reader(str(path))
    assert read is not None
    points = viewer.add_layer(Layer.create(*read(str(path))[0]))
    opened(viewer, movie_file, scale=(1, 2, 2))
    form = PlaceForm(viewer)
    form.start()
    assert "how wide a pixel" in form.text.value
    form.pixel_size_nm.value = 100
    form.start()
    assert points.data_to_world(points.data[0]) == pytest.approx([1, 18.0, 12.0])


# ---------------------------------------------------------------- a real window

WINDOW = """
import sys, time, napari
from napari.utils.notifications import notification_manager
viewer = napari.Viewer(show=True)
viewer.open_sample("hdsmlm", "simulated_movie")
viewer.open(sys.argv[1], plugin="hdsmlm")
_, form = viewer.window.add_plugin_dock_widget("hdsmlm", "Localize a movie")
_, place = viewer.window.add_plugin_dock_widget("hdsmlm", "Lay a table on its movie")
assert form.movie.value.name == "simulated movie", form.movie.value
assert [layer.name for layer in place.table.choices] == ["truth", "one"]
form.camera.value, form.sigma_px.value, form.last_frame.value = "ideal", 1.3, 8
form.fit.value = sys.argv[2]
form.run.native.click()
end = time.monotonic() + 240
while form.worker is not None and time.monotonic() < end:
    napari.qt.get_qapp().processEvents()
    time.sleep(0.01)
assert "localizations" in form.text.value, form.text.value
viewer.dims.set_point(0, 3)
viewer.reset_view()
picture = viewer.screenshot(canvas_only=True, flash=False)
assert picture[..., :3].std() > 1, "the canvas is empty"
if len(sys.argv) > 3:
    viewer.screenshot(sys.argv[3], canvas_only=False, flash=False)
print(len(viewer.layers), [str(n) for n in notification_manager.records])
viewer.close()
"""


@pytest.mark.skipif(
    not os.environ.get("DISPLAY"), reason="a window needs a display: run under xvfb-run"
)
def test_window(tmp_path: Path) -> None:
    info = TableInfo(pixel_size_nm=100.0, n_frames=4, height=64, width=64)
    table = Emitters({"frame": [3], "x_nm": [650.0], "y_nm": [950.0], "photons": [99.0]})
    write_table(table, tmp_path / "one.hdf5", info=info)
    environment = {k: v for k, v in os.environ.items() if k != "QT_QPA_PLATFORM"}
    done = subprocess.run(
        [sys.executable, "-c", WINDOW, str(tmp_path / "one.hdf5"), "frame"],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "4 []"
