"""``hdsmlm demo``: the whole line on a simulated movie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hdsmlm.pipelines.demo import Demonstration


def command(
    out: Annotated[Path, typer.Option(help="Folder for everything that it makes.")] = Path(
        "demo-output"
    ),
    model: Annotated[
        str, typer.Option(help="Name of a shipped model, or the folder of a model bundle.")
    ] = "wolf",
) -> None:
    """Simulate a dense movie with truth, localize it with a shipped model, score the result.

    Takes a minute or two, and shows what each step writes. An earlier demonstration in the same
    folder is replaced.
    """
    from rich.console import Console

    from hdsmlm.cli.evaluate import print_scores
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.pipelines.demo import run_demo

    with progress_bar() as listener:
        demonstration = run_demo(out, model, listener=listener)
    typer.echo(demonstration.summary.to_text())
    print_scores(Console(), demonstration.scored.evaluation)
    typer.echo("\nAnd with the fit in space and time:\n")
    typer.echo(demonstration.localized.to_text())
    print_scores(Console(), demonstration.scored_fit.evaluation)
    width = max(len(str(path)) for path, _ in _files(demonstration))
    typer.echo("\nWhere everything is:")
    for path, meaning in _files(demonstration):
        typer.echo(f"  {path!s:<{width}}  {meaning}")


def _files(demonstration: Demonstration) -> list[tuple[Path, str]]:
    simulated, result = demonstration.simulated, demonstration.result
    files = demonstration.summary.files
    scored = demonstration.scored
    return [
        (simulated.movie, "the movie, 16-bit TIFF"),
        (simulated.truth, "where every emitter really was"),
        (simulated.parameters, "every parameter of the simulation"),
        (result / files["emitters"], "the emitters that were found; ThunderSTORM opens it"),
        (result / files["count map"], "probabilities of 0, 1, 2, 3+ emitters per pixel"),
        (result / files["overlays"], "frames with what was found"),
        (scored.report, "all scores with plots: open it in a browser"),
        (scored.scores, "the same numbers for programs"),
        (demonstration.localizations, "localizations with standard errors; Picasso opens it"),
        (demonstration.blinks, "the same, one row per blink"),
        (demonstration.picture, "the super-resolved picture"),
        (demonstration.scored_fit.report, "the scores of the fit"),
        *((path, "purple: right, red: missed, blue: false") for path in scored.overlays[:1]),
    ]
