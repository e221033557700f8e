"""Both runners keep the same promises: results, errors, deaths, stops, and no process is left."""

import importlib.util
import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import pytest

from hdsmlm.compute.device import Need
from hdsmlm.compute.failure import classify
from hdsmlm.compute.inventory import this_machine
from hdsmlm.compute.leases import Balancer
from hdsmlm.compute.local_runner import LocalRunner
from hdsmlm.compute.ray_runner import RayRunner
from hdsmlm.compute.task import Runner, Status, Task
from hdsmlm.errors import DeviceLostError

TASKS = """
import os, pathlib, subprocess, sys, time
def add(a, b): return {"sum": a + b, "process": os.getpid()}
def fail(text): raise ValueError(text)
def crowd(): raise RuntimeError("CUDA out of memory. Tried to allocate 3.00 GiB")
def devices():
    from hdsmlm.compute.inventory import this_machine
    from hdsmlm.compute.leases import Balancer
    held = [lease for state in Balancer(this_machine()).states() for lease in state.leases]
    return {"visible": os.environ["CUDA_VISIBLE_DEVICES"],
            "leases": [[lease.process, lease.memory_bytes, lease.title] for lease in held],
            "process": os.getpid()}
def quick(mark):
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(mark).write_text(str(os.getpid()))
    while not pathlib.Path(mark + ".go").exists(): time.sleep(0.01)
    return 7
def stuck(text):
    from hdsmlm.errors import leave_last_words
    leave_last_words(RuntimeError(text))
    os._exit(2)
def nap(mark, child=False):
    if child:
        inner = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        pathlib.Path(mark + ".child").write_text(str(inner.pid))
    path = pathlib.Path(mark)
    path.with_suffix(".part").write_text(str(os.getpid()))
    path.with_suffix(".part").rename(path)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def ray_here():
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    runner = RayRunner(2)
    yield runner
    runner.close()


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.slow)])
def runner(request):
    if request.param == "ray":
        yield request.getfixturevalue("ray_here")
        return
    local = LocalRunner(2, grace_s=5.0)
    yield local
    local.close()


@pytest.fixture
def task(tmp_path):
    (tmp_path / "few_tasks.py").write_text(TASKS)
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    variables = {"PYTHONPATH": paths, "HDSMLM_LEASES": str(tmp_path / "leases")}

    def make(name, function, need=None, **arguments):
        folder = tmp_path / name
        return Task(name, f"few_tasks:{function}", arguments, folder, need, variables)

    return make


def _next(runner):
    outcome = None
    deadline = time.monotonic() + 120
    while outcome is None and time.monotonic() < deadline:
        outcome = runner.wait(1.0)
    assert outcome is not None
    return outcome


def _leases(tmp_path):
    states = Balancer(this_machine(), tmp_path / "leases").states()
    return [lease for state in states for lease in state.leases]


def _process_of(mark: Path) -> int:
    deadline = time.monotonic() + 120
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return int(mark.read_text())


def _is_gone(process: int) -> bool:
    try:
        psutil.Process(process).wait(timeout=20)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def test_results_and_errors_come_back(runner, task):
    assert isinstance(runner, Runner)
    runner.submit(task("one", "add", a=1, b=2))
    runner.submit(task("two", "fail", text="negative density"))
    runner.submit(task("three", "crowd"))
    with pytest.raises(ValueError, match="already"):
        runner.submit(task("three", "crowd"))
    outcomes = {outcome.task: outcome for outcome in (_next(runner) for _ in range(3))}
    assert outcomes["one"].status is Status.done
    assert outcomes["one"].value["sum"] == 3
    assert outcomes["one"].value["process"] != os.getpid()
    assert outcomes["two"].status is Status.failed
    assert outcomes["two"].error == "ValueError: negative density"
    assert outcomes["three"].status is Status.out_of_memory
    assert runner.wait(0.0) is None
    log = (task("two", "fail").folder / "worker.log").read_text()
    assert "Traceback" in log


def test_a_task_holds_its_device_and_gives_it_back(runner, task, tmp_path):
    runner.submit(task("held", "devices", Need(2**20)))
    outcome = _next(runner)
    assert outcome.status is Status.done, outcome.error
    seen = outcome.value
    assert seen["leases"] == [[seen["process"], 2**20, "held"]]
    assert outcome.place.endswith(seen["visible"] or "cpu")
    assert _leases(tmp_path) == []


def test_a_task_that_was_done_before_it_stopped_is_done(runner, task, tmp_path):
    if isinstance(runner, RayRunner):
        pytest.skip("Ray ends a cancelled call at once")
    mark = tmp_path / "mark"
    runner.submit(task("quick", "quick", mark=str(mark)))
    _process_of(mark)
    runner.cancel("quick")
    (tmp_path / "mark.go").touch()
    outcome = _next(runner)
    assert (outcome.status, outcome.value) == (Status.done, 7)


def test_last_words_of_a_worker_say_what_it_was(runner, task):
    runner.submit(task("stuck", "stuck", text="process 2 of 2 ended: CUDA out of memory"))
    outcome = _next(runner)
    assert outcome.status is Status.out_of_memory
    assert outcome.error == "process 2 of 2 ended: CUDA out of memory"
    runner.submit(task("stuck", "stuck", text="process 2 of 2 ended: SIGKILL"))
    assert _next(runner).status is Status.died


def test_a_killed_worker_is_an_outcome_and_its_place_is_free_again(runner, task, tmp_path):
    runner.submit(task("victim", "nap", Need(2**20), mark=str(tmp_path / "mark")))
    os.kill(_process_of(tmp_path / "mark"), signal.SIGKILL)
    outcome = _next(runner)
    assert outcome.status is Status.died
    assert "SIGKILL" in outcome.error
    assert _leases(tmp_path) == []
    runner.submit(task("victim", "add", a=2, b=2))  # the same name again: a retry
    assert _next(runner).value["sum"] == 4


def test_cancelled_tasks_end_and_queued_ones_never_start(runner, task, tmp_path):
    for k in range(3):
        runner.submit(task(f"nap{k}", "nap", mark=str(tmp_path / f"mark{k}")))
    running = [_process_of(tmp_path / f"mark{k}") for k in range(2)]
    for k in (2, 0, 1):
        runner.cancel(f"nap{k}")
    outcomes = [_next(runner) for _ in range(3)]
    assert {outcome.status for outcome in outcomes} == {Status.cancelled}
    assert all(_is_gone(process) for process in running)
    assert not (tmp_path / "mark2").exists()


def test_closing_leaves_no_process(task, tmp_path):
    runner = LocalRunner(1, grace_s=0.5)
    runner.submit(task("nap", "nap", mark=str(tmp_path / "mark")))
    process = _process_of(tmp_path / "mark")
    runner.close()
    assert _is_gone(process)


def test_workers_die_with_a_killed_owner_and_so_do_their_children(task, tmp_path):
    import json
    import subprocess
    import sys

    (tmp_path / "few_tasks.py").write_text(TASKS)
    arguments = {"mark": str(tmp_path / "mark"), "child": True}
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import json, sys, time; from pathlib import Path\n"
            "from hdsmlm.compute.local_runner import LocalRunner\n"
            "from hdsmlm.compute.task import Task\n"
            "runner = LocalRunner(1)\n"
            "arguments = json.loads(sys.argv[2])\n"
            "runner.submit(Task('n', 'few_tasks:nap', arguments, Path(sys.argv[1])))\n"
            "time.sleep(600)",
            str(tmp_path / "n"),
            json.dumps(arguments),
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    process = _process_of(tmp_path / "mark")
    child = _process_of(tmp_path / "mark.child")
    owner.kill()
    owner.wait()
    assert _is_gone(process)
    assert _is_gone(child)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), Status.out_of_memory),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
         Status.out_of_memory),
        (RuntimeError("RESOURCE_EXHAUSTED: allocating 1 byte"), Status.out_of_memory),
        (RuntimeError("CUDA error: unspecified launch failure"), Status.device_lost),
        (ValueError("memory of things past"), Status.failed),
        (BrokenProcessPool("a sampler was killed"), Status.died),
        (ValueError("unable to allocate a title"), Status.failed),
        (RuntimeError("process 2 ended: numpy._ArrayMemoryError: Unable to allocate 3 GiB"),
         Status.out_of_memory),
        (RuntimeError("(sqlite3.OperationalError) database is locked"), Status.died),
        (DeviceLostError("GPU 0 has not answered"), Status.device_lost),
        (InterruptedError("asked to stop"), Status.died),
    ],
)  # fmt: skip
def test_what_errors_mean(error, status):
    assert classify(error) is status
