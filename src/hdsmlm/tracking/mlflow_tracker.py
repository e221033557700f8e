"""MLflow with an SQLite file and a local artifact folder: no server needed."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hdsmlm.errors import MissingExtraError
from hdsmlm.io.writing import output_folder
from hdsmlm.tracking.tracker import RunSummary, flatten

DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"
EXPERIMENT = "hdsmlm"


def _client(folder: Path) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise MissingExtraError("mlflow", "train", "to track runs") from None
    folder = output_folder(folder).resolve()
    return MlflowClient(tracking_uri=f"sqlite:///{folder / DATABASE}")


class MlflowTracker:
    """Records one run in ``folder``; pass the ``run_id`` of an unfinished run to continue it.

    Parameters
    ----------
    folder : Path
        Holds ``mlflow.db`` and ``artifacts/``; look at it with
        ``mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db``.
    name : str
        Name of the run.
    run_id : str
        Run to continue; "" starts one.
    """

    def __init__(self, folder: Path, name: str, run_id: str = "") -> None:
        self._client = _client(folder)
        if run_id and self._known(run_id):
            self._run_id = run_id
            self._client.set_terminated(run_id, status="RUNNING")
        else:
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            experiment_id = (
                experiment.experiment_id
                if experiment is not None
                else self._client.create_experiment(
                    EXPERIMENT, artifact_location=(folder.resolve() / ARTIFACTS).as_uri()
                )
            )
            self._run_id = self._client.create_run(experiment_id, run_name=name).info.run_id

    @property
    def run_id(self) -> str:
        """MLflow's run id."""
        return self._run_id

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record parameters once; a continued run keeps the ones that it has."""
        known = self._client.get_run(self._run_id).data.params
        for key, value in flatten(params).items():
            if key not in known:
                self._client.log_param(self._run_id, key, str(value)[:500])

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record numbers at a step."""
        for key, value in metrics.items():
            self._client.log_metric(self._run_id, key, float(value), step=step)

    def log_file(self, path: Path, folder: str = "") -> None:
        """Copy a file, or a folder's files, into the run's artifacts."""
        if path.is_dir():
            self._client.log_artifacts(self._run_id, str(path), folder or path.name)
        else:
            self._client.log_artifact(self._run_id, str(path), folder or None)

    def close(self, complete: bool) -> None:
        """Mark the run finished, or as one to be continued."""
        self._client.set_terminated(self._run_id, status="FINISHED" if complete else "KILLED")

    def _known(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_run(run_id)
        except MlflowException:
            return False
        return True


def list_runs(folder: Path) -> list[RunSummary]:
    """Return the recorded runs, newest first."""
    client = _client(folder)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return []
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    return [
        RunSummary(
            run_id=run.info.run_id,
            name=run.info.run_name or "",
            status=run.info.status,
            started=datetime.datetime.fromtimestamp(
                run.info.start_time / 1000, datetime.UTC
            ).isoformat(timespec="seconds"),
            metrics=dict(run.data.metrics),
        )
        for run in runs
    ]
