"""``hdsmlm runs``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from hdsmlm.tracking.tracker import RunSummary

SHOWN = {
    "test F1": "test_f1",
    "val. F1": "val_f1",
    "recall": "val_recall",
    "precision": "val_precision",
}
"""Headings of the table and the metrics below them."""


def command(
    tracking: Annotated[Path, typer.Argument(help="Folder of the MLflow record.")] = Path(
        "runs/tracking"
    ),
    compare: Annotated[
        list[str] | None,
        typer.Option(
            "--compare", "-c", help="Run id (its start is enough) or name; give two or more."
        ),
    ] = None,
) -> None:
    """List the recorded training runs and their scores, or compare some field by field.

    Where MLFLOW_TRACKING_URI is set, the record of that server is shown.
    """
    from rich.console import Console

    from hdsmlm.errors import ConfigError
    from hdsmlm.tracking.mlflow_tracker import DATABASE, has_record, list_runs

    if not has_record(tracking):
        raise ConfigError(
            f"{tracking} holds no record of runs ({DATABASE} is missing); give the folder that "
            "'hdsmlm train' named with --tracking (default: 'tracking' beside its --out)"
        )
    runs = list_runs(tracking)
    Console().print(_comparison(runs, compare) if compare else _list(runs))


def _list(runs: list[RunSummary]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True, min_width=14)
    for heading in ("started (UTC)", "state", "run id"):
        table.add_column(heading, no_wrap=True)
    for heading in SHOWN:
        table.add_column(heading, justify="right", no_wrap=True)
    for run, indent in _families(runs):
        values = (f"{run.metrics[m]:.3f}" if m in run.metrics else "-" for m in SHOWN.values())
        started = run.started.removesuffix("+00:00").replace("T", " ")[:16]
        table.add_row(indent + run.name, started, run.status.lower(), run.run_id[:8], *values)
    return table


def _families(runs: list[RunSummary]) -> list[tuple[RunSummary, str]]:
    """Return each run with its indent: trials stand below their search."""
    known = {run.run_id for run in runs}
    rows: list[tuple[RunSummary, str]] = []
    for run in runs:
        if run.parent in known:
            continue
        rows.append((run, ""))
        rows += [(child, "  ") for child in reversed(runs) if child.parent == run.run_id]
    return rows


def _comparison(runs: list[RunSummary], wanted: list[str]) -> Table:
    from rich.table import Table

    from hdsmlm.errors import ConfigError
    from hdsmlm.tracking.tracker import differing_params

    chosen = [_find(runs, text) for text in wanted]
    if len(chosen) < 2:
        raise ConfigError("--compare needs at least two runs: --compare ID1 --compare ID2")
    table = Table("", box=None, pad_edge=False)
    for run in chosen:
        table.add_column(f"{run.name}\n{run.run_id[:8]}", justify="right")
    for name, values in differing_params(chosen).items():
        table.add_row(name, *values)
    for heading, metric in SHOWN.items():
        table.add_row(
            heading, *(f"{r.metrics[metric]:.4f}" if metric in r.metrics else "-" for r in chosen)
        )
    return table


def _find(runs: list[RunSummary], text: str) -> RunSummary:
    from hdsmlm.config.base import nearest
    from hdsmlm.errors import ConfigError

    found = [run for run in runs if run.run_id.startswith(text) or run.name == text]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(run.run_id[:8] for run in found)
        raise ConfigError(f"'{text}' names {len(found)} runs; give the id of one: {ids}")
    best = nearest(text, [run.name for run in runs])
    hint = f"did you mean '{best}'?" if best else "list them with: hdsmlm runs"
    raise ConfigError(f"no run '{text}' in the record; {hint}")
