"""``hdsmlm runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
) -> None:
    """List the recorded training runs and their scores."""
    from rich.console import Console
    from rich.table import Table

    from hdsmlm.errors import ConfigError
    from hdsmlm.tracking.mlflow_tracker import DATABASE, list_runs

    if not (tracking / DATABASE).is_file():
        raise ConfigError(
            f"{tracking} holds no record of runs ({DATABASE} is missing); give the folder that "
            "'hdsmlm train' named with --tracking (default: 'tracking' beside its --out)"
        )
    table = Table("name", box=None, pad_edge=False)
    for heading in ("started (UTC)", "state", "run id"):
        table.add_column(heading, no_wrap=True)
    for heading in SHOWN:
        table.add_column(heading, justify="right", no_wrap=True)
    for run in list_runs(tracking):
        values = (f"{run.metrics[m]:.3f}" if m in run.metrics else "-" for m in SHOWN.values())
        started = run.started.removesuffix("+00:00").replace("T", " ")[:16]
        table.add_row(run.name, started, run.status.lower(), run.run_id[:8], *values)
    Console().print(table)
