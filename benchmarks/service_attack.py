"""Attack a server of our own: fuzzing, damaged files, slow clients, many jobs, kill -9.

    python benchmarks/service_attack.py --schemathesis /path/to/schemathesis

Prints one line of figures per attack; ends with code 1 when anything was lost or let in. The
program ``schemathesis`` (pip install schemathesis, in an environment of its own) is optional.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import tifffile

from hdsmlm.service.client import Client, ServerError
from hdsmlm.service.store import Store

CAMERA = {
    "camera": {"kind": "ideal"},
    "psf": {"kind": "gaussian", "sigma_px": 1.3},
    "pixel_size_nm": 100.0,
}
HEADER_S, IDLE_S = 3.0, 5.0
failures: list[str] = []


class Target:
    """A server that can be killed and started again at the same port."""

    def __init__(self, data: Path, parallel_jobs: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.data, self.parallel_jobs = data, parallel_jobs
        self.client = Client(f"http://127.0.0.1:{self.port}", timeout_s=60)
        self.start()

    def start(self) -> None:
        """Start it; return when it answers and its worker beats."""
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "hdsmlm", "serve", "--port", str(self.port),
                "--data", str(self.data), "--parallel-jobs", str(self.parallel_jobs),
                "--set", f"limits.header_s={HEADER_S}", "--set", f"limits.idle_s={IDLE_S}",
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.wait_for(self.is_up, 60)

    def is_up(self) -> bool:
        """Tell whether server and worker are well."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return bool(self.client.health()["worker"]["alive"])
        except OSError:
            return False

    @staticmethod
    def wait_for(condition: Callable[[], bool], limit_s: float) -> float:
        """Wait until something holds; return how long that took, in seconds."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > limit_s:
                failures.append("something did not happen in time")
                break
            time.sleep(0.1)
        return time.monotonic() - began

    def worker(self) -> int:
        """Return the process of the worker."""
        store = Store(self.data / "service.db")
        beat = store.heartbeat()
        store.close()
        return beat[0] if beat is not None else 0

    def status(self, method: str, path: str) -> int:
        """Return how a request is answered."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()


def say(what: str, figures: str) -> None:
    print(f"{what:<18} {figures}", flush=True)


def require(condition: bool, what: str) -> None:
    if not condition:
        failures.append(what)


def traversal(target: Target) -> None:
    ups = (
        "../",
        "..%2f",
        "%2e%2e/",
        "%2e%2e%2f",
        "..%252f",
        "....//",
        "..\\",
        "..%5c",
        "%c0%ae%c0%ae/",
    )
    places = ("/web/", "/api/v1/jobs/", "/api/v1/movies/", "/api/v1/uploads/", "/")
    job = "0" * 32
    paths = [
        place + up * depth + quote(name)
        for place in (*places, f"/api/v1/jobs/{job}/results/")
        for up in ups
        for depth in (1, 4, 8)
        for name in ("etc/passwd", "service.db", "app.py")
    ]
    found = Counter(target.status("GET", path) for path in paths)
    require(not {200, 500} & set(found), "traversal: a path got through")
    say("traversal", f"{len(paths)} paths: answers {dict(found)}")


def damaged_files(target: Target, good: bytes, count: int) -> None:
    draw = random.Random(7)
    found: Counter[str] = Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "movie.tif"
        for number in range(count):
            data = bytearray(good)
            if number % 4 == 0:
                data = data[: draw.randrange(1, len(data))]
            for _ in range(draw.choice((1, 4, 32))):
                data[draw.randrange(min(len(data), 4096 if number % 2 else len(data)))] = (
                    draw.randrange(256)
                )
            path.write_bytes(bytes(data))
            try:
                movie = target.client.upload(path)["movie_id"]
                target.client.frame(movie, 0)
                target.client.delete("movies", movie)
                found["opens"] += 1
            except ServerError as error:
                found[str(error.status)] += 1
    require("500" not in found, "damaged files: the server failed")
    seconds = time.monotonic() - began
    say("damaged TIFF", f"{count} files in {seconds:.0f} s: {dict(found)}")


def slow_clients(target: Target, count: int) -> None:
    new = target.client._json("POST", "/uploads", {"name": "a.tif", "size": 10**6})
    body = (
        f"PATCH /api/v1/uploads/{new['upload_id']} HTTP/1.1\r\nHost: localhost\r\n"
        "Upload-Offset: 0\r\nContent-Length: 1000000\r\n\r\n"
    ).encode()
    header = b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    opened = [socket.create_connection(("127.0.0.1", target.port)) for _ in range(count)]
    began = time.monotonic()
    open_now = list(opened)
    for number, connection in enumerate(opened):
        connection.sendall(body if number % 2 else header)
        connection.setblocking(False)
    latencies: list[float] = []
    while open_now and time.monotonic() - began < 60:
        asked = time.monotonic()
        target.client.health()
        latencies.append(time.monotonic() - asked)
        still = []
        for connection in open_now:
            try:
                connection.send(b"a")
                if connection.recv(100) == b"":
                    continue
                continue
            except BlockingIOError:
                still.append(connection)
            except OSError:
                continue
        open_now = still
        time.sleep(0.3)
    seconds = time.monotonic() - began
    for connection in opened:
        connection.close()
    require(not open_now, "slow clients: some were kept")
    say(
        "slow clients",
        f"{count} at once, all dropped after {seconds:.1f} s; the answer to another client took "
        f"{1000 * float(np.median(latencies)):.0f} ms, at most {1000 * max(latencies):.0f}",
    )
    target.client.delete("uploads", new["upload_id"])


