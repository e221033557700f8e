"""What each kind of job does: the pipelines of the command line, with the server's paths.

A job may be run again after a kill, at any point: it goes on from the windows that are finished,
and replaces what was left of its results.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hdsmlm.config.base import parse_section, set_field
from hdsmlm.config.live import LiveConfig
from hdsmlm.config.localize import LocalizeConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.prediction import PredictionConfig
from hdsmlm.config.titration import TitrationConfig
from hdsmlm.errors import TableError
from hdsmlm.io.writing import atomic_path
from hdsmlm.service.run_job import Task

TABLE = "localizations.hdf5"
BLINKS = "blinks.hdf5"
REPORT = "report.txt"
GAUGE = "gauge.json"


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
    movie = task.movie()
    job = LocalizeJob(
        Path(movie.path),
        out,
        task.job.model or "wolf",
        microscope(task),
        sigma_px,
        task.results / BLINKS if fit == "joint" else None,
        allow_truncated=allow_truncated,
        overwrite=True,
        watcher=task,
    )
    summary = dataclasses.asdict(localize_movie(job, config, task.hear))
    summary["notes"] = [*summary.pop("warnings"), *summary["notes"]]
    summary["camera"] = summary.pop("microscope").model_dump(mode="json")
    pixel_nm = task.job.pixel_size_nm or summary["camera"].get("pixel_size_nm")
    return plain({**summary, "pixel_size_nm": pixel_nm or movie.pixel_size_nm})


def predict(task: Task) -> dict[str, Any]:
    """Run ``hdsmlm predict``."""
    from hdsmlm.pipelines.predict import PredictionJob, predict_movie

    options = dict(task.job.options)
    allow_truncated = options.pop("allow_truncated", False)
    camera = task.job.camera if isinstance(task.job.camera, dict) else {}
    values = {
        **_network(task, options),
        "pixel_size_nm": task.job.pixel_size_nm or camera.get("pixel_size_nm"),
        "count_map": options.pop("count_map", "tif"),
        "overlay_frames": options.pop("overlays", 6),
        "normalization_window": options.pop("normalization_window", "auto"),
    }
    config = parse_section(PredictionConfig, values, "options")
    job = PredictionJob(
        Path(task.movie().path),
        task.results,
        task.job.model or "wolf",
        allow_truncated,
        overwrite=True,
        watcher=task,
    )
    return plain({**predict_movie(job, config, task.hear).to_dict(), "movie": task.movie().name})


def doctor(task: Task) -> dict[str, Any]:
    """Run ``hdsmlm doctor``."""
    from hdsmlm.pipelines.doctor import DoctorJob, examine_movie

    options = task.job.options
    job = DoctorJob(
        Path(task.movie().path),
        task.results,
        task.job.pixel_size_nm,
        options.get("kind", "auto"),
        model=task.job.model,
        allow_truncated=options.get("allow_truncated", False),
        overwrite=True,
    )
    report = examine_movie(job, task.hear)
    text = report.to_text().replace(f"{task.results}/", "")
    with atomic_path(task.results / REPORT) as part:
        part.write_text(text, encoding="utf-8")
    config = report.estimate.config
    camera = None if config is None else config.model_dump(mode="json")
    if camera is not None and task.job.pixel_size_nm is not None:
        camera["pixel_size_nm"] = task.job.pixel_size_nm
    return plain({"text": text, "camera": camera, "warnings": list(report.warnings)})


def titrate(task: Task) -> dict[str, Any]:
    """Run ``hdsmlm titrate``."""
    from hdsmlm.pipelines.sparse import SparseJob
    from hdsmlm.pipelines.titrate import TitrateJob, titrate_movie

    options = dict(task.job.options)
    values: dict[str, Any] = TitrationConfig().model_dump()
    for name in ("factors", "reliable_f1"):
        if name in options:
            values[name] = options[name]
    for name, key in (("lag", "min_lag_frames"), ("augment", "augment")):
        if name in options:
            values["binning"][key] = options[name]
    for key, value in options.get("set", {}).items():
        set_field(values, key, value)
    config = parse_section(TitrationConfig, values, "options")
    sparse = SparseJob(
        Path(task.movie().path),
        task.job.model or "wolf",
        microscope(task),
        options.get("sigma_px"),
        task.job.pixel_size_nm,
        options.get("allow_truncated", False),
    )
    job = TitrateJob(
        sparse,
        task.results,
        options.get("engine") or "auto",
        options.get("precision") or "f32",
        overwrite=True,
    )
    result = titrate_movie(job, config, task.hear)
    return plain(
        {
            "text": result.to_text(),
            "density_per_um2": result.density_per_um2,
            "reliable_per_um2": result.reliable_per_um2,
            "is_bounded": result.is_bounded,
            "speed_up": result.speed_up,
            "notes": list(result.notes),
        }
    )


def evaluate(task: Task) -> dict[str, Any]:
    """Run ``hdsmlm evaluate``."""
    from hdsmlm.pipelines.evaluate import EvaluationSources, evaluate_tables

    truth = task.store.table(task.job.truth_id or "")
    if truth is None:
        raise TableError("the table of true emitters was deleted; upload it again")
    options = task.job.options
    height, width = options.get("height"), options.get("width")
    sources = EvaluationSources(
        truth=Path(truth.path),
        predicted=_predicted(task),
        pixel_size_nm=_pixel_size_nm(task),
        size_px=(height, width) if height and width else None,
        movie=Path(task.movie().path) if task.job.movie_id else None,
    )
    found = evaluate_tables(sources, task.results, listener=task.hear).evaluation
    rows = [
        plain(
            {
                "metric": row.title,
                "pairing": row.pairing,
                "f1": row.score.f1,
                "chance_f1": row.chance_f1,
                "precision": row.score.precision,
                "recall": row.score.recall,
                "jaccard": row.score.jaccard,
                "rmse_nm": row.score.rmse_nm,
                "efficiency": row.efficiency,
            }
        )
        for row in found.detection.rows
    ]
    return plain(
        {
            **{name: rows[0][name] for name in ("f1", "precision", "recall", "rmse_nm")},
            "scores": rows,
            "density_per_um2": found.density_per_um2,
            "n_truth": found.n_truth,
            "n_predicted": found.n_predicted,
            "notes": list(found.notes),
        }
    )


def _predicted(task: Task) -> Path:
    from hdsmlm.service.results import table_file

    options = task.job.options
    if options.get("table_id"):
        table = task.store.table(options["table_id"])
        path = None if table is None else Path(table.path)
    else:
        source = task.store.job(options["job_id"])
        path = None if source is None else table_file(
            source.kind, task.folders.job(source.job_id)
        )  # fmt: skip
    if path is None:
        raise TableError("the table that was to be scored was deleted; make it again")
    return path


def _pixel_size_nm(task: Task) -> float | None:
    """Return the pixel size that was given, or that of the job whose table is scored."""
    source = task.store.job(str(task.job.options.get("job_id", "")))
    if task.job.pixel_size_nm is not None or source is None:
        return task.job.pixel_size_nm
    camera = (source.summary or {}).get("camera")
    found = source.pixel_size_nm or (camera or {}).get("pixel_size_nm")
    return None if found is None else float(found)


def live(task: Task) -> dict[str, Any]:
    """Follow a movie that a microscope is writing."""
    from hdsmlm.pipelines.live import Gauge, LiveJob, follow_movie

    class Watch:
        """The task, with the gauge."""

        rows, count_map = task.rows, task.count_map

        def gauge(self, gauge: Gauge) -> None:
            with atomic_path(task.folder / GAUGE) as part:
                part.write_text(json.dumps(plain(dataclasses.asdict(gauge))), encoding="utf-8")

    options = dict(task.job.options)
    sigma_px = options.pop("sigma_px", None)
    network = _network(task, options)
    for name in ("engine", "precision", "decoding"):
        if name in network:
            options[name] = network[name]
    config = parse_section(LiveConfig, options, "options")
    job = LiveJob(
        Path(task.job.path or ""),
        task.results / TABLE,
        Watch(),
        task.job.model or "wolf",
        microscope(task),
        sigma_px,
        task.job.pixel_size_nm,
    )
    summary = dataclasses.asdict(follow_movie(job, config, task.hear))
    summary["camera"] = summary.pop("microscope").model_dump(mode="json")
    return plain(summary)


def _network(task: Task, options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of the network out of ``options``."""
    values: dict[str, Any] = {"pixel_size_nm": task.job.pixel_size_nm}
    for name in ("engine", "precision", "first_frame", "last_frame"):
        value = options.pop(name, None)
        if value is not None:
            values[name] = value
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


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values that JSON has: NaN and infinity become null."""
    cleaned: dict[str, Any] = json.loads(json.dumps(values, default=str), parse_constant=_nothing)
    return cleaned


def _nothing(_name: str) -> None:
    return None


KINDS: dict[str, Callable[[Task], dict[str, Any]]] = {
    "localize": localize,
    "predict": predict,
    "doctor": doctor,
    "titrate": titrate,
    "evaluate": evaluate,
    "live": live,
}
"""Kind of job to its code."""
