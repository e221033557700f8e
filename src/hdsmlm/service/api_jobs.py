"""Jobs: start, watch, cancel, delete; what they have found so far."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from hdsmlm.service.asked import checked_job
from hdsmlm.service.occupancy import OccupancyFile
from hdsmlm.service.problems import Refusal
from hdsmlm.service.rows import RowFile, rows_answer
from hdsmlm.service.run_job import ROWS_FILE
from hdsmlm.service.schemas import JobOut, NewJob
from hdsmlm.service.state import Service
from hdsmlm.service.store import RUNNING, WAITING, Job

router = APIRouter()
_LOOK_EVERY_S = 0.2
_COMMENT_EVERY_S = 15.0
_BYTES = {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
}
_EVENTS = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@router.post("/jobs", status_code=202, tags=["jobs"])
def start_job(new: NewJob, request: Request) -> JobOut:
    """Start a job; it waits for its turn."""
    service = _service(request)
    limits = service.config.limits
    if service.store.count_jobs(WAITING, RUNNING) >= limits.waiting_jobs:
        raise Refusal(503, "as many jobs wait as may; start this one when some are done")
    if service.store.count(Job) >= limits.kept_jobs:
        raise Refusal(409, "the list of jobs is full; delete some that have ended")
    job = checked_job(service, new)
    service.store.add(job)
    service.enqueue(job)
    return JobOut.of(service.job(job.job_id))


@router.get("/jobs", tags=["jobs"])
def list_jobs(request: Request) -> list[JobOut]:
    """List the jobs, the newest first."""
    return [JobOut.of(job) for job in _service(request).store.all(Job)]


@router.get("/jobs/{job_id}", tags=["jobs"])
def show_job(job_id: str, request: Request) -> JobOut:
    """Show a job."""
    return JobOut.of(_service(request).job(job_id))


@router.post("/jobs/{job_id}/cancel", tags=["jobs"])
def cancel_job(job_id: str, request: Request) -> JobOut:
    """Cancel a job that waits or runs; one that has ended stays as it is."""
    service = _service(request)
    service.job(job_id)
    service.store.request_cancel(job_id)
    return JobOut.of(service.job(job_id))


@router.delete("/jobs/{job_id}", status_code=204, tags=["jobs"])
def delete_job(job_id: str, request: Request) -> None:
    """Delete a job that has ended, with its results."""
    service = _service(request)
    job = service.job(job_id)
    if not job.has_ended:
        raise Refusal(409, "this job has not ended; cancel it first")
    service.store.delete(Job, job_id)
    shutil.rmtree(service.folders.job(job_id), ignore_errors=True)


@router.get(
    "/jobs/{job_id}/events", tags=["jobs"], response_class=Response, responses={200: _EVENTS}
)
async def watch_job(
    job_id: str,
    request: Request,
    last_event_id: Annotated[int | None, Header(ge=0, le=2**53)] = None,
) -> StreamingResponse:
    """Follow a job: server-sent events state, progress, rows, and end."""
    service = _service(request)
    job = service.job(job_id)
    if service.streams >= service.config.limits.streams:
        raise Refusal(503, "too many pages follow jobs on this server; close some")
    return StreamingResponse(
        _events(service, job, last_event_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(service: Service, job: Job, last_id: int | None) -> AsyncIterator[str]:
    """Yield what changed since the event ``last_id``, then every change until the end.

    Each event tells the present state whole, so that none needs to be kept to be told again.
    """
    service.streams += 1
    known: Job | None = job if last_id is not None and last_id >= job.revision else None
    current: Job | None = job
    quiet_s = 0.0
    try:
        while True:
            if current is None:
                yield "event: end\ndata: {}\n\n"
                return
            if known is None or current.revision > known.revision:
                for event in _changes(known, current):
                    yield event
                known, quiet_s = current, 0.0
            if current.has_ended:
                yield f"id: {current.revision}\nevent: end\ndata: {{}}\n\n"
                return
            await asyncio.sleep(_LOOK_EVERY_S)
            quiet_s += _LOOK_EVERY_S
            if quiet_s >= _COMMENT_EVERY_S:
                yield ": still here\n\n"
                quiet_s = 0.0
            current = await run_in_threadpool(service.store.job, job.job_id)
    finally:
        service.streams -= 1


def _changes(known: Job | None, job: Job) -> list[str]:
    events = []
    if known is None or (known.state, known.cancel) != (job.state, job.cancel):
        events.append(_event("state", JobOut.of(job).model_dump(mode="json"), job.revision))
    if job.progress is not None and (known is None or known.progress != job.progress):
        events.append(_event("progress", job.progress, job.revision))
    if job.rows and (known is None or known.rows != job.rows):
        events.append(_event("rows", {"rows": job.rows}, job.revision))
    return events


def _event(name: str, data: Any, number: int) -> str:
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n"


@router.get("/jobs/{job_id}/rows", tags=["jobs"], response_class=Response, responses={200: _BYTES})
def show_rows(
    job_id: str,
    request: Request,
    start: Annotated[int, Query(ge=0, le=2**53, description="First row.")] = 0,
) -> Response:
    """Return localizations so far: float32, little-endian, row by row; up to a million a time."""
    service = _service(request)
    service.job(job_id)
    return rows_answer(RowFile(service.folders.job(job_id) / ROWS_FILE), start)


@router.get(
    "/jobs/{job_id}/occupancy/{frame}",
    tags=["jobs"],
    response_class=Response,
    responses={200: _BYTES},
)
def show_occupancy(job_id: str, frame: int, request: Request) -> Response:
    """Return 255 · P(pixel holds at least one emitter) of a frame: uint8, row by row."""
    service = _service(request)
    service.job(job_id)
    data = None
    if 0 <= frame < 2**40:
        data = OccupancyFile(service.folders.job(job_id)).get(frame)
    if data is None:
        raise Refusal(404, "the probabilities of this frame are not there (yet)")
    return Response(data, media_type="application/octet-stream", headers={"X-Frame": str(frame)})
