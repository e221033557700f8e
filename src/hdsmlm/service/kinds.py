"""What each kind of job does: the pipelines of the command line, with the server's paths."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hdsmlm.config.base import parse_section, set_field
from hdsmlm.config.localize import LocalizeConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.service.run_job import Task

TABLE = "localizations.hdf5"
BLINKS = "blinks.hdf5"


def localize(task: Task) -> dict[str, Any]:
    """Run ``hdsmlm localize``."""
    from hdsmlm.pipelines.localize import LocalizeJob, localize_movie

    options = dict(task.job.options)
    fit = options.pop("fit", "joint")
    sigma_px = options.pop("sigma_px", None)
    allow_truncated = options.pop("allow_truncated", False)
    prediction = {"count_map": "none", "overlay_frames": 0, **_network(task, options)}
    values: dict[str, Any] = {"fit": fit, "prediction": prediction}
    for key, value in options.pop("set", {}).items():
        set_field(values, key, value)
    config = parse_section(LocalizeConfig, values, "options")
    out = task.results / TABLE
    if out.exists():  # a worker died between the table and its record
        return task.job.summary or _table_summary(task, out)
    job = LocalizeJob(
        Path(task.movie().path),
        out,
        task.job.model or "wolf",
        microscope(task),
        sigma_px,
        task.results / BLINKS if fit == "joint" else None,
        allow_truncated=allow_truncated,
        watcher=task,
    )
    summary = dataclasses.asdict(localize_movie(job, config, task.hear))
    used = summary.pop("microscope")
    summary["camera"] = used.model_dump(mode="json") if hasattr(used, "model_dump") else used
    return _finite(summary)


def _table_summary(task: Task, out: Path) -> dict[str, Any]:
    from hdsmlm.io.tables import read_table

    table = read_table(out)
    return {"localizations": task.row_file.replace(table)}


def _network(task: Task, options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of the network out of ``options``."""
    values: dict[str, Any] = {"pixel_size_nm": task.job.pixel_size_nm}
    for name in ("engine", "precision", "first_frame", "last_frame"):
        if options.get(name) is not None:
            values[name] = options.pop(name)
    threshold = options.pop("threshold", None)
    if threshold is not None:
        from hdsmlm.bundle import load_bundle

        decoding = load_bundle(task.job.model or "wolf").manifest.decoding
        values["decoding"] = {**decoding.model_dump(), "threshold": threshold}
    return values


def microscope(task: Task) -> MicroscopeConfig | str | None:
    """Return the job's microscope: a config, the name of a preset, or None to estimate it."""
    given = task.job.camera
    if given in (None, "auto"):
        return None
    if isinstance(given, dict):
        return parse_section(MicroscopeConfig, given, "camera")
    return str(given)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Return plain values that JSON has: no NaN."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


KINDS: dict[str, Callable[[Task], dict[str, Any]]] = {"localize": localize}
"""Kind of job to its code."""
