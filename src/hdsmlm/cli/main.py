"""The ``hdsmlm`` program: parses, calls a pipeline, shows; loads nothing heavy to do so."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import hdsmlm
from hdsmlm.errors import HdsmlmError, Interrupted

from hdsmlm.cli import filter as filter_  # isort: skip
from hdsmlm.cli import bin as bin_  # isort: skip
from hdsmlm.cli import (  # isort: skip
    calibrate,
    convert,
    demo,
    devices,
    doctor,
    drift,
    evaluate,
    frc,
    link,
    localize,
    models,
    nena,
    predict,
    render,
    runs,
    score,
    search,
    serve,
    simulate,
    titrate,
    train,
)


class _Program(TyperGroup):
    """The group of commands; Ctrl-C in any of them is an error with a message."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; typer itself would end in silence at Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("by the user; run the same command again") from None


app = typer.Typer(
    name="hdsmlm",
    cls=_Program,
    help="Detect and count emitters in dense single-molecule localization microscopy movies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for name, module in (
    ("doctor", doctor),
    ("simulate", simulate),
    ("bin", bin_),
    ("titrate", titrate),
    ("train", train),
    ("search", search),
    ("serve", serve),
    ("devices", devices),
    ("predict", predict),
    ("localize", localize),
    ("evaluate", evaluate),
    ("score", score),
    ("calibrate", calibrate),
    ("convert", convert),
    ("filter", filter_),
    ("link", link),
    ("drift", drift),
    ("frc", frc),
    ("nena", nena),
    ("render", render),
    ("models", models),
    ("runs", runs),
    ("demo", demo),
):
    app.command(name)(module.command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hdsmlm {hdsmlm.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Detect and count emitters in dense single-molecule localization microscopy movies."""


def run() -> None:
    """Entry point: an error that the user can mend is one message and exit code 2.

    Ctrl-C is one message and exit code 130, as shells have it.
    """
    try:
        app()
    except HdsmlmError as error:
        typer.echo(f"{_label(error)}: {error}", err=True)
        sys.exit(error.exit_code)


def _label(error: HdsmlmError) -> str:
    return "stopped" if isinstance(error, Interrupted) else "error"
