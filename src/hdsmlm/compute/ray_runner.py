"""Tasks through Ray: on this machine, or on the cluster at an address.

Ray decides on which machine a task runs. There the task starts the same worker process as the
local runner does, which takes its device from the machine's own balancer: Ray's resources are
numbers, they guard no memory. The folder of a task must be on a disk that all machines share, and
this program must be installed on each.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hdsmlm.compute.device import Need
from hdsmlm.compute.process import run_to_end
from hdsmlm.compute.task import Outcome, Status, Task
from hdsmlm.errors import ConfigError, require_extra
from hdsmlm.machine import usable_cores

_START_S = 60


class RayRunner:
    """Runs tasks through Ray.

    Parameters
    ----------
    workers : int
        Tasks at a time.
    address : str or None
        Head of a cluster (``"auto"``, ``"host:port"``, ``"ray://host:10001"``); None starts Ray on
        this machine and ends it with :meth:`close`.

    Raises
    ------
    ConfigError
        When there is no cluster at the address.
    MissingExtraError
        When Ray is not installed.
    """

    def __init__(self, workers: int, address: str | None = None) -> None:
        require_extra("ray", "ray", "for --runner ray")
        if workers < 1:
            raise ConfigError(f"--workers {workers}: at least one is needed")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self.workers = workers
        self._ray = ray
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            self._start(address)
        self._call = ray.remote(_run_in_ray)
        self._queue: deque[Task] = deque()
        self._running: dict[str, Any] = {}
        self._asked: set[str] = set()
        self._cancelled: deque[str] = deque()
        self._has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        self.cores = _share([node["Resources"] for node in ray.nodes() if node["Alive"]], workers)

    def _start(self, address: str | None) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            options |= {"num_cpus": max(self.workers, usable_cores()), "include_dashboard": False}
        try:
            self._ray.init(address=address or "local", **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"Ray cannot be reached at {address or 'this machine'}: {error}; start a cluster "
                "with 'ray start --head', or leave --address out"
            ) from None

    def submit(self, task: Task) -> None:
        """Queue a task."""
        if task.name in self._running or any(task.name == queued.name for queued in self._queue):
            raise ValueError(f"task {task.name} is already submitted")
        self._queue.append(task)
        self._fill()

    def wait(self, timeout_s: float) -> Outcome | None:
        """Return the next outcome, or None when there is none within the time."""
        if self._cancelled:
            return Outcome(self._cancelled.popleft(), Status.cancelled, error="never started")
        if not self._running:
            return None
        ready, _ = self._ray.wait(list(self._running.values()), num_returns=1, timeout=timeout_s)
        if not ready:
            return None
        name = next(name for name, future in self._running.items() if future == ready[0])
        del self._running[name]
        self._fill()
        return self._outcome(name, ready[0])

    def cancel(self, name: str) -> None:
        """Ask a task to stop; a queued one never starts."""
        for task in list(self._queue):
            if task.name == name:
                self._queue.remove(task)
                self._cancelled.append(name)
        if name in self._running:
            self._asked.add(name)
            self._ray.cancel(self._running[name], force=False)

    def close(self) -> None:
        """Stop all tasks; ends Ray where this runner started it."""
        self._queue.clear()
        for name, future in self._running.items():
            self._asked.add(name)
            self._ray.cancel(future, force=False)
        if self._running:
            self._ray.wait(
                list(self._running.values()), num_returns=len(self._running), timeout=_START_S
            )
        self._running.clear()
        if self._owns_ray:
            self._ray.shutdown()

    def _fill(self) -> None:
        while self._queue and len(self._running) < self.workers:
            task = self._queue.popleft()
            gpus = float(task.need.devices) if task.need and task.need.gpu else 0.0
            call = self._call.options(
                num_cpus=task.need.cores if task.need else 1,
                num_gpus=gpus if self._has_gpus else 0.0,
                max_retries=0,  # the owner decides, and writes it down
                name=task.name,
            )
            plain = asdict(task) | {"folder": str(task.folder.resolve())}
            self._running[task.name] = call.remote(plain)

    def _outcome(self, name: str, future: Any) -> Outcome:
        errors = self._ray.exceptions
        try:
            plain = self._ray.get(future)
        except errors.TaskCancelledError:
            return Outcome(name, Status.cancelled, error="stopped on request")
        except errors.RayError as error:
            if name in self._asked:
                return Outcome(name, Status.cancelled, error="stopped on request")
            return Outcome(name, Status.died, error=f"{type(error).__name__}: {error}"[:2000])
        finally:
            asked = name in self._asked
            self._asked.discard(name)
        outcome = Outcome(**{**plain, "status": Status(plain["status"])})
        if asked and outcome.status is Status.died:
            return Outcome(name, Status.cancelled, error="stopped on request")
        return outcome


def _share(nodes: list[dict[str, float]], workers: int) -> int:
    """Return the cores of one of so many tasks: an even share that fits on every machine."""
    cores = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    return max(1, min(min(cores), sum(cores) // workers)) if cores else 1


def _run_in_ray(plain: dict[str, Any]) -> dict[str, Any]:
    """Run a task on the machine that Ray chose."""
    need = plain.pop("need")
    task = Task(
        **{
            **plain,
            "folder": Path(plain["folder"]),
            "need": Need(**need) if need else None,
        }
    )
    return asdict(run_to_end(task))
