"""``hdsmlm search``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hdsmlm.cli.backends import BackendChoice


class RunnerChoice(StrEnum):
    """Where trials run."""

    local = "local"
    ray = "ray"


def command(
    space: Annotated[
        str, typer.Argument(help="YAML file of the search; or the word 'report' before a folder.")
    ],
    folder: Annotated[
        Path | None, typer.Argument(help="With 'report': folder of the search.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder; an unfinished search in it goes on."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trials at a time.")] = 1,
    runner: Annotated[
        RunnerChoice, typer.Option(help="Processes of this machine, or Ray.")
    ] = RunnerChoice.local,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, e.g. auto; else Ray starts on this machine.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try trials again that failed before.")
    ] = False,
    tracking: Annotated[
        Path | None, typer.Option(help="Folder of the MLflow record (default: OUT/tracking).")
    ] = None,
    no_tracking: Annotated[bool, typer.Option("--no-tracking", help="Keep no record.")] = False,
    backend: Annotated[
        BackendChoice, typer.Option(help="Keras backend of the trials.", envvar="KERAS_BACKEND")
    ] = BackendChoice.torch,
) -> None:
    """Train all combinations of a search space; resumable, with table, report and best bundle.

    'hdsmlm search report DIR' writes table and report of a search as it stands.
    """
    from hdsmlm.errors import ConfigError

    if space == "report":
        if folder is None:
            raise ConfigError("'search report' needs the folder of a search")
        _report(folder)
        return
    if folder is not None:
        raise ConfigError(f"'{folder}' was not expected; name the folder of the search with --out")
    if out is None:
        raise ConfigError("--out is missing: the folder of the search")
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.pipelines.search import SearchJob, run_search

    job = SearchJob(
        space=Path(space),
        out=out,
        workers=workers,
        runner=runner.value,
        address=address,
        tracking=None if no_tracking else (tracking or out / "tracking"),
        retry_failed=retry_failed,
        backend=backend.value,
    )
    with progress_bar() as listener:
        summary = run_search(job, listener)
    _say(summary, out)


def _report(folder: Path) -> None:
    from hdsmlm.pipelines.search import write_report

    _say(write_report(folder), folder)


def _say(summary: object, folder: Path) -> None:
    from hdsmlm.search.record import State
    from hdsmlm.search.report import REPORT
    from hdsmlm.search.summary import Summary

    assert isinstance(summary, Summary)
    counts = ", ".join(f"{n} {state.value}" for state in State if (n := summary.count(state)))
    typer.echo(f"{len(summary.records)} trials: {counts}; report: {folder / REPORT}")
    if summary.best is not None:
        score = summary.score(summary.best)
        typer.echo(
            f"best: trial {summary.best.number}, {summary.config.metric} {score:.4f}; "
            f"its model is in {folder / 'best'}"
        )
