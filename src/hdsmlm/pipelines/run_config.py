"""The configuration of a run, from its file, the command line and the model that it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hdsmlm.bundle import load_bundle
from hdsmlm.config.base import parse_section, read_yaml, set_field
from hdsmlm.config.run import RunConfig


def load_run(path: Path, overrides: Mapping[str, Any]) -> RunConfig:
    """Read the configuration of a run; dotted ``overrides`` win.

    A run that starts from a model and says nothing of its own about the network takes the model's.

    Raises
    ------
    ConfigError
        For a file or a value that is wrong.
    BundleError
        When the model to start from is missing or damaged, before anything is written.
    """
    values = read_yaml(path)
    for key, value in overrides.items():
        set_field(values, key, value)
    run = parse_section(RunConfig, values, str(path))
    if run.training.start_from is None:
        return run
    start = load_bundle(run.training.start_from)
    if values.get("network"):
        return run
    return parse_section(RunConfig, {**values, "network": start.manifest.network}, str(path))
