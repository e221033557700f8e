"""``hdsmlm runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    table = Table("name", "started (UTC)", "state")
    shown = ("test_f1", "val_f1", "val_recall", "val_precision", "val_loss", "patches_per_s")
    for name in shown:
        table.add_column(name, justify="right")
    table.add_column("run id")
    for run in list_runs(tracking):
        values = [f"{run.metrics[m]:.4g}" if m in run.metrics else "-" for m in shown]
        table.add_row(run.name, run.started, run.status.lower(), *values, run.run_id)
    Console().print(table)
