"""``hdsmlm models``."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[
        str | None, typer.Argument(help="Show the card of this model (name or bundle folder).")
    ] = None,
) -> None:
    """List the models that ship with the program, or show one model's card."""
    from hdsmlm.bundle.reading import load_bundle, shipped_models

    if name is not None:
        typer.echo(load_bundle(name).model_card)
        return
    for model in sorted(shipped_models()):
        typer.echo(f"{model}: {load_bundle(model).manifest.description}")
