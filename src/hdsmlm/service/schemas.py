"""What goes over the wire, as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hdsmlm.service.store import Job, Movie, Table

Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Kind = Literal["localize", "predict", "doctor", "titrate", "evaluate", "live"]
State = Literal["waiting", "running", "done", "failed", "cancelled"]
_EXAMPLE_ID = "6b0e7c2f9d5a4e1c8f3b2a1d0c9e8f7a"


class Message(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    code: str
    """A word for programs."""
    message: str
    """A sentence for people: what was wanted, what came, what to do."""


class Problem(BaseModel):
    """The body of every answer that is an error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"error": {"code": "not_found", "message": "there is no such job"}}]
        }
    )
    error: Message


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, strict=False)


class NewUpload(_In):
    """A file that is going to be uploaded."""

    name: str = Field(min_length=1, max_length=255, examples=["cell.tif"])
    """Name of the file; only its suffix matters, and the content decides."""
    size: int = Field(ge=1, le=2**53, examples=[491520])
    """Bytes."""
    role: Literal["movie", "table"] = "movie"
    """What it is: a movie, or a table of true emitters."""


class UploadOut(BaseModel):
    """The state of an upload."""

    upload_id: str
    offset: int
    size: int
    chunk_bytes: int
    movie_id: str | None = None
    table_id: str | None = None


class NewMovie(_In):
    """A movie on the server's disks."""

    path: str = Field(min_length=1, max_length=4096, examples=["/data/2026-11-23/cell.tif"])
    """File, or folder of TIFF files, inside an allowed folder."""


class MovieOut(BaseModel):
    """A movie."""

    movie_id: str
    name: str
    frames: int
    height: int
    width: int
    pixel_size_nm: float | None
    size_bytes: int
    created: str
    remark: str | None = None
    """What one should know, e.g. that the file ends early: jobs then need allow_truncated."""

    @classmethod
    def of(cls, movie: Movie) -> MovieOut:
        """Return what is shown of a record."""
        return cls.model_validate(movie, from_attributes=True)


class EntryOut(BaseModel):
    """A folder, or a file whose name is that of a movie."""

    name: str
    path: str
    kind: Literal["folder", "movie"]


class FolderOut(BaseModel):
    """What lies in an allowed folder."""

    path: str | None
    parent: str | None
    """The folder above, where that is allowed too."""
    entries: list[EntryOut]


class TableOut(BaseModel):
    """An uploaded table."""

    table_id: str
    name: str
    rows: int
    size_bytes: int
    created: str

    @classmethod
    def of(cls, table: Table) -> TableOut:
        """Return what is shown of a record."""
        return cls.model_validate(table, from_attributes=True)


class NewJob(_In):
    """What is to be done."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "kind": "localize",
                    "movie_id": _EXAMPLE_ID,
                    "model": "wolf",
                    "camera": "auto",
                    "pixel_size_nm": 100.0,
                    "options": {"fit": "joint"},
                }
            ]
        },
    )
    kind: Kind
    movie_id: Identifier | None = None
    """The movie; of an evaluation optional, for its pictures."""
    truth_id: Identifier | None = None
    """Uploaded table of true emitters (evaluate)."""
    path: str | None = Field(None, min_length=1, max_length=4096)
    """Folder or growing TIFF that a live job follows, inside an allowed folder."""
    model: str = Field("wolf", min_length=1, max_length=4096)
    """Name of a shipped model, or a bundle's folder inside an allowed folder."""
    camera: str | dict[str, Any] | None = "auto"
    """auto (estimated from the movie), a preset, the content of a camera.yaml, or doctor:JOB_ID."""
    pixel_size_nm: float | None = Field(None, gt=5, le=1000)
    """Side of a pixel in the sample; null: from the camera or the movie."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the kind of job."""


class ProgressOut(BaseModel):
    """How far a job is."""

    stage: str
    done: int
    total: int
    unit: str
    what: str
    rate: float | None
    left_s: float | None


class JobOut(BaseModel):
    """A job."""

    job_id: str
    kind: Kind
    state: State
    movie_id: str | None
    truth_id: str | None
    path: str | None
    model: str | None
    camera: Any
    pixel_size_nm: float | None
    options: dict[str, Any]
    created: str
    started: str | None
    ended: str | None
    progress: ProgressOut | None
    error: str | None
    summary: dict[str, Any] | None
    rows: int

    @classmethod
    def of(cls, job: Job) -> JobOut:
        """Return what is shown of a record."""
        return cls.model_validate(job, from_attributes=True)


class ResultOut(BaseModel):
    """A file that can be downloaded."""

    name: str
    size_bytes: int
    media_type: str
    what: str


class WorkerOut(BaseModel):
    """The process that runs the jobs."""

    alive: bool
    heartbeat_age_s: float | None


class QueueOut(BaseModel):
    """How busy the server is."""

    waiting: int
    running: int


class HealthOut(BaseModel):
    """Whether the service works."""

    status: Literal["ok", "degraded"]
    version: str
    worker: WorkerOut
    queue: QueueOut


class ModelOut(BaseModel):
    """A model that can be chosen."""

    name: str
    summary: str
    density_range: tuple[float, float]
    pixel_range_nm: tuple[float, float]
    scores: dict[str, Any]
    card: str


class CameraOut(BaseModel):
    """A camera that can be chosen."""

    name: str
    summary: str


class GaugeOut(BaseModel):
    """What a microscope polls."""

    density_per_um2: float | None
    density_last_frames: float | None
    frame: int
    localizations: int
    behind_s: float | None
    state: State
