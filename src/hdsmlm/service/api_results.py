"""What jobs leave behind: files, tables in every format, pictures, titrations, the gauge."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from hdsmlm.errors import HdsmlmError
from hdsmlm.service.exports import FORMATS, PictureRequest, export_table, render_picture
from hdsmlm.service.isolated import isolated
from hdsmlm.service.kinds import GAUGE
from hdsmlm.service.problems import Refusal
from hdsmlm.service.results import result_files, table_file
from hdsmlm.service.rows import COLUMNS, RowFile
from hdsmlm.service.run_job import ROWS_FILE
from hdsmlm.service.schemas import GaugeOut, ResultOut
from hdsmlm.service.state import Service
from hdsmlm.service.store import Job, Movie
from hdsmlm.units import density_per_um2

router = APIRouter(tags=["results"])
_LAST_FRAMES = 32
_LAST_ROWS = 2**18
_FILE: dict[str, Any] = {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@router.get("/jobs/{job_id}/results")
def list_results(job_id: str, request: Request) -> list[ResultOut]:
    """List the files of a job."""
    service = _service(request)
    job = service.job(job_id)
    return [
        ResultOut(
            name=name, size_bytes=path.stat().st_size, media_type=known.media_type, what=known.what
        )
        for name, (path, known) in result_files(job.kind, service.folders.job(job_id)).items()
    ]


@router.get("/jobs/{job_id}/results/{name}", response_class=FileResponse, responses={200: _FILE})
def show_result(job_id: str, name: str, request: Request) -> FileResponse:
    """Download a file of a job."""
    service = _service(request)
    job = service.job(job_id)
    found = result_files(job.kind, service.folders.job(job_id)).get(name)
    if found is None:
        raise Refusal(404, "this job has no file of that name (yet)")
    path, known = found
    return _download(path, name, known.media_type)


@router.get("/jobs/{job_id}/table", response_class=FileResponse, responses={200: _FILE})
async def show_table(
    job_id: str,
    request: Request,
    format: Annotated[
        Literal["csv", "hdf5", "parquet", "thunderstorm"], Query(description="Kind of table.")
    ] = "csv",
) -> FileResponse:
    """Download the table of a job in a format."""
    service = _service(request)
    job, source = _table(service, job_id)
    movie = _movie(service, job)
    pixel_nm = _pixel_nm(job, movie)
    folder = service.folders.job(job_id) / "exports"
    async with service.pictures:
        path = await _made(service, export_table, source, folder, format, pixel_nm)
    suffix, media_type = FORMATS[format]
    stem = _stem(job, movie) or "table"
    return _download(path, f"{stem}{suffix}", media_type)


@router.get("/jobs/{job_id}/image", response_class=FileResponse, responses={200: _FILE})
async def show_picture(
    job_id: str,
    request: Request,
    format: Annotated[Literal["png", "tif"], Query()] = "png",
    color: Annotated[Literal["none", "time", "z", "uncertainty"], Query()] = "none",
    pixel_nm: Annotated[float, Query(ge=1, le=1000, description="Pixel of the picture.")] = 10.0,
    filter: Annotated[
        str, Query(max_length=500, description="Condition, e.g. photons > 300 and flags == 0.")
    ] = "",
) -> FileResponse:
    """Render the localizations of a job: a picture, or 32-bit floats with the pixel size."""
    service = _service(request)
    job, source = _table(service, job_id)
    movie = _movie(service, job)
    camera_nm = _pixel_nm(job, movie)
    region = None
    if movie is not None and camera_nm is not None:
        region = (0.0, movie.width * camera_nm, 0.0, movie.height * camera_nm)
    asked = PictureRequest(format, color, pixel_nm, filter.strip(), region)
    folder = service.folders.job(job_id) / "pictures"
    most = service.config.limits.picture_pixels
    async with service.pictures:
        path = await _made(service, render_picture, source, folder, asked, most)
    media_type = "image/png" if format == "png" else "image/tiff"
    stem = _stem(job, movie) or "picture"
    return _download(path, f"{stem}.{format}", media_type, inline=format == "png")


@router.get("/jobs/{job_id}/titration")
def show_titration(job_id: str, request: Request) -> dict[str, Any]:
    """Return the record of a titration."""
    service = _service(request)
    job = service.job(job_id)
    found = result_files(job.kind, service.folders.job(job_id)).get("titration.json")
    if found is None:
        raise Refusal(404, "this job has no titration (yet)")
    record: dict[str, Any] = json.loads(found[0].read_text(encoding="utf-8"))
    record.pop("provenance", None)  # it names the server's folders
    return record


@router.get("/jobs/{job_id}/gauge")
def show_gauge(job_id: str, request: Request) -> GaugeOut:
    """Return the density now, for a microscope to poll."""
    service = _service(request)
    job = service.job(job_id)
    path = service.folders.job(job_id) / GAUGE
    if path.is_file():
        return GaugeOut(state=job.state, **json.loads(path.read_text(encoding="utf-8")))
    return _measured_gauge(service, job)


def _measured_gauge(service: Service, job: Job) -> GaugeOut:
    """Return the gauge of a job that follows no microscope, from its rows."""
    file = RowFile(service.folders.job(job.job_id) / ROWS_FILE)
    movie, rows = _movie(service, job), len(file)
    pixel_nm = _pixel_nm(job, movie)
    progress = job.progress or {}
    frame = int(progress["done"]) if progress.get("stage") == job.kind else 0
    overall = last = None
    if movie is not None and pixel_nm is not None and rows and frame:
        overall = density_per_um2(rows / frame, movie.height, movie.width, pixel_nm)
        tail = np.frombuffer(file.read(max(0, rows - _LAST_ROWS)), "<f4")
        frames = tail.reshape(-1, len(COLUMNS))[:, 0]
        first = max(float(frames[0]), float(frames[-1]) - _LAST_FRAMES + 1)
        span = float(frames[-1]) - first + 1
        count = int((frames >= first).sum())
        last = density_per_um2(count / span, movie.height, movie.width, pixel_nm)
    return GaugeOut(
        density_per_um2=overall,
        density_last_frames=last,
        frame=frame,
        localizations=rows,
        behind_s=None,
        state=job.state,
    )


def _table(service: Service, job_id: str) -> tuple[Job, Path]:
    job = service.job(job_id)
    source = table_file(job.kind, service.folders.job(job_id)) if job.has_ended else None
    if source is None:
        raise Refusal(404, "this job has no table (yet); rows can be read while it runs")
    return job, source


async def _made(service: Service, work: Any, *arguments: Any) -> Path:
    try:
        made = await run_in_threadpool(
            isolated, work, *arguments, limits=service.config.limits, what="the table"
        )
    except HdsmlmError as error:
        root = f"{service.folders.root}/"
        raise Refusal(422, str(error).replace(root, "")) from None
    return Path(made)


def _movie(service: Service, job: Job) -> Movie | None:
    return None if job.movie_id is None else service.store.movie(job.movie_id)


def _stem(job: Job, movie: Movie | None) -> str:
    """Return how files of a job are called: as its movie, or as what a live job follows."""
    return PurePath(movie.name if movie is not None else job.path or "").stem


def _pixel_nm(job: Job, movie: Movie | None) -> float | None:
    """Return the pixel size that a job worked with."""
    camera = (job.summary or {}).get("camera") or job.camera
    of_camera = camera.get("pixel_size_nm") if isinstance(camera, dict) else None
    return job.pixel_size_nm or of_camera or (None if movie is None else movie.pixel_size_nm)


def _download(path: Path, name: str, media_type: str, *, inline: bool = False) -> FileResponse:
    return FileResponse(
        path,
        media_type=media_type,
        filename=name,
        content_disposition_type="inline" if inline else "attachment",
        headers={"Content-Security-Policy": "default-src 'none'; sandbox"},
    )
