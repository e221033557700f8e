"""``hdsmlm calibrate``: a PSF from stacks of beads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    beads: Annotated[
        list[Path], typer.Argument(help="One stack with beads, or several with the same z step.")
    ],
    z_step: Annotated[
        float, typer.Option("--z-step", help="Distance between the planes of a stack, nm.")
    ],
    pixel_size: Annotated[
        float | None,
        typer.Option(
            "--pixel-size-nm",
            "--pixel-size",
            help="Pixel size in nm; default: the stack's metadata.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for spline.npz, numbers and pictures.")
    ] = Path("calibration"),
    radius: Annotated[
        int, typer.Option("--radius", help="Half-width of the region around a bead, pixels.")
    ] = 13,
    z_knot: Annotated[
        float, typer.Option("--z-knot", help="Height of the spline's cells, nm.")
    ] = 50.0,
    threshold: Annotated[
        float,
        typer.Option("--threshold", help="Smallest contrast of a bead, relative to bright ones."),
    ] = 0.2,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a calibration that is in the folder.")
    ] = False,
) -> None:
    """Measure the PSF from stacks of beads: a cubic spline, and an astigmatic Gaussian."""
    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.config.base import parse_section
    from hdsmlm.config.bead_calibration import BeadCalibrationConfig
    from hdsmlm.errors import OutputError
    from hdsmlm.pipelines.calibrate_psf import calibrate_psf, summary_text

    values = {
        "z_step_nm": z_step,
        "pixel_size_nm": pixel_size,
        "radius_px": radius,
        "z_knot_nm": z_knot,
        "threshold": threshold,
    }
    config = parse_section(BeadCalibrationConfig, values, "hdsmlm calibrate")
    if (out / "spline.npz").exists() and not overwrite:
        raise OutputError(
            f"{out} already holds a calibration; choose another --out, or replace it with "
            "--overwrite"
        )
    with progress_bar() as listener:
        result = calibrate_psf(beads, config, out, listener)
    typer.echo(summary_text(result), nl=False)
    typer.echo(f"calibration: {out / 'spline.npz'}; pictures: {out}")
