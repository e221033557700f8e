"""``hdsmlm train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdsmlm.cli.backends import BackendChoice

if TYPE_CHECKING:
    from hdsmlm.config.run import RunConfig


def command(
    config: Annotated[Path, typer.Argument(help="YAML configuration of the run.")],
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run in it goes on.")],
    max_minutes: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Stop with a checkpoint after this time; the same command goes on."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a field, e.g. --set training.steps=2000."),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Model whose weights the run starts from (name or folder)."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that draw samples (default: from the config).")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(help="Devices that share each batch (default: from the config).")
    ] = None,
    tracking: Annotated[
        Path | None, typer.Option(help="Folder of the MLflow record (default: OUT/../tracking).")
    ] = None,
    no_tracking: Annotated[bool, typer.Option("--no-tracking", help="Keep no record.")] = False,
    backend: Annotated[
        BackendChoice, typer.Option(help="Keras backend.", envvar="KERAS_BACKEND")
    ] = BackendChoice.torch,
    overwrite: Annotated[bool, typer.Option(help="Start afresh in a folder with a run.")] = False,
) -> None:
    """Train a model on fresh simulated samples; resumable, tracked, ends with a bundle."""
    os.environ["KERAS_BACKEND"] = backend.value
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.config.base import parse_assignments
    from hdsmlm.errors import Interrupted, require_extra

    tracker = () if no_tracking else ("mlflow",)
    for library in ("keras", "torch", "onnx", backend.value, *tracker):
        require_extra(library, "jax" if library == "jax" else "train", "to train a network")
    from hdsmlm.pipelines.run_config import load_run
    from hdsmlm.pipelines.train import RunRequest, run_training

    overrides = parse_assignments(set_ or [])
    if from_ is not None:
        overrides["training.start_from"] = from_
    if workers is not None:
        overrides["training.workers"] = workers
    if devices is not None:
        overrides["training.devices"] = devices
    request = RunRequest(
        config=load_run(config, overrides),
        folder=out,
        max_minutes=max_minutes,
        tracking=None if no_tracking else (tracking or out.parent / "tracking"),
        overwrite=overwrite,
        register=True,
    )
    if request.config.data.binned:
        _tell_gaps(request.config)
    with progress_bar() as listener:
        result = run_training(request, listener)
    if result.bundle is not None:
        typer.echo(f"{result.outcome.reason}: the model is in {result.bundle.folder}")
        return
    where = f"step {result.outcome.progress.step} of {request.config.training.steps}"
    if result.outcome.reason == "interrupted":
        raise Interrupted(f"at {where}; run the same command again to go on")
    typer.echo(f"{result.outcome.reason} at {where}; run the same command again to go on")


def _tell_gaps(config: RunConfig) -> None:
    """Print how far each binned source is from what the simulator draws."""
    from hdsmlm.pipelines.source_gaps import gaps_of_sources

    for name, gap in gaps_of_sources(config).items():
        if isinstance(gap, str):
            typer.echo(f"domain gap of {name}: cannot be told: {gap}")
            continue
        typer.echo(f"domain gap between {name} and the simulated scenes: {gap.range_text}")
        for item in gap.notable:
            typer.echo(f"  {item.feature.quantity}: {item.difference:+.1f} SD in {name}")
