"""The folder of a search: what was asked for, where it stands, what came out.

It holds ``search.yaml`` and ``base.yaml`` (what was asked for), ``search.json`` (backend, parent
run of the record), ``trials/0001/`` with ``trial.json`` (state and scores), ``worker.log`` and
``run/`` (an ordinary run folder), and in the end ``results.csv``, ``results.json``,
``report.html`` and ``best/`` (the best bundle).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hdsmlm.config.base import load_section, section_to_yaml
from hdsmlm.config.search import SearchConfig
from hdsmlm.errors import ConfigError
from hdsmlm.io.writing import atomic_path
from hdsmlm.search.record import TrialRecord, read_record
from hdsmlm.search.report import write_results
from hdsmlm.search.space import draw_trials
from hdsmlm.search.summary import Summary

SEARCH = "search.yaml"
BASE = "base.yaml"
STATE = "search.json"
TRIALS = "trials"
RUN = "run"
BUNDLE = "bundle"
"""Of the run folder; pipelines.train, which writes it, loads Keras, and this module need not."""
BEST = "best"
FREE_TO_CHANGE = ("metric", "goal", "retries", "memory_retries")
"""Search fields that a continued search may change (metric and goal not with halving)."""


def trial_folder(out: Path, number: int) -> Path:
    """Return the folder of one trial."""
    return out / TRIALS / f"{number:04d}"


def write_plan(config: SearchConfig, base: Mapping[str, Any], backend: str, out: Path) -> None:
    """Write what is asked for.

    Raises
    ------
    ConfigError
        When the folder holds another search.
    """
    path, base_path = out / SEARCH, out / BASE
    base_text = yaml.safe_dump(dict(base), sort_keys=True)
    if path.is_file():
        before = load_section(SearchConfig, path)
        free = FREE_TO_CHANGE[2:] if config.method.kind == "halving" else FREE_TO_CHANGE
        old, new = (c.model_dump(mode="json", exclude={*free, "base"}) for c in (before, config))
        changed = [key for key in new if old[key] != new[key]]
        if base_path.is_file() and base_path.read_text(encoding="utf-8") != base_text:
            changed.append("base")
        if read_state(out).get("backend", backend) != backend:
            changed.append("backend")
        if changed:
            raise ConfigError(
                f"{out} holds a search that differs in {', '.join(changed)}; go on with its own "
                f"{SEARCH}, or choose another --out"
            )
    for target, text in ((base_path, base_text), (path, section_to_yaml(config))):
        with atomic_path(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_state(out, backend=backend)


def read_state(out: Path) -> dict[str, Any]:
    """Return what was noted of a search; nothing for a new one."""
    path = out / STATE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def write_state(out: Path, **values: str) -> None:
    """Note something of a search, beside what was noted before."""
    with atomic_path(out / STATE) as temporary:
        text = json.dumps({**read_state(out), **values}, sort_keys=True)
        temporary.write_text(f"{text}\n", encoding="utf-8")


def write_outcome(folder: Path) -> Summary:
    """Write table and report of a search as it stands.

    Raises
    ------
    ConfigError
        When the folder holds no search.
    """
    path = folder / SEARCH
    if not path.is_file():
        raise ConfigError(
            f"{folder} holds no search ({SEARCH} is missing); give the --out of 'hdsmlm search'"
        )
    config = load_section(SearchConfig, path)
    base = yaml.safe_load((folder / BASE).read_text(encoding="utf-8")) or {}
    trials = draw_trials(config, base)
    records = [
        read_record(trial_folder(folder, trial.number)) or TrialRecord(trial.number, trial.values)
        for trial in trials
    ]
    summary = Summary(config, tuple(records))
    write_results(summary, folder)
    return summary


def keep_best(summary: Summary, out: Path) -> None:
    """Copy the bundle of the best trial to ``best/``."""
    if summary.best is None:
        return
    source = trial_folder(out, summary.best.number) / RUN / BUNDLE
    with atomic_path(out / BEST) as temporary:
        shutil.copytree(source, temporary)
        shutil.rmtree(out / BEST, ignore_errors=True)
