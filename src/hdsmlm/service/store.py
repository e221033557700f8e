"""Records of uploads, movies, tables and jobs in one SQLite file, shared by all processes."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)
_BUSY_S = 30.0
_JSON = ("camera", "options", "progress", "summary")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    upload_id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, size INTEGER NOT NULL,
    movie_id TEXT, table_id TEXT, created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS movies (
    movie_id TEXT PRIMARY KEY, name TEXT NOT NULL, path TEXT NOT NULL, owned INTEGER NOT NULL,
    frames INTEGER NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL, dtype TEXT NOT NULL,
    pixel_size_nm REAL, size_bytes INTEGER NOT NULL, created TEXT NOT NULL, remark TEXT);
CREATE TABLE IF NOT EXISTS tables (
    table_id TEXT PRIMARY KEY, name TEXT NOT NULL, path TEXT NOT NULL, rows INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL, created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT UNIQUE NOT NULL, kind TEXT NOT NULL,
    state TEXT NOT NULL, movie_id TEXT, truth_id TEXT, path TEXT, model TEXT, camera TEXT,
    pixel_size_nm REAL, options TEXT NOT NULL, created TEXT NOT NULL, started TEXT, ended TEXT,
    progress TEXT, error TEXT, summary TEXT, rows INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0, cancel INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, process INTEGER, process_started REAL);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number);
CREATE TABLE IF NOT EXISTS worker (
    one INTEGER PRIMARY KEY CHECK (one = 1), process INTEGER NOT NULL, beat REAL NOT NULL);
"""


def new_identifier() -> str:
    """Return a fresh identifier."""
    return uuid.uuid4().hex


def now_text() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Upload:
    """A file that is being uploaded; how much of it is there, its file says."""

    upload_id: str
    name: str
    role: str
    size: int
    movie_id: str | None = None
    table_id: str | None = None
    created: str = field(default_factory=now_text)


@dataclass(frozen=True)
class Movie:
    """A movie that opened; ``owned`` ones were uploaded and are deleted with their record."""

    movie_id: str
    name: str
    path: str
    owned: int
    frames: int
    height: int
    width: int
    dtype: str
    pixel_size_nm: float | None
    size_bytes: int
    created: str = field(default_factory=now_text)
    remark: str | None = None


@dataclass(frozen=True)
class Table:
    """An uploaded table of emitters that opened."""

    table_id: str
    name: str
    path: str
    rows: int
    size_bytes: int
    created: str = field(default_factory=now_text)


@dataclass(frozen=True)
class Job:
    """A job; ``revision`` grows with every change."""

    job_id: str
    kind: str
    state: str = WAITING
    movie_id: str | None = None
    truth_id: str | None = None
    path: str | None = None
    model: str | None = None
    camera: Any = None
    pixel_size_nm: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    created: str = field(default_factory=now_text)
    started: str | None = None
    ended: str | None = None
    progress: dict[str, Any] | None = None
    error: str | None = None
    summary: dict[str, Any] | None = None
    rows: int = 0
    revision: int = 0
    cancel: int = 0
    attempts: int = 0
    process: int | None = None
    process_started: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ENDED


Record = Upload | Movie | Table | Job
_KEYS: dict[type[Record], tuple[str, str]] = {
    Upload: ("uploads", "upload_id"),
    Movie: ("movies", "movie_id"),
    Table: ("tables", "table_id"),
    Job: ("jobs", "job_id"),
}


