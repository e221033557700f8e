"""MLflow on an SQLite file: what is logged can be read back, and a run can be continued."""

import pytest

from hdsmlm.tracking.mlflow_tracker import DATABASE, MlflowTracker, list_runs
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
