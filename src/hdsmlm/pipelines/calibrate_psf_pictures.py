"""Pictures by which a person judges a calibration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.estimation.bead_model import render
from hdsmlm.estimation.beads import contrast_projection
from hdsmlm.io.writing import atomic_path

if TYPE_CHECKING:
    from hdsmlm.pipelines.calibrate_psf import BeadCalibration

_DEPTHS = 5
_DPI = 110


def write_pictures(
    result: BeadCalibration, stacks: list[NDArray[np.generic]], out: Path
) -> tuple[Path, ...]:
    """Write beads.png, slices.png, z_accuracy.png and astigmatism.png into ``out``."""
    drawings = {
        "beads.png": lambda: _beads(result, stacks),
        "slices.png": lambda: _slices(result),
        "z_accuracy.png": lambda: _accuracy(result),
        "astigmatism.png": lambda: _astigmatism(result),
    }
    for name, draw in drawings.items():
        figure = draw()
        with atomic_path(out / name) as temporary:
            figure.savefig(temporary, format="png", dpi=_DPI)
    return tuple(out / name for name in drawings)


def _figure(rows: int, columns: int, size: tuple[float, float], **kwargs: Any) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def _beads(result: BeadCalibration, stacks: list[NDArray[np.generic]]) -> Any:
    from matplotlib.patches import Rectangle

    figure, axes = _figure(1, len(stacks), (5.0 * len(stacks), 5.2))
    radius = result.volumes.adu.shape[-1] // 2
    for number, (ax, stack) in enumerate(zip(axes[0], stacks, strict=True)):
        contrast = contrast_projection(stack)
        ax.imshow(np.sqrt(np.clip(contrast, 0, None)), cmap="gray")
        for place in (p for p in result.places if p.stack == number):
            corner = (place.column - radius - 0.5, place.row - radius - 0.5)
            colour = "#e5533d" if place.rejected else "#38b36b"
            ax.add_patch(
                Rectangle(corner, 2 * radius + 1, 2 * radius + 1, fill=False, color=colour, lw=1.4)
            )
            if place.rejected:
                ax.text(*corner, place.rejected, color=colour, fontsize=7, va="bottom")
        ax.set_title(f"stack {number}: used green, not used red")
        ax.set_xlabel("column (px)")
        ax.set_ylabel("row (px)")
    return figure


def _slices(result: BeadCalibration) -> Any:
    """One bead, the model at its place, and the difference: x-z and y-z, then planes."""
    b = int(np.argsort(result.model.misfit)[len(result.model.misfit) // 2])
    beads, grid, volume = result.model.beads, result.model.grid, result.volumes.adu[b]
    model = render(result.model.weights, result.volumes.adu.shape, beads, b, grid)
    light = (volume - beads.background[b]) / beads.amplitude[b]
    share = (model - beads.background[b]) / beads.amplitude[b]
    middle = volume.shape[-1] // 2
    step_nm = result.psf.z_step_nm / grid.cell_planes
    top, bottom = ((k - beads.z_planes[b]) * step_nm for k in (0, len(volume) - 1))
    inside = np.flatnonzero(share.any(axis=(1, 2)))
    chosen = np.linspace(inside[0], inside[-1], _DEPTHS).round().astype(int)
    kinds = (("bead", light), ("model", share), ("bead - model", light - share))
    figure, axes = _figure(3, 2 + _DEPTHS, (14.5, 6.6))
    for row, (name, data) in enumerate(kinds):
        peak = 1.0 if row < 2 else 0.25
        pictures = [data[:, middle, :], data[:, :, middle], *(data[k] for k in chosen)]
        references = [share[:, middle, :], share[:, :, middle], *(share[k] for k in chosen)]
        for column, (ax, picture, reference) in enumerate(
            zip(axes[row], pictures, references, strict=True)
        ):
            limit = peak * reference.max()
            extent = (-middle - 0.5, middle + 0.5, bottom, top) if column < 2 else None
            low, colours = (0, "magma") if row < 2 else (-limit, "RdBu_r")
            ax.imshow(
                picture, vmin=low, vmax=limit, cmap=colours, aspect="auto" if extent else "equal",
                extent=extent,
            )  # fmt: skip
            titles = (
                "x-z",
                "y-z",
                *(f"z {(k - beads.z_planes[b]) * step_nm:.0f} nm" for k in chosen),
            )
            ax.set_title(f"{name}: {titles[column]}" if column == 0 else titles[column], fontsize=9)
            if column >= 2:
                ax.set_xticks([])
                ax.set_yticks([])
        axes[row][0].set_ylabel("z (nm)")
        for ax, name in zip(axes[row], ("x (px)", "y (px)"), strict=False):
            ax.set_xlabel(name, fontsize=8)
    figure.suptitle("Each column has its own scale; differences from -25 to +25 % of its peak")
    return figure


def _accuracy(result: BeadCalibration) -> Any:
    figure, axes = _figure(2, 1, (8.5, 8.0), sharex=True)
    accuracy = result.accuracy
    upper, lower = axes[:, 0]
    for b, (stage, fitted) in enumerate(zip(accuracy.stage_nm, accuracy.fitted_nm, strict=True)):
        upper.plot(stage, fitted, ".", ms=3, label=f"bead {b}")
        lower.plot(stage, fitted - stage, ".", ms=3)
    ends = [np.nanmin(accuracy.stage_nm), np.nanmax(accuracy.stage_nm)]
    upper.plot(ends, ends, color="0.6", lw=0.8, zorder=0)
    middle, width = 0.5 * (ends[0] + ends[1]), 0.35 * (ends[1] - ends[0])
    lower.axhline(0, color="0.6", lw=0.8, zorder=0)
    lower.axvspan(middle - width, middle + width, color="0.93", zorder=-1)
    residual = accuracy.in_middle()
    spread = max(3 * residual.std(), 4 * np.median(np.abs(residual)), 5.0)
    lower.set_ylim(-2.5 * spread, 2.5 * spread)
    upper.set_ylabel("fitted z (nm)")
    lower.set_ylabel("fitted - stage (nm)")
    lower.set_xlabel("stage z from the bead's focus (nm)")
    if len(accuracy.stage_nm) <= 12:
        upper.legend(fontsize=7, markerscale=3)
    model = "a model of the other beads" if accuracy.held_out else "the model of the same beads"
    upper.set_title(
        f"single planes fitted with {model}; middle 70 %: mean {residual.mean():+.1f} nm, "
        f"standard deviation {residual.std():.1f} nm", fontsize=9,
    )  # fmt: skip
    return figure


def _astigmatism(result: BeadCalibration) -> Any:
    from hdsmlm.imaging.psf import AstigmaticPsf

    fit = result.astigmatism
    figure, axes = _figure(1, 1, (7.0, 4.6))
    ax = axes[0, 0]
    colours = ("#2d8fe8", "#e5533d")
    for name, width, colour in zip("xy", (fit.sigma_x_px, fit.sigma_y_px), colours, strict=True):
        ax.plot(fit.z_nm, width, ".", color=colour, label=f"sigma_{name} of the spline")
    if fit.config is not None:
        c = fit.config
        psf = AstigmaticPsf(c.sigma_px, c.focus_offset_nm, c.focal_depth_nm)
        z = np.linspace(fit.z_nm[fit.used].min(), fit.z_nm[fit.used].max(), 200)
        curves = psf.sigmas_px(z - fit.middle_nm)
        for name, curve, colour in zip("xy", curves, colours, strict=True):
            ax.plot(z, curve, color=colour, label=f"sigma_{name} of the curve")
    ax.set_ylim(0, 1.6 * max(fit.sigma_x_px[fit.used].max(), fit.sigma_y_px[fit.used].max()))
    ax.set_xlabel("z on the spline's scale (nm)")
    ax.set_ylabel("sigma (px)")
    ax.set_title(f"Gaussian widths; off the curve by {fit.rms_px:.3f} px rms", fontsize=9)
    ax.legend(fontsize=8)
    return figure