class Store:
    """The records; every thread has its own connection, every change is one transaction.

    Parameters
    ----------
    path : Path
        The SQLite file; is created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connection().executescript(_SCHEMA)
        self._bring_up_to_date()

    def _bring_up_to_date(self) -> None:
        """Add the columns that records of an earlier version lack."""
        with self._transaction() as connection:
            there = {row["name"] for row in connection.execute("PRAGMA table_info(movies)")}
            if "remark" not in there:
                connection.execute("ALTER TABLE movies ADD COLUMN remark TEXT")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            self._local.connection = connection
        return connection

    def close(self) -> None:
        """Close the connection of this thread."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def add(self, record: Record) -> None:
        """Add a record."""
        table, _ = _KEYS[type(record)]
        values = {one.name: getattr(record, one.name) for one in fields(record)}
        values = {name: _packed(name, value) for name, value in values.items()}
        marks = ", ".join(f":{name}" for name in values)
        self._connection().execute(
            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", values
        )

    def get(self, cls: type[Any], identifier: str) -> Any:
        """Return the record of an identifier, or None."""
        table, key = _KEYS[cls]
        row = (
            self._connection()
            .execute(f"SELECT * FROM {table} WHERE {key} = ?", (identifier,))
            .fetchone()
        )
        return None if row is None else _record(cls, row)

    def upload(self, identifier: str) -> Upload | None:
        """Return an upload."""
        found: Upload | None = self.get(Upload, identifier)
        return found

    def movie(self, identifier: str) -> Movie | None:
        """Return a movie."""
        found: Movie | None = self.get(Movie, identifier)
        return found

    def table(self, identifier: str) -> Table | None:
        """Return a table."""
        found: Table | None = self.get(Table, identifier)
        return found

    def job(self, identifier: str) -> Job | None:
        """Return a job."""
        found: Job | None = self.get(Job, identifier)
        return found

    def all(self, cls: type[Any]) -> list[Any]:
        """Return all records of a kind, the newest first."""
        table, _ = _KEYS[cls]
        order = "number" if cls is Job else "rowid"
        rows = self._connection().execute(f"SELECT * FROM {table} ORDER BY {order} DESC")
        return [_record(cls, row) for row in rows]

    def count(self, cls: type[Any]) -> int:
        """Return how many records of a kind there are."""
        table, _ = _KEYS[cls]
        return int(self._connection().execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def delete(self, cls: type[Any], identifier: str) -> None:
        """Delete a record."""
        table, key = _KEYS[cls]
        self._connection().execute(f"DELETE FROM {table} WHERE {key} = ?", (identifier,))

    def complete_upload(self, upload_id: str, made: Movie | Table) -> None:
        """Add what an upload became, and note it with the upload, at once."""
        key = "movie_id" if isinstance(made, Movie) else "table_id"
        with self._transaction() as connection:
            self.add(made)
            connection.execute(
                f"UPDATE uploads SET {key} = ? WHERE upload_id = ?", (getattr(made, key), upload_id)
            )

    def open_uploads(self) -> int:
        """Return how many uploads are not complete."""
        query = "SELECT count(*) FROM uploads WHERE movie_id IS NULL AND table_id IS NULL"
        return int(self._connection().execute(query).fetchone()[0])

    def jobs_in(self, *states: str) -> list[Job]:
        """Return the jobs in some states, the oldest first."""
        marks = ", ".join("?" * len(states))
        rows = self._connection().execute(
            f"SELECT * FROM jobs WHERE state IN ({marks}) ORDER BY number", states
        )
        return [_record(Job, row) for row in rows]

    def count_jobs(self, *states: str) -> int:
        """Return how many jobs are in some states."""
        marks = ", ".join("?" * len(states))
        query = f"SELECT count(*) FROM jobs WHERE state IN ({marks})"
        return int(self._connection().execute(query, states).fetchone()[0])

    def update_job(self, job_id: str, **values: Any) -> None:
        """Change columns of a job; its revision grows."""
        self._change(job_id, "1", values)

    def claim(self, job_id: str) -> bool:
        """Turn a waiting job into a running one; False when it is no longer waiting."""
        values = {"state": RUNNING, "started": now_text(), "ended": None, "error": None}
        return self._change(job_id, f"state = '{WAITING}' AND cancel = 0", values, attempt=True)

    def end(self, job_id: str, state: str, **values: Any) -> bool:
        """End a job; False when it has ended before."""
        values |= {"state": state, "ended": now_text(), "process": None}
        return self._change(job_id, f"state NOT IN {ENDED}", values)

    def put_back(self, job_id: str) -> bool:
        """Let a running job wait again, as after the death of its worker.

        One that is to be cancelled ends instead; False then.
        """
        values = {"state": WAITING, "process": None, "progress": None}
        if self._change(job_id, f"state = '{RUNNING}' AND cancel = 0", values):
            return True
        ended = {"state": CANCELLED, "ended": now_text()}
        self._change(job_id, f"state = '{RUNNING}' AND cancel = 1", ended)
        return False

    def request_cancel(self, job_id: str) -> None:
        """End a waiting job at once; ask for the end of a running one."""
        self._change(
            job_id,
            f"state = '{WAITING}'",
            {"state": CANCELLED, "cancel": 1, "ended": now_text()},
        )
        self._change(job_id, f"state = '{RUNNING}'", {"cancel": 1})

    def _change(
        self, job_id: str, condition: str, values: dict[str, Any], *, attempt: bool = False
    ) -> bool:
        packed = {name: _packed(name, value) for name, value in values.items()}
        assignments = [f"{name} = :{name}" for name in packed] + ["revision = revision + 1"]
        if attempt:
            assignments.append("attempts = attempts + 1")
        cursor = self._connection().execute(
            f"UPDATE jobs SET {', '.join(assignments)} WHERE job_id = :the_job AND {condition}",
            {**packed, "the_job": job_id},
        )
        return cursor.rowcount == 1

    def beat(self, process: int) -> None:
        """Note that the worker lives."""
        self._connection().execute(
            "INSERT INTO worker VALUES (1, ?, ?) "
            "ON CONFLICT (one) DO UPDATE SET process = excluded.process, beat = excluded.beat",
            (process, time.time()),
        )

    def heartbeat(self) -> tuple[int, float] | None:
        """Return the worker's process and the age of its last beat in seconds."""
        row = self._connection().execute("SELECT process, beat FROM worker").fetchone()
        return None if row is None else (int(row[0]), max(0.0, time.time() - float(row[1])))


def _packed(name: str, value: Any) -> Any:
    return json.dumps(value) if name in _JSON and value is not None else value


def _record(cls: type[Any], row: sqlite3.Row) -> Any:
    values = {one.name: row[one.name] for one in fields(cls)}
    for name in _JSON:
        if values.get(name) is not None:
            values[name] = json.loads(values[name])
    return cls(**values)
