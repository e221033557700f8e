"""The loop of a search with a quick stand-in for training: faults, kills, halving, report."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hdsmlm.compute.memory import estimate_memory
from hdsmlm.errors import ConfigError, OutputError
from hdsmlm.machine import usable_cores
from hdsmlm.pipelines.search import (
    SearchJob,
    run_search,
    smaller_batch,
    with_whole_paths,
    write_report,
)
from hdsmlm.search.record import State
from hdsmlm.search.space import RunConfig

RATE = "training.schedule.learning_rate"
RATES = [0.001, 0.01, 0.02, 0.05]
HERE = Path(__file__).parent


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Return a function that runs a search; faults are files in the marks folder."""
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("TRIAL_MARKS", str(marks))
    monkeypatch.setenv("HDSMLM_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("PYTHONPATH", str(HERE))

    def run(faults=None, workers=2, retry_failed=False, runner="local", backend="torch", **values):
        for number, fault in (faults or {}).items():
            (marks / f"fault{number}").write_text(fault)
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump({"space": {RATE: RATES}, **values}))
        job = SearchJob(
            path,
            tmp_path / "out",
            workers=workers,
            retry_failed=retry_failed,
            runner=runner,
            backend=backend,
            function="few_trials:run",
        )
        return run_search(job)

    return run


def _calls(tmp_path):
    lines = (tmp_path / "marks" / "calls.txt").read_text().splitlines()
    return [tuple(line.split()) for line in lines]


def test_all_combinations_run_once_and_the_best_bundle_is_kept(search, tmp_path):
    summary = search()
    assert summary.best is not None
    assert summary.best.number == 2
    assert summary.best.values == {RATE: 0.01}
    out = tmp_path / "out"
    assert json.loads((out / "best" / "bundle.yaml").read_text()) == {"trial": 2}
    with (out / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["trial"] for row in rows] == ["2", "1", "3", "4"]
    assert float(rows[0]["val_f1"]) == 1.0
    assert sorted(number for number, *_ in _calls(tmp_path)) == ["1", "2", "3", "4"]
    search()  # everything is done
    assert len(_calls(tmp_path)) == 4


def test_faults_are_recorded_and_do_not_stop_the_others(search, tmp_path):
    summary = search({1: "error", 2: "memory", 3: "once", 4: "die"})
    records = {record.number: record for record in summary.records}
    assert records[1].state is State.failed
    assert "ValueError: a fault on purpose" in records[1].error
    assert records[2].state is State.complete
    assert records[2].batch_size == 2
    assert [attempt.batch_size for attempt in records[2].attempts] == [8, 4]
    assert {attempt.status for attempt in records[2].attempts} == {"out_of_memory"}
    assert records[3].state is State.complete
    assert [attempt.status for attempt in records[3].attempts] == ["died"]
    assert records[4].state is State.failed
    assert "SIGKILL" in records[4].error
    page = (tmp_path / "out" / "report.html").read_text()
    assert "a fault on purpose" in page
    assert "batch 2 after the memory ran out" in page

    before = len(_calls(tmp_path))
    search()
    assert len(_calls(tmp_path)) == before  # failed trials are not repeated unasked
    (tmp_path / "marks" / "fault1").unlink()
    (tmp_path / "marks" / "fault4").unlink()
    again = search(retry_failed=True)
    assert again.count(State.complete) == 4


def test_all_failed_is_an_error_that_shows_the_first(search):
    with pytest.raises(OutputError, match="a fault on purpose"):
        search(dict.fromkeys(range(1, 5), "error"))


