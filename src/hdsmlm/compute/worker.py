"""The process in which one task runs: ``python -m hdsmlm.compute.worker FOLDER``.

FOLDER holds ``request.json``; the worker writes ``outcome.json``. Its standard input is a pipe
that its owner keeps open: when the pipe ends, the owner is gone (killed, too), and the worker ends
itself and all its children, so that no orphan goes on writing.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import threading
import traceback
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hdsmlm.compute.device import Need, Placement
from hdsmlm.compute.failure import classify
from hdsmlm.compute.task import Outcome, Status, Task
from hdsmlm.io.writing import atomic_path

REQUEST = "request.json"
OUTCOME = "outcome.json"
LOG = "worker.log"
LAST_WORDS = "last_words.txt"


def write_request(task: Task) -> None:
    """Write what a worker must know, and remove the outcome of an earlier attempt."""
    task.folder.mkdir(parents=True, exist_ok=True)
    for name in (OUTCOME, LAST_WORDS):
        (task.folder / name).unlink(missing_ok=True)
    request = {
        "name": task.name,
        "function": task.function,
        "arguments": dict(task.arguments),
        "need": asdict(task.need) if task.need else None,
    }
    with atomic_path(task.folder / REQUEST) as temporary:
        temporary.write_text(json.dumps(request), encoding="utf-8")


def read_outcome(folder: Path) -> Outcome | None:
    """Return what a worker wrote, or None when it did not come to that."""
    path = folder / OUTCOME
    if not path.is_file():
        return None
    plain = json.loads(path.read_text(encoding="utf-8"))
    return Outcome(**{**plain, "status": Status(plain["status"])})


def run(folder: Path) -> Outcome:
    """Run the request in ``folder``; every exception becomes an outcome."""
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    name = request["name"]
    place = platform.node()
    try:
        with _lease(request) as placement:
            if placement is not None:
                place = f"{place} {','.join(placement.devices)}"
            value = _function(request["function"])(**request["arguments"])
            return Outcome(name, Status.done, value, place=place)
    except Exception as error:
        traceback.print_exc()
        text = traceback.format_exception_only(error)[-1].strip()
        return Outcome(name, classify(error), error=text[-2000:], place=place)


def _lease(request: dict[str, Any]) -> Any:
    """Hold the devices and keep this process on them; before any library looks for a GPU."""
    if request["need"] is None:
        return nullcontext()
    from hdsmlm.compute.inventory import this_machine
    from hdsmlm.compute.leases import Balancer

    need = Need(**request["need"])
    return _OnDevices(Balancer(this_machine()), need, request["name"])


class _OnDevices:
    """Holds devices for a block, and lets them rest where they failed it."""

    def __init__(self, balancer: Any, need: Need, title: str) -> None:
        self._balancer = balancer
        self._held = balancer.lease(need, title, say=_log)
        self._need = need

    def __enter__(self) -> Placement:
        self._placement: Placement = self._held.__enter__()
        os.environ.update(self._placement.environment(self._need))
        return self._placement

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self._balancer.worked(self._placement)
        elif classify(error) is Status.device_lost:
            self._balancer.failed(self._placement)
        self._held.__exit__(kind, error, trace)


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")  # into the log of the task
    sys.stderr.flush()


def _function(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def _end_with_owner() -> None:
    def watch() -> None:
        while os.read(0, 1):
            pass
        end_family(os.getpid())

    threading.Thread(target=watch, name="owner", daemon=True).start()


def end_family(process: int) -> None:
    """Kill a process and everything it started."""
    import psutil

    try:
        parent = psutil.Process(process)
        family = [*parent.children(recursive=True), parent]
    except psutil.Error:
        return
    for member in family:
        try:
            member.kill()
        except psutil.Error:
            continue
    psutil.wait_procs([one for one in family if one.pid != os.getpid()], timeout=5)


def main() -> None:
    """Run the task of the folder that is named on the command line."""
    folder = Path(sys.argv[1])
    _end_with_owner()
    outcome = run(folder)
    with atomic_path(folder / OUTCOME) as temporary:
        temporary.write_text(json.dumps(asdict(outcome)), encoding="utf-8")


if __name__ == "__main__":
    main()
