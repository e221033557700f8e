"""Uploads that can be taken up again, movies and their frames, tables."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePath
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from hdsmlm.errors import HdsmlmError
from hdsmlm.io.movies import FORMATS
from hdsmlm.io.tables import FORMATS as TABLE_FORMATS
from hdsmlm.service.checking import check_movie, check_table
from hdsmlm.service.exports import keep_newest
from hdsmlm.service.folders import named_as, path_within
from hdsmlm.service.problems import Refusal
from hdsmlm.service.rows import RowFile, rows_answer
from hdsmlm.service.schemas import MovieOut, NewMovie, NewUpload, TableOut, UploadOut
from hdsmlm.service.state import Service
from hdsmlm.service.store import Movie, Table, Upload, new_identifier
from hdsmlm.service.uploads import drop_stale_uploads, wanted_bytes

router = APIRouter()
MOST_PATCH_BYTES = 2**26
_KEPT_ROWS = 4
"""Pixel sizes for which the rows of an uploaded table are kept."""
_MOVIE_SUFFIXES = {suffix for form in FORMATS for suffix in form.extensions}
_TABLE_SUFFIXES = {suffix for form in TABLE_FORMATS for suffix in form.suffixes}
_BYTES = {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@router.post("/uploads", status_code=201, tags=["movies"])
def begin_upload(new: NewUpload, request: Request) -> UploadOut:
    """Begin an upload; then send its pieces with PATCH."""
    service = _service(request)
    limits = service.config.limits
    most = limits.upload_bytes if new.role == "movie" else limits.table_bytes
    if new.size > most:
        raise Refusal(
            413,
            f"the file has {new.size} bytes and this server takes up to {most}; cut it into parts, "
            "or place it in a folder of the server and give its path",
        )
    wanted = new.size + wanted_bytes(service.store, service.folders)
    if shutil.disk_usage(service.folders.root).free < wanted + limits.free_bytes:
        raise Refusal(
            413,
            "the server's disk has too little space for this file and the uploads that were begun; "
            "delete old jobs",
            "disk_full",
        )
    if service.store.open_uploads() >= limits.open_uploads:
        drop_stale_uploads(service.store, service.folders, days=1.0)
    if service.store.open_uploads() >= limits.open_uploads:
        raise Refusal(409, "too many uploads are not complete; finish or delete some first")
    kind: type = Movie if new.role == "movie" else Table
    if service.store.count(kind) >= limits.movies:
        raise Refusal(409, "the server holds as many files as it may; delete old ones first")
    upload = Upload(new_identifier(), _shown_name(new.name), new.role, new.size)
    service.folders.upload(upload.upload_id).touch(0o600)
    service.store.add(upload)
    return _upload_out(service, upload)


@router.get("/uploads/{upload_id}", tags=["movies"])
def show_upload(upload_id: str, request: Request) -> UploadOut:
    """Say how much of an upload is there, to go on from."""
    service = _service(request)
    return _upload_out(service, service.upload(upload_id))


@router.delete("/uploads/{upload_id}", status_code=204, tags=["movies"])
def drop_upload(upload_id: str, request: Request) -> None:
    """Give up an upload; what it became, if it is complete, stays."""
    service = _service(request)
    upload = service.upload(upload_id)
    if upload_id in service.receiving:
        raise Refusal(409, "a piece of this upload is being received; stop that first")
    service.folders.upload(upload.upload_id).unlink(missing_ok=True)
    service.store.delete(Upload, upload_id)


@router.patch(
    "/uploads/{upload_id}",
    tags=["movies"],
    openapi_extra={
        "requestBody": {
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            }
        }
    },
)
async def receive(
    upload_id: str,
    request: Request,
    upload_offset: Annotated[int, Header(ge=0, le=2**53, description="First byte of the piece.")],
) -> UploadOut:
    """Send a piece of a file; the last one completes it: its content is checked."""
    service = _service(request)
    upload = service.upload(upload_id)
    if upload.movie_id or upload.table_id:
        return _upload_out(service, upload)
    if upload_id in service.receiving:
        raise Refusal(409, "another piece of this upload is being received; wait for it")
    service.receiving.add(upload_id)
    try:
        await _append(service, upload, request, upload_offset)
        if _offset(service, upload) == upload.size:
            upload = await _complete(service, upload)
    finally:
        service.receiving.discard(upload_id)
    return _upload_out(service, upload)


async def _append(service: Service, upload: Upload, request: Request, offset: int) -> None:
    """Append the body; what arrived of a broken one is kept."""
    path = service.folders.upload(upload.upload_id)
    there = _offset(service, upload)
    if offset != there:
        raise Refusal(
            409,
            f"this upload goes on at byte {there}, but the piece begins at {offset}; ask for the "
            "offset and send from there",
            "wrong_offset",
            {"Upload-Offset": str(there)},
        )
    if there == upload.size:
        return  # the check of the content was interrupted: it is done again
    with path.open("ab") as stream:
        try:
            async for piece in request.stream():
                there += len(piece)
                if there > upload.size or there - offset > MOST_PATCH_BYTES:
                    stream.truncate(offset)
                    raise Refusal(
                        413,
                        f"the upload was announced with {upload.size} bytes, and a piece may have "
                        f"{MOST_PATCH_BYTES}; more came",
                    )
                await run_in_threadpool(stream.write, piece)
        except ClientDisconnect:
            raise Refusal(400, "the transfer broke off; ask for the offset and go on") from None
        except OSError as error:
            raise Refusal(
                413, f"the server cannot store the file ({error.strerror})", "disk_full"
            ) from None
        await run_in_threadpool(_flush, stream)


def _flush(stream: Any) -> None:
    stream.flush()
    os.fsync(stream.fileno())


async def _complete(service: Service, upload: Upload) -> Upload:
    """Check the content of a whole file and make it a movie or a table."""
    is_movie = upload.role == "movie"
    folders = service.folders
    folder = folders.movie(upload.upload_id) if is_movie else folders.table(upload.upload_id)
    suffix = PurePath(upload.name).suffix.lower()
    known = suffix in (_MOVIE_SUFFIXES if is_movie else _TABLE_SUFFIXES)
    path = folder / f"{upload.role}{suffix if known else ''}"
    source = folders.upload(upload.upload_id)
    if not path.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        _link(source, path)  # the upload keeps its bytes until the record is written
    try:
        async with service.checks:
            made = await run_in_threadpool(_check, service, upload, path)
    except HdsmlmError as error:
        shutil.rmtree(folder, ignore_errors=True)
        source.unlink(missing_ok=True)
        service.store.delete(Upload, upload.upload_id)
        code = "not_a_movie" if is_movie else "not_a_table"
        raise Refusal(422, named_as(str(error), path, upload.name), code) from None
    service.store.complete_upload(upload.upload_id, made)
    source.unlink(missing_ok=True)
    return service.upload(upload.upload_id)


def _link(source: Path, path: Path) -> None:
    try:
        os.link(source, path)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, path)


def _check(service: Service, upload: Upload, path: Path) -> Movie | Table:
    limits = service.config.limits
    if upload.role == "table":
        rows = check_table(path, limits)["rows"]
        return Table(upload.upload_id, upload.name, str(path), rows, upload.size)
    found = check_movie(path, limits)
    return _movie(upload.upload_id, upload.name, path, found, owned=True)


def _movie(identifier: str, name: str, path: Path, found: dict[str, Any], *, owned: bool) -> Movie:
    size = sum(Path(part).stat().st_size for part in found.pop("paths"))
    return Movie(identifier, name, str(path), int(owned), size_bytes=size, **found)


@router.post("/movies", status_code=201, tags=["movies"])
async def add_movie(new: NewMovie, request: Request) -> MovieOut:
    """Take a movie from an allowed folder of the server; it is read where it lies."""
    service = _service(request)
    path = allowed_path(service, new.path)
    if service.store.count(Movie) >= service.config.limits.movies:
        raise Refusal(409, "the server holds as many movies as it may; delete old ones first")
    try:
        async with service.checks:
            found = await run_in_threadpool(check_movie, path, service.config.limits)
    except HdsmlmError as error:
        raise Refusal(422, named_as(str(error), path, path.name), "not_a_movie") from None
    if any(path_within(part, service.config.allow) is None for part in found["paths"]):
        raise Refusal(403, "a file of this movie lies outside the allowed folders", "forbidden")
    movie = _movie(new_identifier(), _shown_name(path.name), path, found, owned=False)
    service.store.add(movie)
    return MovieOut.of(movie)


def allowed_path(service: Service, text: str) -> Path:
    """Return a path inside an allowed folder, or refuse."""
    path = path_within(text, service.config.allow)
    if path is None:
        raise Refusal(
            403,
            "no such file or folder inside the allowed folders; the person who runs the server "
            "allows folders with --allow",
        )
    return path


@router.get("/movies", tags=["movies"])
def list_movies(request: Request) -> list[MovieOut]:
    """List the movies, the newest first."""
    return [MovieOut.of(movie) for movie in _service(request).store.all(Movie)]


@router.get("/movies/{movie_id}", tags=["movies"])
def show_movie(movie_id: str, request: Request) -> MovieOut:
    """Show a movie."""
    return MovieOut.of(_service(request).movie(movie_id))


@router.delete("/movies/{movie_id}", status_code=204, tags=["movies"])
def delete_movie(movie_id: str, request: Request) -> None:
    """Delete an uploaded movie, or forget one of the server's folders."""
    service = _service(request)
    movie = service.movie(movie_id)
    jobs = service.store.jobs_in("waiting", "running")
    if any(job.movie_id == movie_id for job in jobs):
        raise Refusal(409, "a job works with this movie; cancel it first or wait for its end")
    service.movies.forget(movie_id)
    service.store.delete(Movie, movie_id)
    if movie.owned:
        shutil.rmtree(service.folders.movie(movie_id), ignore_errors=True)
        service.store.delete(Upload, movie_id)