def test_a_killed_search_goes_on_and_leaves_no_worker(search, tmp_path):
    import psutil

    marks, out = tmp_path / "marks", tmp_path / "out"
    (marks / "fault3").write_text("wait")
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({"space": {RATE: RATES}}))
    code = (
        "import sys; from pathlib import Path\n"
        "from hdsmlm.pipelines.search import SearchJob, run_search\n"
        "run_search(SearchJob(Path(sys.argv[1]), Path(sys.argv[2]), function='few_trials:run'))"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, tmp_path / "space.yaml", out])
    deadline = time.monotonic() + 200
    while not (marks / "waits3").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = psutil.Process(owner.pid).children(recursive=True)
    assert workers
    with pytest.raises(OutputError, match=str(owner.pid)):
        search()  # two at once in one folder
    assert write_report(out).count(State.complete) == 2
    assert not (out / "best").exists()  # the search itself writes it
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    assert [number for number, *_ in _calls(tmp_path)] == ["1", "2", "3"]

    partial = write_report(out)
    assert (out / "best").exists()
    assert (partial.count(State.complete), partial.count(State.waiting)) == (2, 2)
    (marks / "fault3").unlink()
    summary = search()
    assert summary.count(State.complete) == 4
    assert [number for number, *_ in _calls(tmp_path)][:3] == ["1", "2", "3"]
    assert sorted(number for number, *_ in _calls(tmp_path)[3:]) == ["3", "4"]


