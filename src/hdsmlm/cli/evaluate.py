"""``hdsmlm evaluate``: score a table against the truth."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hdsmlm.evaluation.result import Evaluation


def command(
    predicted: Annotated[
        Path, typer.Argument(help="Table of predicted emitters, of any known kind.")
    ],
    truth: Annotated[
        Path, typer.Option("--truth", help="Table of true emitters, of any known kind.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for scores.json, report.html and pictures.")
    ] = Path("evaluation"),
    pixel_size_nm: Annotated[
        float | None,
        typer.Option(
            "--pixel-size-nm",
            "--pixel-size",
            help="Pixel size in nm; default: from the movie or the table.",
        ),
    ] = None,
    movie: Annotated[
        Path | None, typer.Option("--movie", help="The movie, for overlay pictures.")
    ] = None,
    count_map: Annotated[
        Path | None,
        typer.Option("--count-map", help="Count map, for the scores of counts and calibration."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="HxW", help="Height x width of a frame in pixels."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="YAML with other tolerances and bins."),
    ] = None,
    first_frame: Annotated[
        int | None,
        typer.Option(
            "--first-frame",
            help="Number of the first frame in the predicted table; default 1, or 0 if it occurs.",
        ),
    ] = None,
    truth_first_frame: Annotated[
        int | None,
        typer.Option("--truth-first-frame", help="The same for the table of true emitters."),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(help="Score only frames first:last, from 0, the last not included."),
    ] = None,
) -> None:
    """Score predicted emitters against the truth, with the score of chance beside each."""
    from rich.console import Console

    from hdsmlm.cli.predict import frame_range
    from hdsmlm.cli.ranges import parse_size
    from hdsmlm.config.base import load_section
    from hdsmlm.config.evaluation import EvaluationConfig
    from hdsmlm.pipelines.evaluate import EvaluationSources, evaluate_tables

    asked = frame_range(frames)
    sources = EvaluationSources(
        truth=truth,
        predicted=predicted,
        pixel_size_nm=pixel_size_nm,
        size_px=parse_size(size),
        movie=movie,
        count_map=count_map,
        truth_first_frame=truth_first_frame,
        predicted_first_frame=first_frame,
        frames=(asked["first_frame"], asked.get("last_frame")) if asked else None,
    )
    section = load_section(EvaluationConfig, config) if config else EvaluationConfig()
    result = evaluate_tables(sources, out, section)
    console = Console()
    print_scores(console, result.evaluation)
    console.print(f"scores: {result.scores}\nreport: {result.report}", highlight=False)


def print_scores(console: Console, evaluation: Evaluation) -> None:
    """Print the main scores, each beside that of chance."""
    from rich.markup import escape
    from rich.table import Table

    from hdsmlm.evaluation.report import main_counts

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("metric", no_wrap=True)
    table.add_column("pairing", no_wrap=True)
    for name in ("F1", "chance", "prec.", "recall", "Jacc.", "RMSE", "eff."):
        table.add_column(name, justify="right", no_wrap=True)
    for row in evaluation.detection.rows:
        result = row.score
        values = (result.f1, row.chance_f1, result.precision, result.recall, result.jaccard)
        table.add_row(
            row.title,
            row.pairing,
            *(f"{value:.3f}" for value in values),
            f"{result.rmse_nm:.1f}",
            f"{row.efficiency:.1f}",
        )
    console.print(table)
    depth = next((r for r in evaluation.detection.rows if math.isfinite(r.axial_rmse_nm)), None)
    if depth is not None:
        console.print(
            f"along z, {depth.title}: RMSE {depth.axial_rmse_nm:.1f} nm, "
            f"efficiency {depth.efficiency_axial:.1f}",
            highlight=False,
        )
    source, counts = main_counts(evaluation)
    console.print(
        f"{evaluation.density_per_um2:.3g} emitters/µm² and frame; "
        f"RMSMD {evaluation.detection.rmsmd_nm:.1f} nm "
        f"(chance {evaluation.detection.chance_rmsmd_nm:.1f} nm); "
        f"count per {counts.window_px}×{counts.window_px} px ({source}): "
        f"bias {counts.window.bias:+.3f}, mean absolute error {counts.window.mae:.3f}",
        highlight=False,
    )
    for note in evaluation.notes:
        console.print(f"[yellow]note[/]: {escape(note)}", highlight=False)
