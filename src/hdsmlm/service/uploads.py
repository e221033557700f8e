"""Uploads that are not complete: what they still want of the disk, and which are forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hdsmlm.service.folders import Folders
from hdsmlm.service.store import Store, Upload


def wanted_bytes(store: Store, folders: Folders) -> int:
    """Return the bytes that all uploads which were begun have still to bring."""
    total = 0
    for upload in store.all(Upload):
        path = folders.upload(upload.upload_id)
        if upload.movie_id is None and upload.table_id is None and path.exists():
            total += max(0, upload.size - path.stat().st_size)
    return total


def drop_stale_uploads(store: Store, folders: Folders, days: float = 7.0) -> int:
    """Delete uploads that were begun some days ago and never completed; return how many."""
    oldest = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    dropped = 0
    for upload in store.all(Upload):
        if upload.movie_id is None and upload.table_id is None and upload.created < oldest:
            folders.upload(upload.upload_id).unlink(missing_ok=True)
            store.delete(Upload, upload.upload_id)
            dropped += 1
    return dropped
