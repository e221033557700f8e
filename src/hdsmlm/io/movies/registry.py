"""Which file is read by which reader: by its first bytes, then by its name.

A new format is one file with an ``open_...`` function and one line in :data:`FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hdsmlm.errors import MovieError, TruncatedMovieError
from hdsmlm.io.movies.dax import open_dax
from hdsmlm.io.movies.frames import FrameSource
from hdsmlm.io.movies.picasso_raw import open_picasso_raw
from hdsmlm.io.movies.spe import HEADER_BYTES, is_spe, open_spe
from hdsmlm.io.movies.tiff import MAGIC, open_tiff
from hdsmlm.io.movies.vendors import (
    DCIMG_MAGIC,
    ND2_MAGIC,
    SIF_MAGIC,
    open_dcimg,
    open_nd2,
    open_sif,
)


@dataclass(frozen=True)
class MovieFormat:
    """One file format.

    Parameters
    ----------
    name : str
        For messages.
    extensions : tuple of str
        Lower case, with the dot.
    sniff : callable or None
        Tells from the first bytes whether the file is of this format; None for a format without a
        signature, which is known by its extension alone.
    open : callable
        ``open(path, allow_truncated=...)`` returns the reader.
    """

    name: str
    extensions: tuple[str, ...]
    sniff: Callable[[bytes], bool] | None
    open: Callable[..., FrameSource]


def _begins_with(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(signatures)


FORMATS: tuple[MovieFormat, ...] = (
    MovieFormat("TIFF", (".tif", ".tiff", ".btf", ".tf8", ".stk"), _begins_with(*MAGIC), open_tiff),
    MovieFormat("SPE", (".spe",), is_spe, open_spe),
    MovieFormat("nd2", (".nd2",), _begins_with(*ND2_MAGIC), open_nd2),
    MovieFormat("DCIMG", (".dcimg",), _begins_with(DCIMG_MAGIC), open_dcimg),
    MovieFormat("SIF", (".sif",), _begins_with(SIF_MAGIC), open_sif),
    MovieFormat("DAX", (".dax",), None, open_dax),
    MovieFormat("Picasso RAW", (".raw",), None, open_picasso_raw),
)

TIFF_EXTENSIONS = FORMATS[0].extensions


def known_formats() -> str:
    """Return the formats and their extensions for a message."""
    return ", ".join(f"{form.name} ({' '.join(form.extensions)})" for form in FORMATS)


def open_file(path: Path, allow_truncated: bool = False) -> FrameSource:
    """Open one file.

    Raises
    ------
    MovieError
        When it is missing, empty, or of no known format.
    """
    if not path.exists():
        raise MovieError(f"{path}: no such file or folder; check the path")
    try:
        with path.open("rb") as stream:
            head = stream.read(HEADER_BYTES)
    except OSError as error:
        raise MovieError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not head:
        raise MovieError(
            f"{path}: the file is empty (0 bytes); check that it was saved and copied completely"
        )
    return _choose(path, head).open(path, allow_truncated=allow_truncated)


def _choose(path: Path, head: bytes) -> MovieFormat:
    extension = path.suffix.lower()
    for form in FORMATS:
        if form.sniff is not None and form.sniff(head):
            return form
    for form in FORMATS:
        if extension in form.extensions:
            if form.sniff is None:
                return form
            if form.open is open_spe and len(head) < HEADER_BYTES:
                raise TruncatedMovieError(
                    f"{path}: an SPE header has {HEADER_BYTES} bytes, but the whole file has "
                    f"{len(head)}; copy or save it again",
                    0,
                )
            raise MovieError(
                f"{path}: the name says {form.name}, but the file begins with "
                f"{_shown(head)}, as no {form.name} file does. Is it complete, and is the name "
                "right?"
            )
    raise MovieError(
        f"{path}: this is no movie that can be read (it begins with {_shown(head)}). "
        f"Known formats: {known_formats()}"
    )


def _shown(head: bytes) -> str:
    """Return the first bytes of a file for people: as text where they are, else in hexadecimal."""
    first = head[:8]
    if not first:
        return "nothing: it is empty"
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in first)
    if all(32 <= byte < 127 for byte in first):
        return f'"{text}"'
    return f'the bytes {first.hex(" ")}, "{text}"'
