"""The results of a search: ``results.csv``, ``results.json`` and one self-contained page."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from hdsmlm.io.writing import atomic_path
from hdsmlm.search.plots import field_plot, parallel_coordinates
from hdsmlm.search.record import State, TrialRecord
from hdsmlm.search.summary import Summary, short_names, value_text

TABLE = "results.csv"
RESULTS = "results.json"
REPORT = "report.html"


def write_results(summary: Summary, folder: Path) -> None:
    """Write table, JSON and page.

    Raises
    ------
    OutputError
        When they cannot be written.
    """
    rows = [_row(summary, rank, record) for rank, record in enumerate(summary.ranked, 1)]
    with (
        atomic_path(folder / TABLE) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    content = {
        "name": summary.config.name,
        "metric": summary.config.metric,
        "goal": summary.config.goal,
        "best": summary.best.number if summary.best else None,
        "trials": [_finite(asdict(record)) for record in summary.ranked],
    }
    with atomic_path(folder / RESULTS) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with atomic_path(folder / REPORT) as temporary:
        temporary.write_text(_page(summary), encoding="utf-8")


def _finite(value: Any) -> Any:
    """Return the value with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _row(summary: Summary, rank: int, record: TrialRecord) -> dict[str, Any]:
    complete = record.state is State.complete
    names = sorted({name for other in summary.records for name in other.scores})
    return {
        "rank": rank if complete else "",
        "trial": record.number,
        "state": record.state.value,
        **{
            field: json.dumps(value) if isinstance(value, (list, tuple, dict)) else value
            for field, value in record.values.items()
        },
        **{f"val_{name}": record.scores.get(name, "") for name in names},
        "step": record.step,
        "seconds": round(record.seconds, 1),
        "batch_size": record.batch_size or "",
        "attempts": len(record.attempts),
        "error": record.error,
    }


def _page(summary: Summary) -> str:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"value": value_text, "score": "{:.4f}".format}
    template = files("hdsmlm.search").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        s=summary,
        State=State,
        names=short_names(list(summary.config.space)),
        lines=parallel_coordinates(summary),
        plots={field: field_plot(summary, field) for field in summary.config.space},
        scores=sorted({name for record in summary.records for name in record.scores}),
        minutes=sum(record.seconds for record in summary.records) / 60,
    )