def many_jobs(target: Target, movie: Path, count: int) -> None:
    """Start many jobs at once; kill the worker, then the server, on the way."""
    asked = {"camera": CAMERA, "options": {"fit": "frame"}}
    first = target.client.upload(movie)["movie_id"]
    reference = target.client.follow(target.client.start("localize", first, **asked)["job_id"])
    rows = target.client.rows(reference["job_id"])

    def start(_number: int) -> str:
        client = Client(f"http://127.0.0.1:{target.port}", timeout_s=120)
        movie_id = client.upload(movie)["movie_id"]
        return str(client.start("localize", movie_id, **asked)["job_id"])

    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        jobs = list(pool.map(start, range(count)))
    accepted_s = time.monotonic() - began

    def done() -> int:
        return sum(job["state"] == "done" for job in target.client.jobs()) - 1

    Target.wait_for(lambda: done() >= count // 4, 1800)
    os.kill(target.worker(), signal.SIGKILL)
    Target.wait_for(lambda: done() >= count // 2, 1800)
    target.process.send_signal(signal.SIGKILL)
    target.process.wait()
    target.start()
    Target.wait_for(lambda: target.client.health()["queue"] == {"waiting": 0, "running": 0}, 3600)
    states = Counter(target.client.job(job)["state"] for job in jobs)
    same = sum(np.array_equal(target.client.rows(job), rows, equal_nan=True) for job in jobs)
    require(states == {"done": count} and same == count, "many jobs: something was lost")
    say(
        "many jobs",
        f"{count} uploads and jobs at once, taken in {accepted_s:.1f} s, ended in "
        f"{time.monotonic() - began:.0f} s with kill -9 of worker and server on the way: "
        f"{dict(states)}, {same} with the rows of an undisturbed job",
    )


def too_much(target: Target) -> None:
    statuses = Counter[int]()

    def ask(_number: int) -> None:
        statuses[target.status("GET", "/api/v1/health")] += 1

    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(4000)))
    seconds = time.monotonic() - began
    require(set(statuses) <= {200, 429}, "request flood: other answers than 200 and 429")
    say("request flood", f"4000 requests in {seconds:.1f} s: {dict(statuses)}")


def fuzz(target: Target, program: str, examples: int) -> None:
    time.sleep(12)  # the flood before has emptied the bucket
    result = subprocess.run(
        [
            program, "run", f"http://127.0.0.1:{target.port}/openapi.json", "--max-examples",
            str(examples), "--exclude-checks", "positive_data_acceptance",  # limits and references
            "--exclude-path-regex", "/events", "--seed", "7", "--continue-on-failure",
            "--warnings", "off", "--no-color",
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    tail = result.stdout[result.stdout.rfind("SUMMARY") :]
    cases = re.findall(r"(\d[\d,]*) (?:generated|test cases?)", tail)
    require(result.returncode == 0, f"schemathesis:\n{result.stdout[-6000:]}")
    say(
        "schemathesis",
        f"code {result.returncode}; test cases {cases}; {' '.join(tail.split())[:300]}",
    )
    require(target.is_up(), "schemathesis: the server is down")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemathesis", default=shutil.which("schemathesis"))
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--parallel-jobs", type=int, default=2)
    given: Any = parser.parse_args()
    from hdsmlm.config.simulation import SimulationConfig
    from hdsmlm.simulation.scene import SceneSampler

    with tempfile.TemporaryDirectory() as place:
        movie = Path(place) / "small.tif"
        ranges = SimulationConfig(density_per_um2=(0.5, 0.5), pixel_size_nm=(100.0, 100.0))
        frames = SceneSampler(ranges, (12, 24, 24)).draw(3, 0).frames
        tifffile.imwrite(movie, frames, photometric="minisblack")
        target = Target(Path(place) / "data", given.parallel_jobs)
        try:
            traversal(target)
            damaged_files(target, movie.read_bytes(), given.files)
            slow_clients(target, 200)
            many_jobs(target, movie, given.jobs)
            too_much(target)
            if given.schemathesis:
                fuzz(target, given.schemathesis, given.examples)
            require(threading.active_count() < 50, "threads of the attack are left")
        finally:
            target.process.terminate()
            target.process.wait(30)
    for failure in failures:
        print("FAILED:", failure)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