def test_a_termination_stops_trials_and_search_and_the_same_command_goes_on(search, tmp_path):
    import psutil

    marks, out = tmp_path / "marks", tmp_path / "out"
    (marks / "fault2").write_text("wait")
    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump({"space": {RATE: RATES}}))
    code = (
        "import sys; from pathlib import Path\n"
        "from hdsmlm.errors import Interrupted\n"
        "from hdsmlm.pipelines.search import SearchJob, run_search\n"
        "job = SearchJob(Path(sys.argv[1]), Path(sys.argv[2]), function='few_trials:run')\n"
        "try:\n"
        "    run_search(job)\n"
        "except Interrupted as error:\n"
        "    sys.exit(error.exit_code)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(space), str(out)])
    deadline = time.monotonic() + 200
    while not (marks / "waits2").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = psutil.Process(owner.pid).children(recursive=True)
    owner.terminate()
    assert owner.wait(60) == 130
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    assert (out / "report.html").is_file()
    (marks / "fault2").unlink()
    assert search().count(State.complete) == 4
    assert [number for number, *_ in _calls(tmp_path)].count("1") == 1


@pytest.mark.slow
def test_a_search_over_ray_gives_workers_what_they_need(search, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    summary = search({3: "once"}, runner="ray")
    assert summary.count(State.complete) == 4
    assert [a.status for a in summary.records[2].attempts] == ["died"]
    seen = json.loads((tmp_path / "marks" / "environment1").read_text())
    assert seen == {
        "KERAS_BACKEND": "torch",
        "MLFLOW_TRACKING_URI": "sqlite:///elsewhere.db",
        "HDSMLM_LEASES": str(tmp_path / "leases"),
    }


def test_folders_of_a_run_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "start").mkdir()
    values = {
        "data": {"binned": [{"folder": "cell1"}]},
        "training": {"start_from": "start"},
    }
    run = with_whole_paths(RunConfig.model_validate(values))
    assert run.data.binned[0].folder == tmp_path / "cell1"
    assert run.training.start_from == str(tmp_path / "start")
    named = RunConfig.model_validate({"training": {"start_from": "wolf"}})
    assert with_whole_paths(named).training.start_from == "wolf"


def test_a_run_without_the_compared_score_fails_and_the_others_go_on(search):
    summary = search({2: "silent"})
    record = summary.records[1]
    assert record.state is State.failed
    assert "has no score 'f1'" in record.error
    assert summary.count(State.complete) == 3


def test_another_backend_is_another_search(search):
    search()
    with pytest.raises(ConfigError, match="differs in backend"):
        search(backend="jax")


def test_another_search_in_the_folder_is_refused(search):
    search()
    with pytest.raises(ConfigError, match="differs in space"):
        search(space={RATE: [0.1]})
    assert search(metric="loss", goal="minimize").best.number == 2  # ranking may change


def test_an_unknown_score_names_the_known_ones(search):
    with pytest.raises(ConfigError, match="choose one of: loss, recall, precision, f1"):
        search(metric="f2")


def test_halving_stops_the_worse_early_and_resumes_its_decisions(search, tmp_path):
    pytest.importorskip("optuna")
    values = {
        "space": {RATE: {"low": 0.01, "high": 0.09}},
        "method": {"kind": "halving", "trials": 9, "min_steps": 10, "reduction_factor": 3},
        "fixed": {"training.steps": 100, "training.validation.every_steps": 10},
    }
    summary = search(workers=1, **values)
    best = min(record.values[RATE] for record in summary.records)
    assert summary.best.values[RATE] == best
    assert summary.count(State.stopped) + summary.count(State.complete) == 9
    assert summary.count(State.stopped) >= 4
    for record in summary.records:
        assert [rung.step for rung in record.rungs] == [10, 30, 90][: len(record.rungs)]
        assert record.step == (100 if record.state is State.complete else record.rungs[-1].step)
    steps = sum(record.step for record in summary.records)
    assert steps < 0.6 * 9 * 100

    # Told the same decisions in their order, a new process decides the rest as the first one did.
    out = tmp_path / "out"
    states = {record.number: record.state for record in summary.records}
    orders = [rung.order for record in summary.records for rung in record.rungs]
    assert sorted(orders) == list(range(1, len(orders) + 1))
    last = max(summary.records, key=lambda r: r.rungs[-1].order)
    path = out / "trials" / f"{last.number:04d}" / "trial.json"
    record = json.loads(path.read_text())
    record["rungs"].pop()
    path.write_text(json.dumps({**record, "state": "waiting"}))
    again = search(workers=1, **values)
    assert {record.number: record.state for record in again.records} == states


def test_a_smaller_batch_divides_the_group():
    run = RunConfig.model_validate({"training": {"batch_size": 8, "scene_patches": [1, 3]}})
    assert run.training.patches_per_group == 24
    assert smaller_batch(run) == 4
    one = RunConfig.model_validate({"training": {"batch_size": 1}})
    assert smaller_batch(one) is None
    shared = RunConfig.model_validate(
        {"training": {"batch_size": 12, "scene_patches": [1, 3], "devices": 4}}
    )
    assert smaller_batch(shared) == 4  # 6 divides the group, but 4 devices cannot share it


@pytest.mark.skipif(usable_cores() < 2, reason="two processes need two cores")
def test_a_trial_on_several_devices_asks_for_them(search, tmp_path):
    search(workers=1, space={RATE: [0.01]}, fixed={"training.devices": 2})
    request = json.loads((tmp_path / "out" / "trials" / "0001" / "request.json").read_text())
    assert request["need"]["devices"] == 2
    half = RunConfig.model_validate({"training": {"batch_size": 4}})
    whole = estimate_memory(half, gpu=True).total_bytes
    assert request["need"]["memory_bytes"] == whole  # of half the default batch


def test_the_page_is_whole_and_needs_nothing_from_outside(search, tmp_path):
    import xml.etree.ElementTree as ElementTree

    search(space={RATE: [0.001, 0.01], "network.widths": [[4, 8], [4, 8, 16]]})
    page = (tmp_path / "out" / "report.html").read_text()
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in page
    drawings = page.split("<svg")[1:]
    assert len(drawings) == 3  # parallel coordinates and a plot per field
    for drawing in drawings:
        ElementTree.fromstring("<svg" + drawing.split("</svg>")[0] + "</svg>")
    lines = ElementTree.fromstring("<svg" + drawings[0].split("</svg>")[0] + "</svg>")
    names = [element.tag.rsplit("}", 1)[-1] for element in lines]
    assert names.count("polyline") == 4
    report = subprocess.run(
        [sys.executable, "-m", "hdsmlm", "search", "report", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert report.returncode == 0, report.stderr
    assert "4 complete" in report.stdout
