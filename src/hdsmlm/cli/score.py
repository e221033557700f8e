"""``hdsmlm score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or a bundle folder.")],
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or keras.")] = "auto",
    precision: Annotated[str, typer.Option(help="f32 or bf16 (OpenVINO only).")] = "f32",
    scenes: Annotated[
        int, typer.Option(min=1, help="Scenes per case; the headline is stated for 4.")
    ] = 4,
    out: Annotated[Path | None, typer.Option(help="Write the scores as JSON here.")] = None,
) -> None:
    """Score a model on the fixed simulated test set, by density, camera, photons and SNR."""
    import json

    from rich.console import Console
    from rich.table import Table

    from hdsmlm.bundle import load_bundle
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.config.base import parse_section
    from hdsmlm.config.prediction import PredictionConfig
    from hdsmlm.config.test_set import TestSetConfig
    from hdsmlm.io.writing import atomic_path
    from hdsmlm.pipelines.test_set import score_bundle

    choice = parse_section(
        PredictionConfig, {"engine": engine, "precision": precision}, "hdsmlm score"
    )
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
    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_text(json.dumps(scores.to_dict(), indent=1), encoding="utf-8")
