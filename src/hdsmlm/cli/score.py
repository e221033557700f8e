"""``hdsmlm score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hdsmlm.config.prediction import PredictionConfig


def command(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or a bundle folder.")],
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or keras.")] = "auto",
    precision: Annotated[str, typer.Option(help="f32 or bf16 (OpenVINO only).")] = "f32",
    scenes: Annotated[
        int, typer.Option(min=1, help="Scenes per case; the headline is stated for 4.")
    ] = 4,
    binned: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of `hdsmlm bin` to score on instead of the test set; may be repeated."
        ),
    ] = None,
    all_sequences: Annotated[
        bool,
        typer.Option(help="With --binned: also the sequences that training may have learnt from."),
    ] = False,
    origin: Annotated[
        Path | None,
        typer.Option(
            help="With one --binned: the sparse movie that it was made from; do counts add up?"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the scores as JSON here.")] = None,
) -> None:
    """Score a model on the fixed simulated test set, or on binned recordings."""
    from hdsmlm.config.base import parse_section
    from hdsmlm.config.prediction import PredictionConfig
    from hdsmlm.errors import ConfigError

    choice = parse_section(
        PredictionConfig, {"engine": engine, "precision": precision}, "hdsmlm score"
    )
    if binned:
        if origin is not None and len(binned) > 1:
            raise ConfigError("--origin belongs to one folder; give one --binned with it")
        _score_folders(model, choice, binned, all_sequences, origin, out)
    elif all_sequences or origin is not None:
        raise ConfigError("--all-sequences and --origin belong to folders; give --binned as well")
    else:
        _score_test_set(model, choice, scenes, out)


def _score_test_set(model: str, choice: PredictionConfig, scenes: int, out: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from hdsmlm.bundle import load_bundle
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.config.test_set import TestSetConfig
    from hdsmlm.pipelines.test_set import score_bundle

    test_set = TestSetConfig(scenes_per_case=scenes)
    with progress_bar() as listener:
        scores = score_bundle(
            load_bundle(model), test_set, choice.engine, choice.precision, listener
        )
    table = Table("case", "F1", "recall", "precision", "chance F1", "F1 all", "RMSE nm")
    for case in (*scores.headline, *scores.reference):
        tier1, everyone = case.tier1, case.everyone
        values = (tier1.f1, tier1.recall, tier1.precision, case.chance_f1, everyone.f1)
        table.add_row(
            case.case.name, *(f"{value:.3f}" for value in values), f"{everyone.rmse_nm:.0f}"
        )
    console = Console()
    console.print(table)
    console.print(
        f"headline, tier 1 (SNR >= 2): F1 {scores.mean('f1'):.4f}, "
        f"recall {scores.mean('recall'):.4f}, precision {scores.mean('precision'):.4f}"
    )
    by_snr = ", ".join(f"{part.label}: {part.score.recall:.3f}" for part in scores.by_snr)
    console.print(f"recall by SNR: {by_snr}")
    _write(scores.to_dict(), out)


def _score_folders(
    model: str,
    choice: PredictionConfig,
    folders: list[Path],
    all_sequences: bool,
    origin: Path | None,
    out: Path | None,
) -> None:
    from rich.console import Console
    from rich.table import Table

    from hdsmlm.bundle import load_bundle
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.pipelines.count_consistency import compare_counts
    from hdsmlm.pipelines.score_binned import choose_sequences, score_binned

    bundle = load_bundle(model)
    choices = choose_sequences(folders, all_sequences)
    counts = None
    with progress_bar() as listener:
        if origin is not None:  # first, since it may be the wrong movie
            counts = compare_counts(
                bundle, folders[0], origin, choice.engine, choice.precision, listener
            )
        scores = score_binned(bundle, choices, choice.engine, choice.precision, listener)
    table = Table("", *(score.name for score in scores))
    rows: dict[str, tuple[str, ...]] = {
        "sequences": tuple(str(s.n_sequences) for s in scores),
        "emitters/µm²": tuple(f"{s.density_per_um2:.2f}" for s in scores),
        "F1": tuple(f"{s.detection.f1:.3f}" for s in scores),
        "recall": tuple(f"{s.detection.recall:.3f}" for s in scores),
        "precision": tuple(f"{s.detection.precision:.3f}" for s in scores),
        "chance F1": tuple(f"{s.chance_f1:.3f}" for s in scores),
        "RMSE nm": tuple(f"{s.detection.rmse_nm:.0f}" for s in scores),
        "loss": tuple(f"{s.loss:.4f}" for s in scores),
        "count bias": tuple(f"{s.count_bias:+.3f}" for s in scores),
        "count error": tuple(f"{s.count_error:.3f}" for s in scores),
        "pixels ignored": tuple(f"{s.doubt_share:.1%}" for s in scores),
    }
    for title, cells in rows.items():
        table.add_row(title, *cells)
    Console().print(table)
    values = {score.name: score.to_dict() for score in scores}
    if counts is not None:
        typer.echo(
            f"counted in {len(counts.binned)} dense frames: {counts.binned.sum():.0f}, in their "
            f"sparse frames: {counts.summed.sum():.0f}; ratio {counts.ratio:.3f}, mean absolute "
            f"difference {counts.error:.3f} of the latter"
        )
        values[scores[0].name]["count_consistency"] = counts.to_dict()
    _write(values, out)


def _write(values: dict[str, Any], out: Path | None) -> None:
    import json

    from hdsmlm.io.writing import atomic_path

    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
