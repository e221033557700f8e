"""The check that cameras and point-spread functions share."""

from __future__ import annotations

from hdsmlm.errors import ConfigError


def require(section: str, condition: bool, wanted: str, got: object) -> None:
    """Raise ConfigError for an impossible value, naming the section of the configuration."""
    if not condition:
        raise ConfigError(f"{section}: {wanted}, got {got}; correct the {section} section")
