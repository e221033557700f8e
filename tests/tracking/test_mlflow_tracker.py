"""MLflow on an SQLite file: what is logged can be read back, and a run can be continued."""

import pytest

from hdsmlm.tracking.mlflow_tracker import (
    DATABASE,
    PARENT_VARIABLE,
    URI_VARIABLE,
    MlflowTracker,
    end_lost_runs,
    list_runs,
    register_bundle,
)
from hdsmlm.tracking.tracker import NullTracker, Tracker

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow and SQLAlchemy


def test_a_continued_run_is_one_record(tmp_path):
    first = MlflowTracker(tmp_path, "wolf")
    first.log_params({"training": {"steps": 6}, "seed": 1})
    first.log_metrics({"val_f1": 0.5}, 3)
    first.close(complete=False)
    assert list_runs(tmp_path)[0].status == "KILLED"
    again = MlflowTracker(tmp_path, "wolf", first.run_id)
    again.log_params({"training": {"steps": 8}})
    again.log_metrics({"val_f1": 0.75}, 6)
    (tmp_path / "card.md").write_text("text")
    again.log_file(tmp_path / "card.md", "bundle")
    again.close(complete=True)
    (run,) = list_runs(tmp_path)
    assert run.run_id == first.run_id
    assert run.status == "FINISHED"
    assert run.metrics == {"val_f1": 0.75}
    assert (tmp_path / DATABASE).is_file()
    (card,) = (tmp_path / "artifacts").rglob("card.md")
    assert card.parent.name == "bundle"


def test_unknown_run_starts_a_new_one(tmp_path):
    tracker = MlflowTracker(tmp_path, "wolf", "0123456789abcdef0123456789abcdef")
    assert tracker.run_id != "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("kind", ["null", "mlflow"])
def test_every_tracker_takes_the_same_calls(kind, tmp_path):
    tracker = NullTracker() if kind == "null" else MlflowTracker(tmp_path / "record", "run")
    assert isinstance(tracker, Tracker)
    tracker.log_params({"a": {"b": 1}})
    tracker.log_metrics({"loss": 0.1}, 1)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.txt").write_text("a")
    tracker.log_file(pictures)
    tracker.close(complete=True)


def test_trials_are_filed_below_their_search_and_the_best_is_registered_once(tmp_path, monkeypatch):
    search = MlflowTracker(tmp_path, "search")
    monkeypatch.setenv(PARENT_VARIABLE, search.run_id)
    trial = MlflowTracker(tmp_path, "trial")
    trial.log_params({"training": {"steps": 6}})
    bundle = tmp_path / "a" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "bundle.yaml").write_text("name: trial")
    assert register_bundle(tmp_path, "mine", trial.run_id) == ""  # nothing recorded yet
    trial.log_file(bundle, "bundle")
    assert register_bundle(tmp_path, "mine", trial.run_id) == "1"
    assert register_bundle(tmp_path, "mine", trial.run_id) == "1"
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert runs["trial"].parent == search.run_id
    assert runs["search"].parent == ""
    assert runs["trial"].params == {"training.steps": "6"}
    assert end_lost_runs(tmp_path, search.run_id) == 1  # its process was killed
    assert end_lost_runs(tmp_path, search.run_id) == 0
    assert {run.status for run in list_runs(tmp_path) if run.parent} == {"KILLED"}


def test_the_record_goes_where_mlflows_variable_says(tmp_path, monkeypatch):
    elsewhere = tmp_path / "server.db"
    monkeypatch.setenv(URI_VARIABLE, f"sqlite:///{elsewhere}")
    monkeypatch.chdir(tmp_path)
    tracker = MlflowTracker(tmp_path / "here", "mine")
    tracker.log_metrics({"val_f1": 0.5}, 1)
    tracker.close(complete=True)
    assert elsewhere.is_file()
    assert not (tmp_path / "here" / DATABASE).exists()
    assert [run.name for run in list_runs(tmp_path / "here")] == ["mine"]
