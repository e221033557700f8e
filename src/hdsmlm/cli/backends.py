"""What trains: the backends of Keras that this program is tested with."""

from __future__ import annotations

from enum import StrEnum


class BackendChoice(StrEnum):
    """Keras backend."""

    torch = "torch"
    jax = "jax"
