"""Readers that napari asks for by the name of a file: each returns a function, or None.

A file that is not of this program is left to others (None). A file that is, but is damaged, raises
the program's own error, which napari shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from hdsmlm.config.base import read_yaml
from hdsmlm.errors import HdsmlmError, TableError
from hdsmlm.io.count_maps import CountMapFile
from hdsmlm.io.movies import open_movie
from hdsmlm.io.tables import read_table, read_table_info
from hdsmlm.io.tables.registry import format_of
from hdsmlm.io.tables.text import read_head
from hdsmlm.napari_plugin.layers import LayerTuple, count_map_layers, movie_layer, points_layer

Paths = str | Sequence[str]
Read = Callable[[Paths], list[LayerTuple]]

TABLE_SUFFIXES = (".hdf5", ".h5", ".csv", ".parquet", ".pq", ".smlm", ".mat", ".txt", ".bin")
_TEXT_SUFFIXES = (".csv", ".txt")
_HEAD_BYTES = 4096
_SUMMARY, _CAMERA = "summary.json", "camera.yaml"
_MAPS = ("count_map.tif", "count_map.zarr")
_MOVIE, _TRUTH = "movie.tif", "truth.csv"


def table_reader(path: Paths) -> Read | None:
    """Return a reader when ``path`` is a table of localizations of a known kind."""
    files = _paths(path)
    if any(file.suffix.lower() not in TABLE_SUFFIXES or not file.is_file() for file in files):
        return None
    try:
        for file in files:
            format_of(file)
    except HdsmlmError:
        return None
    if not all(_is_of_localizations(file) for file in files):
        return None
    return lambda path: [_table(file) for file in _paths(path)]


def count_map_reader(path: Paths) -> Read | None:
    """Return a reader when ``path`` is a count map."""
    files = _paths(path)
    try:
        for file in files:
            CountMapFile(file).close()
    except HdsmlmError:
        return None
    return lambda path: [
        layer for file in _paths(path) for layer in count_map_layers(CountMapFile(file))
    ]


def movie_reader(path: Paths) -> Read | None:
    """Return a reader of movies in the camera formats that the program knows."""
    if any(not file.is_file() for file in _paths(path)):
        return None
    return lambda path: [movie_layer(open_movie(file)) for file in _paths(path)]


def folder_reader(path: Paths) -> Read | None:
    """Return a reader when ``path`` is a folder that this program wrote, or a zarr count map."""
    folders = _paths(path)
    if len(folders) != 1 or not folders[0].is_dir():
        return None
    folder = folders[0]
    if (folder / "zarr.json").is_file() or (folder / ".zarray").is_file():
        return count_map_reader(path)
    tables = result_tables(folder)
    if not tables and not any((folder / name).exists() for name in _MAPS):
        return None
    return lambda path: _folder(_paths(path)[0])


def result_tables(folder: Path) -> list[Path]:
    """Return the tables of a result folder, in alphabetical order.

    Those of ``predict``, ``simulate`` and ``bin`` by their names; others, as ``localize`` and the
    commands after it write them, by the YAML file beside them.
    """
    named = [folder / name for name in ("emitters.csv", _TRUTH) if (folder / name).is_file()]
    marked = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in TABLE_SUFFIXES
        and file not in named
        and any(beside.is_file() for beside in _sidecars(file))
    ]
    return sorted([*named, *marked])


def pixel_size_of(table: Path) -> float | None:
    """Return the pixel size that a table, or what lies beside it in its folder, tells.

    Asked are the table itself, the YAML file beside it, ``summary.json`` of a prediction, and
    ``camera.yaml`` of a simulated or binned movie.
    """
    stated = read_table_info(table).pixel_size_nm
    if stated is None and table.name == "emitters.csv":
        stated = _summary_pixel_size(table.parent / _SUMMARY)
    if stated is None and table.name == _TRUTH and (table.parent / _CAMERA).is_file():
        stated = _number(read_yaml(table.parent / _CAMERA).get("pixel_size_nm"))
    return stated


def _paths(path: Paths) -> list[Path]:
    return [Path(path)] if isinstance(path, str) else [Path(one) for one in path]


def _is_of_localizations(table: Path) -> bool:
    """Tell a text of localizations from other texts with headers, which napari reads too."""
    if table.suffix.lower() not in _TEXT_SUFFIXES:
        return True
    first = read_head(table, _HEAD_BYTES).decode("utf-8", errors="replace").split("\n")[0].lower()
    return "frame" in first and "x" in first


def _sidecars(table: Path) -> tuple[Path, Path]:
    return table.with_suffix(".yaml"), table.with_name(table.name + ".yaml")


def _summary_pixel_size(path: Path) -> float | None:
    if not path.is_file():
        return None
    try:
        return _number(json.loads(path.read_text(encoding="utf-8"))["view"]["pixel_size_nm"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _table(path: Path) -> LayerTuple:
    emitters = read_table(path)
    if not len(emitters):
        raise TableError(f"{path}: the table is sound but holds no rows; there is nothing to show")
    return points_layer(emitters, path.stem, pixel_size_of(path))


def _folder(folder: Path) -> list[LayerTuple]:
    """Return the movie where it is there, then the count map, then the tables on top."""
    layers: list[LayerTuple] = []
    if (folder / _MOVIE).is_file() and (folder / _TRUTH).is_file():
        layers.append(movie_layer(open_movie(folder / _MOVIE), pixel_size_of(folder / _TRUTH)))
    maps = [folder / name for name in _MAPS if (folder / name).exists()]
    for path in maps:
        layers += count_map_layers(CountMapFile(path))
    for table in result_tables(folder):
        if len(read_table(table)):
            layers.append(_table(table))
    if not layers:
        raise TableError(f"{folder}: the tables in this folder hold no rows, nothing to show")
    return layers
