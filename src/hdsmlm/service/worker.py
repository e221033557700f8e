"""The worker process: takes jobs from the queue and runs each in a process group of its own.

Started and watched by the server (``python -m hdsmlm.service.worker``). It beats every second, ends
its jobs when the server is gone, and on its start puts back what an earlier worker left behind.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
from huey.consumer import Consumer

from hdsmlm.config.base import parse_section
from hdsmlm.config.service import ServiceConfig
from hdsmlm.service import run_job
from hdsmlm.service.folders import FolderLock, Folders
from hdsmlm.service.queueing import LIVE, Lane, open_lane
from hdsmlm.service.store import CANCELLED, FAILED, RUNNING, WAITING, Store

CONFIG_VARIABLE = "HDSMLM_WORKER_CONFIG"
"""Where the worker finds its configuration, as JSON."""
MOST_ATTEMPTS = 5
"""Starts of a job without progress before it is given up."""
BEAT_S = 1.0
GRACE_S = 8.0
"""Time that a job has to finish its files when it is asked to end."""
_POLL_S = 0.1
log = logging.getLogger("hdsmlm.service")


class Worker:
    """Runs the jobs of one data folder.

    Parameters
    ----------
    config : ServiceConfig
        Queue and number of parallel jobs.
    folders : Folders
        The data folder.
    """

    def __init__(self, config: ServiceConfig, folders: Folders) -> None:
        self.folders = folders
        self.config = config
        self.store = Store(folders.store)
        self.stopping = threading.Event()
        self.context: Any = get_context("forkserver" if os.name == "posix" else "spawn")
        self.held: set[str] = set()
        self._holding = threading.Lock()
        if os.name == "posix":
            self.context.set_forkserver_preload(["hdsmlm.service.warm"])
        self.lanes = {name: open_lane(config, folders, name, self.run) for name in ("jobs", LIVE)}
        self.consumers = [
            _Consumer(
                self.lanes[name].huey,
                workers=count,
                periodic=False,
                initial_delay=0.05,
                max_delay=0.5,
                backoff=1.3,
            )
            for name, count in (("jobs", config.parallel_jobs), (LIVE, config.parallel_live))
        ]

    def lane_of(self, kind: str) -> Lane:
        """Return the queue of a kind of job."""
        return self.lanes[LIVE if kind == LIVE else "jobs"]

    def recover(self) -> None:
        """Put back what the worker before was running, and fill the queue from the store."""
        for job in self.store.jobs_in(RUNNING):
            end_group(job.process, job.process_started, grace_s=0)
            if job.cancel:
                self.store.end(job.job_id, CANCELLED)
            else:
                self._put_back_or_fail(job.job_id)
        for lane in self.lanes.values():
            lane.huey.flush()
        for job in self.store.jobs_in(WAITING):
            self.lane_of(job.kind).put(job.job_id)

    def serve(self, server: psutil.Process | None) -> None:
        """Work until told to stop, or until the server is gone."""
        self.recover()
        for consumer in self.consumers:
            consumer.start()
        while not self.stopping.is_set() and (server is None or _lives(server)):
            try:
                self.store.beat(os.getpid())
                self.take_back()
            except sqlite3.Error:  # a full or busy disk: the page sees the missing beat
                log.exception("the records cannot be written")
            self.stopping.wait(BEAT_S)
        self.stopping.set()
        for consumer in self.consumers:
            consumer.stop(graceful=True)

    def run(self, job_id: str) -> None:
        """Run a job to its end, unless it is no longer wanted."""
        if self.stopping.is_set():
            return
        with self._holding:
            if job_id in self.held:  # the queue may name a job twice: it is run once
                return
            self.held.add(job_id)
        try:
            if self.store.claim(job_id):
                self._run_claimed(job_id)
        except Exception:  # a full disk, no more processes: the job is put back at the next beat
            log.exception("job %s: the worker could not run it", job_id)
        finally:
            self.held.discard(job_id)

    def take_back(self) -> None:
        """Put back jobs that are said to run and that nobody here holds."""
        for job in self.store.jobs_in(RUNNING):
            if job.job_id not in self.held:
                end_group(job.process, job.process_started, grace_s=0)
                if self._put_back_or_fail(job.job_id):
                    self.lane_of(job.kind).put(job.job_id)

    def _run_claimed(self, job_id: str) -> None:
        arguments = (str(self.folders.root), self.config.model_dump_json(exclude={"token"}), job_id)
        process = self.context.Process(
            target=run_job.main, args=(*arguments, os.getpid()), name=f"job {job_id}"
        )
        process.start()
        started = _started(process.pid)
        self.store.update_job(job_id, process=process.pid, process_started=started)
        while process.is_alive():
            process.join(_POLL_S)
            job = self.store.job(job_id)
            if self.stopping.is_set() or job is None or job.cancel:
                end_group(process.pid, started, GRACE_S)
                process.join(1)
                break
        self._settle(job_id, process.exitcode)

    def _settle(self, job_id: str, code: int | None) -> None:
        """Write down how a process ended that did not do so itself."""
        job = self.store.job(job_id)
        if job is None or job.has_ended:
            return
        if job.cancel:
            self.store.end(job_id, CANCELLED)
        elif self.stopping.is_set():
            self.store.update_job(job_id, attempts=max(0, job.attempts - 1))
            self.store.put_back(job_id)
        else:
            log.warning("job %s: its process ended with code %s", job_id, code)
            if self._put_back_or_fail(job_id):
                self.lane_of(job.kind).put(job_id)

    def _put_back_or_fail(self, job_id: str) -> bool:
        job = self.store.job(job_id)
        if job is not None and job.attempts >= MOST_ATTEMPTS:
            self.store.end(
                job_id,
                FAILED,
                error=f"the job's process was killed {job.attempts} times without any progress, "
                "probably for want of memory; use a smaller part of the movie, or ask the "
                "person who runs the server to look at its log",
            )
            return False
        return self.store.put_back(job_id)


class _Consumer(Consumer):
    """A consumer that leaves the signals to the worker, which has two of them."""

    def _set_signal_handlers(self) -> None:
        pass


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end_group(process: int | None, started: float | None, grace_s: float) -> None:
    """End a job's process and all it has started: ask first, then kill.

    ``started`` is its start time: numbers of processes are used again.
    """
    if process is None:
        return
    try:
        leader = psutil.Process(process)
        if started is not None and abs(leader.create_time() - started) > 1:
            return
        family = [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return
    if grace_s > 0:
        _signal(leader, signal.SIGINT)
        psutil.wait_procs([leader], timeout=grace_s)
    for member in family:
        try:
            member.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(family, timeout=5)


def _signal(leader: psutil.Process, number: int) -> None:
    try:
        if os.name == "posix":
            os.killpg(leader.pid, number)
        else:
            leader.terminate()
    except (OSError, psutil.Error):
        return  # it has ended, or has not yet a group of its own: it is killed


def _started(process: int) -> float | None:
    try:
        return float(psutil.Process(process).create_time())
    except psutil.Error:
        return None


def _acquire(lock: FolderLock) -> bool:
    for _ in range(100):  # the worker before may need a moment to end its jobs
        if lock.try_acquire():
            return True
        time.sleep(0.1)
    return False


def main(arguments: list[str] | None = None) -> int:
    """Run as a process of its own."""
    parser = argparse.ArgumentParser(prog="hdsmlm.service.worker")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--server", type=int, default=None)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    folders = Folders(given.data)
    lock = FolderLock(folders.root / "worker.lock")
    if not _acquire(lock):
        log.error("another worker is at work in %s", folders.root)
        return 3
    values = json.loads(os.environ.get(CONFIG_VARIABLE, "{}"))
    config = parse_section(ServiceConfig, values, "worker")
    worker = Worker(config, folders)

    def stop(_number: int, _frame: FrameType | None) -> None:
        worker.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        worker.serve(psutil.Process(given.server) if given.server is not None else None)
    finally:
        lock.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
