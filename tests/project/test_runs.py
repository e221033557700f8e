"""``hdsmlm runs`` lists what training recorded."""

import pytest
from typer.testing import CliRunner

from hdsmlm.cli.main import app
from hdsmlm.tracking.mlflow_tracker import MlflowTracker

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow and SQLAlchemy


def test_scores_on_validation_and_test_set_are_shown(tmp_path):
    tracker = MlflowTracker(tmp_path, "mine")
    tracker.log_metrics({"val_f1": 0.625, "test_f1": 0.8125}, 7)
    tracker.close(complete=True)
    result = CliRunner().invoke(app, ["runs", str(tmp_path)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    head = next(line for line in result.output.splitlines() if "val. F1" in line)
    row = next(line for line in result.output.splitlines() if "mine" in line)
    assert "test F1" in head
    assert "0.812" in row
    assert "0.625" in row


def test_two_runs_are_compared_field_by_field(tmp_path):
    for name, steps in (("short", 5), ("long", 9)):
        tracker = MlflowTracker(tmp_path, name)
        tracker.log_params({"training": {"steps": steps, "seed": 1}})
        tracker.log_metrics({"val_f1": steps / 10}, steps)
    arguments = ["runs", str(tmp_path), "--compare", "short", "--compare", tracker.run_id[:8]]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    row = next(line for line in result.output.splitlines() if "training.steps" in line)
    assert row.split() == ["training.steps", "5", "9"]
    assert "training.seed" not in result.output
    wrong = CliRunner().invoke(app, ["runs", str(tmp_path), "--compare", "shord"])
    assert "did you mean 'short'" in str(wrong.exception)