@router.get(
    "/movies/{movie_id}/frames/{number}",
    tags=["movies"],
    response_class=Response,
    responses={200: _BYTES},
)
def show_frame(movie_id: str, number: int, request: Request) -> Response:
    """Return a frame: uint16, little-endian, row by row; grey value = X-Scale · u + X-Offset."""
    service = _service(request)
    movie = service.movie(movie_id)
    if not 0 <= number < movie.frames:
        raise Refusal(404, f"the movie has the frames 0 to {movie.frames - 1}")
    try:
        pixels, scale, offset = _as_uint16(service.movies.frame(movie, number))
    except HdsmlmError as error:
        raise Refusal(422, named_as(str(error), Path(movie.path), movie.name)) from None
    headers = {
        "X-Height": str(movie.height),
        "X-Width": str(movie.width),
        "X-Frame": str(number),
        "X-Scale": repr(scale),
        "X-Offset": repr(offset),
        "Cache-Control": "private, max-age=3600",
    }
    return Response(pixels.tobytes(), media_type="application/octet-stream", headers=headers)


def _as_uint16(frame: Any) -> tuple[Any, float, float]:
    """Return pixels that fit, and the line that leads back to the stored values."""
    if frame.dtype.kind == "u" and frame.dtype.itemsize <= 2:
        return frame.astype("<u2", copy=False), 1.0, 0.0
    values = np.nan_to_num(frame.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    scale = (high - low) / 65535 or 1.0
    return np.rint((values - low) / scale).astype("<u2"), scale, low


@router.get("/tables", tags=["movies"])
def list_tables(request: Request) -> list[TableOut]:
    """List the uploaded tables, the newest first."""
    return [TableOut.of(table) for table in _service(request).store.all(Table)]


@router.get(
    "/tables/{table_id}/rows",
    tags=["movies"],
    response_class=Response,
    responses={200: _BYTES},
)
def show_table_rows(
    table_id: str,
    request: Request,
    start: Annotated[int, Query(ge=0, le=2**53, description="First row.")] = 0,
    pixel_size_nm: Annotated[float, Query(gt=5, le=1000)] = 100.0,
) -> Response:
    """Return an uploaded table as ``/jobs/{job_id}/rows`` does; NaN where it has no column.

    ``pixel_size_nm`` is for tables whose positions are in pixels.
    """
    from hdsmlm.io.tables import read_table

    service = _service(request)
    table = service.table(table_id)
    rows = RowFile(service.folders.table(table_id) / f"rows-{pixel_size_nm:g}.bin")
    if not rows.is_there:
        keep_newest(service.folders.table(table_id), "rows-*.bin", _KEPT_ROWS - 1)
        rows.replace(read_table(Path(table.path), pixel_size_nm=pixel_size_nm))
    return rows_answer(rows, start)


@router.delete("/tables/{table_id}", status_code=204, tags=["movies"])
def delete_table(table_id: str, request: Request) -> None:
    """Delete an uploaded table."""
    service = _service(request)
    service.table(table_id)
    jobs = service.store.jobs_in("waiting", "running")
    if any(table_id in (job.truth_id, job.options.get("table_id")) for job in jobs):
        raise Refusal(409, "a job works with this table; cancel it first or wait for its end")
    service.store.delete(Table, table_id)
    shutil.rmtree(service.folders.table(table_id), ignore_errors=True)
    service.store.delete(Upload, table_id)


def _upload_out(service: Service, upload: Upload) -> UploadOut:
    complete = upload.movie_id or upload.table_id
    return UploadOut(
        upload_id=upload.upload_id,
        offset=upload.size if complete else _offset(service, upload),
        size=upload.size,
        chunk_bytes=service.config.limits.chunk_bytes,
        movie_id=upload.movie_id,
        table_id=upload.table_id,
    )


def _offset(service: Service, upload: Upload) -> int:
    try:
        return service.folders.upload(upload.upload_id).stat().st_size
    except FileNotFoundError:
        raise Refusal(404, "this upload was deleted; begin it again") from None


def _shown_name(name: str) -> str:
    """Return the last part of a name without characters that do not print."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    clean = "".join(letter for letter in last if letter.isprintable()).strip()
    return clean[:255] or "unnamed"
