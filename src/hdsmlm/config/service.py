"""The section of ``hdsmlm serve``: where it listens, where it keeps its data, what it allows."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from hdsmlm.config.base import Section

SQLITE_QUEUE = "sqlite"


class LimitsConfig(Section):
    """What one server takes, so that no client can fill its disk, its memory or its time."""

    upload_bytes: int = Field(200 * 2**30, ge=1)
    """Largest upload."""
    table_bytes: int = Field(4 * 2**30, ge=1)
    """Largest uploaded table."""
    chunk_bytes: int = Field(8 * 2**20, ge=2**10, le=2**26)
    """Piece of an upload that is recommended to clients; up to 64 MiB are taken at a time."""
    json_bytes: int = Field(2**20, ge=2**10)
    """Largest body of any other request."""
    free_bytes: int = Field(2 * 2**30, ge=0)
    """Space of the disk that uploads leave free."""
    frame_pixels: int = Field(2**25, ge=2**10)
    """Most pixels of a frame; checked against the header before a pixel is decoded."""
    movie_frames: int = Field(2_000_000, ge=1)
    """Most frames of a movie."""
    movie_pixels: int = Field(2**40, ge=2**10)
    """Most pixels of a movie, all frames together."""
    table_rows: int = Field(100_000_000, ge=1)
    """Most rows of an uploaded table."""
    movies: int = Field(1000, ge=1)
    """Movies and tables that are kept at a time, each."""
    open_uploads: int = Field(300, ge=1)
    """Uploads that are not complete."""
    waiting_jobs: int = Field(1000, ge=1)
    """Jobs that wait or run at a time."""
    kept_jobs: int = Field(5000, ge=1)
    """Jobs that are remembered; older ones are to be deleted first."""
    picture_pixels: int = Field(2**26, ge=2**10)
    """Most pixels of a rendered picture."""
    requests_per_second: float = Field(200.0, gt=0)
    """Requests that one address may make, on average."""
    requests_burst: int = Field(2000, ge=1)
    """Requests that one address may make at once after a pause."""
    failed_logins_per_minute: int = Field(20, ge=1)
    """Wrong tokens from one address before it has to wait."""
    connections: int = Field(512, ge=8)
    """Connections at a time."""
    streams: int = Field(128, ge=1)
    """Event streams at a time."""
    header_s: float = Field(10.0, gt=0)
    """Time for the header of a request."""
    idle_s: float = Field(30.0, gt=0)
    """Longest silence of a client that sends or receives a body."""
    check_s: float = Field(60.0, gt=0)
    """Time for the check of an uploaded file."""
    check_memory_bytes: int = Field(4 * 2**30, ge=2**28)
    """Memory for the check of an uploaded file."""


class ServiceConfig(Section):
    """One server."""

    host: str = "127.0.0.1"
    """Address it listens at; any but a loopback address requires a token."""
    port: int = Field(8765, ge=0, le=65535)
    """Port; 0 takes a free one."""
    data: Path = Path("~/.hdsmlm/service")
    """Folder of uploads, jobs and results."""
    allow: tuple[Path, ...] = ()
    """Folders from which movies, models and calibrations may be taken by their path."""
    hosts: tuple[str, ...] = ()
    """Further names under which the server is reached; others are refused."""
    token: str | None = Field(None, min_length=16)
    """Secret that every request must bring; null: none is asked for."""
    queue: str = SQLITE_QUEUE
    """Queue of jobs: sqlite (in the data folder) or the address of a Redis server (redis://)."""
    parallel_jobs: int = Field(1, ge=1, le=64)
    """Jobs that run at a time; each takes all cores."""
    parallel_live: int = Field(2, ge=1, le=16)
    """Live jobs that run at a time, beside the others."""
    limits: LimitsConfig = LimitsConfig()
    """What is taken."""

    @field_validator("queue")
    @classmethod
    def _known_queue(cls, queue: str) -> str:
        if queue != SQLITE_QUEUE and not queue.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("'sqlite' or the address of a Redis server, redis://..., was wanted")
        return queue
