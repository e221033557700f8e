"""Plots of drift, FRC and NeNA as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hdsmlm.io.writing import atomic_path
from hdsmlm.postprocessing.drift import Drift
from hdsmlm.postprocessing.frc import FourierRingCorrelation
from hdsmlm.postprocessing.nena import Nena

_PURPLE, _BLUE, _RED, _GREY = "#8e3fd0", "#2d8fe8", "#e5533d", "#8a8f98"


def plot_drift(drift: Drift, path: Path) -> None:
    """Write the drift against the frame."""
    figure, axes = _figure()
    frames = np.arange(len(drift.x_nm))
    for name, values, colour in (
        ("x", drift.x_nm, _PURPLE),
        ("y", drift.y_nm, _BLUE),
        ("z", drift.z_nm, _RED),
    ):
        if values is not None:
            axes.plot(frames, values, color=colour, label=name)
    axes.set(xlabel="frame", ylabel="drift (nm)")
    _save(figure, axes, path)


def plot_frc(result: FourierRingCorrelation, threshold: float, path: Path) -> None:
    """Write the FRC curve with its threshold and the resolution."""
    figure, axes = _figure()
    per_um = result.frequency_per_nm * 1000
    axes.plot(per_um[1:], result.correlation[1:], color=_GREY, lw=0.6, alpha=0.6)
    axes.plot(per_um[1:], result.smoothed[1:], color=_PURPLE, label="correlation")
    axes.axhline(threshold, color=_RED, lw=1, label=f"threshold {threshold:.3g}")
    if np.isfinite(result.resolution_nm):
        label = f"resolution {result.resolution_nm:.1f} nm"
        axes.axvline(1000 / result.resolution_nm, color=_BLUE, lw=1, label=label)
    axes.set(xlabel="spatial frequency (1/µm)", ylabel="FRC", ylim=(-0.2, 1.05))
    _save(figure, axes, path)


def plot_nena(result: Nena, path: Path) -> None:
    """Write the histogram of the distances and the fit."""
    figure, axes = _figure()
    width = result.distance_nm[1] - result.distance_nm[0]
    axes.bar(result.distance_nm, result.density_per_nm, width, color=_GREY, alpha=0.5)
    label = f"fit, precision {result.precision_nm:.2f} nm"
    axes.plot(result.distance_nm, result.fitted_per_nm, color=_PURPLE, label=label)
    axes.set(xlabel="distance to the nearest in the next frame (nm)", ylabel="density (1/nm)")
    _save(figure, axes, path)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, axes: Any, path: Path) -> None:
    axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
