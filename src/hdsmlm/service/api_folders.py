"""What lies in the folders that the server allows: for a client that takes a movie by its path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request

from hdsmlm.io.movies import FORMATS
from hdsmlm.service.folders import inside_folder
from hdsmlm.service.problems import Refusal
from hdsmlm.service.schemas import EntryOut, FolderOut
from hdsmlm.service.state import Service

router = APIRouter(tags=["movies"])
MOST_ENTRIES = 2000
_SUFFIXES = {suffix for form in FORMATS for suffix in form.extensions}


@router.get("/folders")
def show_folder(
    request: Request,
    path: Annotated[
        str | None, Query(max_length=4096, description="Folder; left out: the allowed folders.")
    ] = None,
) -> FolderOut:
    """List folders and movies in an allowed folder; links and hidden files are left out."""
    service: Service = request.app.state.service
    allowed = [folder.expanduser().resolve() for folder in service.config.allow]
    if path is None:
        roots = [EntryOut(name=str(one), path=str(one), kind="folder") for one in allowed]
        return FolderOut(path=None, parent=None, entries=roots)
    folder = inside_folder(path, service.config.allow)
    if folder is None or not folder.is_dir():
        raise Refusal(
            403,
            "no such folder inside the allowed folders; the person who runs the server allows "
            "folders with --allow",
        )
    entries = sorted(_entries(folder), key=lambda entry: (entry.kind, entry.name.casefold()))
    parent = None if folder in allowed else str(folder.parent)
    return FolderOut(path=str(folder), parent=parent, entries=entries)


def _entries(folder: Path) -> list[EntryOut]:
    found = []
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                if entry.name.startswith(".") or entry.is_symlink():
                    continue
                is_folder = entry.is_dir(follow_symlinks=False)
                if is_folder or Path(entry.name).suffix.lower() in _SUFFIXES:
                    kind = "folder" if is_folder else "movie"
                    found.append(EntryOut(name=entry.name, path=entry.path, kind=kind))
                if len(found) >= MOST_ENTRIES:
                    break
    except OSError as error:
        raise Refusal(403, f"the server may not read this folder ({error.strerror})") from None
    return found
