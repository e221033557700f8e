"""Where an artefact comes from: versions, configuration, seed and the hashes of its parents."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import hdsmlm


@dataclass(frozen=True)
class Provenance:
    """A record that is written beside (or into) every artefact.

    Parameters
    ----------
    stage : str
        The pipeline stage that made it.
    config : mapping
        The complete configuration as plain values.
    parents : mapping of str to str
        Name of each input and its SHA-256, or its description where it is not a file.
    version, python, created : str
        Version of the program, of Python, and the UTC time.
    """

    stage: str
    config: Mapping[str, Any]
    parents: Mapping[str, str] = field(default_factory=dict)
    version: str = hdsmlm.__version__
    python: str = platform.python_version()
    created: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )

    def to_json(self) -> str:
        """Return readable JSON."""
        return json.dumps(asdict(self), indent=2, default=str)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
