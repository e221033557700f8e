"""MLflow with an SQLite file and a local artifact folder: no server needed.

Where ``MLFLOW_TRACKING_URI`` is set, MLflow's own variable, the record goes to that server or
database instead, and files go where it keeps them.
"""

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
URI_VARIABLE = "MLFLOW_TRACKING_URI"
PARENT_VARIABLE = "HDSMLM_PARENT_RUN"
"""Environment variable with the run below which new runs are filed; a search sets it for trials."""
_PARENT_TAG = "mlflow.parentRunId"


def has_record(folder: Path) -> bool:
    """Return whether there is a record: a server is named, or the folder has a database."""
    return bool(os.environ.get(URI_VARIABLE)) or (folder / DATABASE).is_file()


def _client(folder: Path) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise MissingExtraError("mlflow", "train", "to track runs") from None
    server = os.environ.get(URI_VARIABLE)
    if server:
        return MlflowClient(tracking_uri=server)
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
            parent = os.environ.get(PARENT_VARIABLE)
            run = self._client.create_run(
                _experiment(self._client, folder),
                run_name=name,
                tags={_PARENT_TAG: parent} if parent else None,
            )
            self._run_id = run.info.run_id

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


def _experiment(client: Any, folder: Path) -> str:
    """Return the id of the experiment; files go beside the database, or where a server wants."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        return str(experiment.experiment_id)
    location = None
    if not os.environ.get(URI_VARIABLE):
        location = (folder.resolve() / ARTIFACTS).as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=location))


def end_lost_runs(folder: Path, parent: str) -> int:
    """Mark the runs below ``parent`` that still count as running, since their process is gone.

    Returns
    -------
    int
        How many there were.
    """
    client = _client(folder)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    lost = client.search_runs(
        [experiment.experiment_id],
        f"tags.`{_PARENT_TAG}` = '{parent}' and attributes.status = 'RUNNING'",
    )
    for run in lost:
        client.set_terminated(run.info.run_id, status="KILLED")
    return len(lost)


def register_bundle(folder: Path, name: str, run_id: str) -> str:
    """Put the bundle that a run recorded into the model registry.

    Parameters
    ----------
    folder : Path
        Folder of the record.
    name : str
        Registered model; each call adds a version.
    run_id : str
        Run whose artifacts hold ``bundle/``.

    Returns
    -------
    str
        The version: the one that this run already has, if any; "" where the store keeps no
        registry or the run has no bundle.
    """
    from mlflow.exceptions import MlflowException

    client = _client(folder)
    try:
        if not any(file.path == "bundle" for file in client.list_artifacts(run_id)):
            return ""
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        for known in client.search_model_versions(f"name = '{name}'"):
            if known.run_id == run_id:
                return str(known.version)
        source = f"{client.get_run(run_id).info.artifact_uri}/bundle"
        return str(client.create_model_version(name, source, run_id).version)
    except MlflowException:
        return ""


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
            params=dict(run.data.params),
            parent=run.data.tags.get(_PARENT_TAG, ""),
        )
        for run in runs
    ]
