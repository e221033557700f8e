"""Which files of a job can be downloaded: a fixed list for every kind, never a client's path."""

from __future__ import annotations

import fnmatch
import os
from dataclasses import dataclass
from pathlib import Path

from hdsmlm.service.kinds import BLINKS, REPORT, TABLE
from hdsmlm.service.run_job import LOG_FILE, RESULTS

_HDF5, _JSON, _TEXT, _PNG = "application/x-hdf5", "application/json", "text/plain", "image/png"


@dataclass(frozen=True)
class ResultFile:
    """A kind of file.

    Parameters
    ----------
    folder : str
        Below the job's folder.
    pattern : str
        Its name; may hold a star.
    media_type, what : str
        For the client.
    """

    folder: str
    pattern: str
    media_type: str
    what: str


def _file(pattern: str, media_type: str, what: str, folder: str = RESULTS) -> ResultFile:
    return ResultFile(folder, pattern, media_type, what)


_LOCALIZATIONS = (
    _file(TABLE, _HDF5, "localizations"),
    _file(TABLE.replace(".hdf5", ".yaml"), "application/yaml", "what the localizations belong to"),
)
_KNOWN: dict[str, tuple[ResultFile, ...]] = {
    "localize": (
        *_LOCALIZATIONS,
        _file(BLINKS, _HDF5, "blinks"),
        _file(BLINKS.replace(".hdf5", ".yaml"), "application/yaml", "what the blinks belong to"),
    ),
    "live": _LOCALIZATIONS,
    "predict": (
        _file("emitters.csv", "text/csv", "emitters"),
        _file("count_map.tif", "image/tiff", "probabilities of 0, 1, 2, 3+ emitters per pixel"),
        _file("summary.txt", _TEXT, "summary"),
        _file("summary.json", _JSON, "summary"),
        _file("provenance.json", _JSON, "how it was made"),
        _file("frame_*.png", _PNG, "frame with its emitters", f"{RESULTS}/overlays"),
    ),
    "doctor": (
        _file("camera.yaml", "application/yaml", "camera and point-spread function"),
        _file(REPORT, _TEXT, "report"),
    ),
    "titrate": (
        _file("titration.json", _JSON, "titration"),
        _file("titration.csv", "text/csv", "titration"),
        _file("titration.png", _PNG, "scores against density"),
    ),
    "evaluate": (
        _file("scores.json", _JSON, "scores"),
        _file("report.html", "text/html", "report"),
        _file("provenance.json", _JSON, "how it was made"),
        _file("overlay_frame_*.png", _PNG, "frame with hits and misses"),
    ),
}
_LOG = ResultFile(".", LOG_FILE, _TEXT, "log")


def result_files(kind: str, folder: Path) -> dict[str, tuple[Path, ResultFile]]:
    """Return the files of a job that are there, by name.

    Parameters
    ----------
    kind : str
        Kind of job.
    folder : Path
        The job's folder.
    """
    found: dict[str, tuple[Path, ResultFile]] = {}
    for known in (*_KNOWN.get(kind, ()), _LOG):
        place = folder / known.folder
        names = sorted(os.listdir(place)) if place.is_dir() else []  # noqa: PTH208
        for name in fnmatch.filter(names, known.pattern):
            path = place / name
            if path.is_file() and not path.is_symlink() and path.stat().st_size:
                found[name] = (path, known)
    return found


def table_file(kind: str, folder: Path) -> Path | None:
    """Return the table of a job, if it has one yet."""
    name = {"localize": TABLE, "live": TABLE, "predict": "emitters.csv"}.get(kind)
    path = folder / RESULTS / str(name)
    return path if name is not None and path.is_file() else None
