"""From stacks of beads to a PSF: spline, astigmatic Gaussian, pictures and numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.base import section_to_yaml
from hdsmlm.config.bead_calibration import BeadCalibrationConfig
from hdsmlm.config.psf import SplinePsfConfig
from hdsmlm.errors import ConfigError
from hdsmlm.estimation.astigmatism import AstigmatismFit, fit_astigmatism
from hdsmlm.estimation.bead_alignment import register
from hdsmlm.estimation.bead_model import BeadModel, covered_planes, fit_model, solve_weights
from hdsmlm.estimation.bead_planes import fit_planes
from hdsmlm.estimation.beads import BeadPlace, BeadVolumes, cut_beads, find_beads
from hdsmlm.imaging.spline import SplinePsf, cells_from_bsplines
from hdsmlm.imaging.spline_file import spline_arrays
from hdsmlm.io.movies import open_movie
from hdsmlm.io.writing import atomic_path, output_folder
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.provenance import Provenance, file_sha256

_MISFIT_FLOOR, _MISFIT_FACTOR = 0.1, 2.0
_Z_SPREAD = 0.25
_FEWEST_FOR_HALVES = 4
_PLAUSIBLE_DEPTH_NM = (100.0, 1200.0)
"""Focal depths of the objectives that single molecules are seen with, generously."""
_CENTRAL = 0.7
"""Share of the z range, in the middle, over which the residuals are summed up."""


@dataclass(frozen=True)
class ZAccuracy:
    """Fitted against true depth, one row per bead; NaN where a plane lies outside of the table.

    Parameters
    ----------
    stage_nm, fitted_nm : array, shape (bead, plane)
        Depth by the stage, from the bead's own focus; depth fitted to the single plane.
    held_out : bool
        Whether each bead was fitted with a model made of other beads.
    """

    stage_nm: NDArray[np.float64]
    fitted_nm: NDArray[np.float64]
    held_out: bool

    @property
    def residual_nm(self) -> NDArray[np.float64]:
        """Fitted minus stage."""
        return self.fitted_nm - self.stage_nm

    def worst_bias_nm(self, bins: int = 10) -> float:
        """Return the mean residual of largest size over equal bins of the middle 70 %.

        The mean over all depths is near 0 by construction: each bead's own focus was fitted.
        """
        low, high = np.nanmin(self.stage_nm), np.nanmax(self.stage_nm)
        edges = 0.5 * (low + high) + 0.5 * _CENTRAL * (high - low) * np.linspace(-1, 1, bins + 1)
        means = [
            float(np.mean(self.residual_nm[(self.stage_nm >= a) & (self.stage_nm < b)]))
            for a, b in pairwise(edges)
            if ((self.stage_nm >= a) & (self.stage_nm < b)).any()
        ]
        return max(means, key=abs)

    def in_middle(self) -> NDArray[np.float64]:
        """Return the residuals of the middle 70 % of the range."""
        low, high = np.nanmin(self.stage_nm), np.nanmax(self.stage_nm)
        half = 0.5 * _CENTRAL * (high - low)
        near = np.abs(self.stage_nm - 0.5 * (low + high)) <= half
        return self.residual_nm[near & np.isfinite(self.residual_nm)]


@dataclass(frozen=True)
class BeadCalibration:
    """What a calibration found; ``places`` includes the beads that were not used, with reasons."""

    psf: SplinePsf
    model: BeadModel
    volumes: BeadVolumes
    places: tuple[BeadPlace, ...]
    accuracy: ZAccuracy
    astigmatism: AstigmatismFit
    notes: tuple[str, ...]


def calibrate_psf(
    paths: list[Path],
    config: BeadCalibrationConfig,
    out: Path,
    listener: Listener = silent,
) -> BeadCalibration:
    """Measure the PSF and write ``spline.npz``, YAML sections, numbers and pictures into ``out``.

    Parameters
    ----------
    paths : list of Path
        Stacks of the same beads or of different ones, with the same z step.
    config : BeadCalibrationConfig
        Step, pixel size, regions.
    out : Path
        Folder; is created.
    listener : callable, optional
        Hears the progress.

    Raises
    ------
    ConfigError
        When the pixel size is not known.
    MovieError
        For stacks with NaN or too few planes, and when no beads are found.
    """
    stacks, pixel_size_nm = _read(paths, config)
    out = output_folder(Path(out))
    parents = {path.name: file_sha256(path) for path in paths if path.is_file()}
    provenance = Provenance("calibrate", config.model_dump(mode="json"), parents)
    result = measure_psf(stacks, config, pixel_size_nm, listener)
    described = json.loads(provenance.to_json())
    result = replace(result, psf=replace(result.psf, provenance=described))
    from hdsmlm.pipelines.calibrate_psf_pictures import write_pictures

    path = out / "spline.npz"
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **spline_arrays(result.psf))  # type: ignore[arg-type]
    sections = {"spline.yaml": section_to_yaml(
        SplinePsfConfig(path=path.resolve(), pixel_size_nm=pixel_size_nm)
    )}  # fmt: skip
    if result.astigmatism.config is not None:
        sections["astigmatic.yaml"] = section_to_yaml(result.astigmatism.config)
    texts = {
        **sections,
        "summary.json": json.dumps({**summary(result), "provenance": described}, indent=2),
        "summary.txt": summary_text(result),
    }
    for name, text in texts.items():
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_pictures(result, stacks, out)
    listener(Event("calibrate", 4, 4, f"{len(result.volumes.places)} beads", "steps"))
    return result


def _read(
    paths: list[Path], config: BeadCalibrationConfig
) -> tuple[list[NDArray[np.generic]], float]:
    stacks, sizes = [], []
    for path in paths:
        with open_movie(path) as reader:
            stacks.append(reader.read(0, reader.info.n_frames))
            if reader.info.pixel_size_nm is not None:
                sizes.append(reader.info.pixel_size_nm)
    if config.pixel_size_nm is not None:
        return stacks, config.pixel_size_nm
    if not sizes:
        raise ConfigError(
            "the pixel size of the bead stack is not in its metadata; give --pixel-size NM (in the "
            "sample: camera pixel divided by magnification)"
        )
    if max(sizes) > 1.01 * min(sizes):
        raise ConfigError(
            f"the stacks have pixels of {min(sizes):g} to {max(sizes):g} nm; calibrate stacks of "
            "one pixel size, or give --pixel-size"
        )
    return stacks, sizes[0]


def measure_psf(
    stacks: list[NDArray[np.generic]],
    config: BeadCalibrationConfig,
    pixel_size_nm: float,
    listener: Listener = silent,
) -> BeadCalibration:
    """Measure the PSF of stacks in memory; see :func:`calibrate_psf`."""
    places = [
        place for i, stack in enumerate(stacks) for place in find_beads(stack, config, number=i)
    ]
    volumes = cut_beads(stacks, places, config.radius_px)
    listener(Event("calibrate", 1, 4, f"{len(volumes.places)} beads found", "steps"))
    beads = register(volumes.adu)
    far = np.abs(beads.z_planes - np.median(beads.z_planes)) > _Z_SPREAD * len(stacks[0])
    faults = np.where(far, "in focus at another depth than the others", "")
    for _ in range(3):
        kept = faults == ""
        model = fit_model(volumes.adu[kept], beads.take(kept), config)
        worst = max(_MISFIT_FLOOR, _MISFIT_FACTOR * float(np.median(model.misfit)))
        odd = np.flatnonzero(kept)[model.misfit > worst]
        if not len(odd):
            break
        faults[odd] = "shape differs from the others"
    rejected = {p: str(f) for p, f in zip(volumes.places, faults, strict=True) if f}
    places = [replace(p, rejected=rejected.get(p, p.rejected)) for p in places]
    used = tuple(p for p in volumes.places if p not in rejected)
    volumes = BeadVolumes(used, volumes.adu[faults == ""])
    if len(model.beads) != len(used):  # a bead was put aside in the last round
        model = fit_model(volumes.adu, beads.take(faults == ""), config)
    listener(Event("calibrate", 2, 4, f"{len(used)} beads aligned", "steps"))
    psf = _spline(model, model.weights, config, pixel_size_nm)
    accuracy = z_accuracy(psf, model, volumes, config)
    listener(Event("calibrate", 3, 4, "single planes fitted", "steps"))
    astigmatism = fit_astigmatism(psf)
    result = BeadCalibration(psf, model, volumes, tuple(places), accuracy, astigmatism, ())
    return replace(result, notes=_notes(result))


def _spline(
    model: BeadModel,
    weights: NDArray[np.float64],
    config: BeadCalibrationConfig,
    pixel_size_nm: float,
) -> SplinePsf:
    return SplinePsf(
        cells_from_bsplines(weights),
        model.grid.first_planes * config.z_step_nm,
        model.grid.cell_planes * config.z_step_nm,
        pixel_size_nm,
    )


def z_accuracy(
    psf: SplinePsf, model: BeadModel, volumes: BeadVolumes, config: BeadCalibrationConfig
) -> ZAccuracy:
    """Fit every plane of every bead on its own.

    With four beads or more each is fitted with a model made of the other half of the beads, so that
    no bead is compared with itself.
    """
    n, planes, size, _ = volumes.adu.shape
    halves = n >= _FEWEST_FOR_HALVES
    models = [psf]
    if halves:
        models = []
        for parity in (0, 1):
            others = np.arange(n) % 2 != parity
            weights = solve_weights(
                volumes.adu[others], model.beads.take(others), model.grid, config.smoothing
            )
            models.append(_spline(model, weights, config, psf.pixel_size_nm))
    trim = max(size // 2 - config.fit_radius_px, 0)
    stage, fitted = np.full((n, planes), np.nan), np.full((n, planes), np.nan)
    for b in range(n):
        used = covered_planes(planes, model.beads, b, model.grid)
        region = volumes.adu[b][used, trim : size - trim, trim : size - trim]
        fits = fit_planes(
            models[b % len(models)], np.ascontiguousarray(region), model.beads.background[b]
        )
        stage[b, used] = (np.flatnonzero(used) - model.beads.z_planes[b]) * config.z_step_nm
        fitted[b, used] = fits.z_nm
    return ZAccuracy(stage, fitted, halves)


def _notes(result: BeadCalibration) -> tuple[str, ...]:
    """Remarks on what a user may have to change."""
    notes = []
    config, psf = result.astigmatism.config, result.psf
    if len(result.volumes.places) < _FEWEST_FOR_HALVES:
        notes.append(
            f"only {len(result.volumes.places)} beads: their z residuals are those of the beads "
            "that made the model; record ten or more"
        )
    low, high = _PLAUSIBLE_DEPTH_NM
    if config is None or not low < config.focal_depth_nm < high:
        found = "nothing of the kind" if config is None else f"{config.focal_depth_nm:.0f} nm"
        notes.append(
            "the depth over which the PSF's squared width doubles was found to be "
            f"{found}, where {low:g} to {high:g} nm are usual; is --z-step right?"
        )
    ends = (psf.z_min_nm, psf.z_max_nm)
    if not ends[0] < 0 < ends[1]:
        notes.append("the focus lies outside of the planes that all beads share; record it again")
    return tuple(notes)


def summary(result: BeadCalibration) -> dict[str, Any]:
    """Return the numbers of a calibration as plain values."""
    psf, residual = result.psf, result.accuracy.in_middle()
    fit = result.astigmatism
    beads = result.model.beads
    return {
        "beads_used": len(result.volumes.places),
        "beads_rejected": [
            {"stack": p.stack, "row": p.row, "column": p.column, "reason": p.rejected}
            for p in result.places
            if p.rejected
        ],
        "pixel_size_nm": psf.pixel_size_nm,
        "z_min_nm": round(psf.z_min_nm, 3),
        "z_max_nm": round(psf.z_max_nm, 3),
        "z_cell_nm": round(psf.z_step_nm, 4),
        "focus_plane": [round(float(z), 3) for z in beads.z_planes],
        "misfit": [round(float(m), 4) for m in result.model.misfit],
        "z_residual_middle_70_percent": {
            "held_out_beads": result.accuracy.held_out,
            "mean_nm": round(float(residual.mean()), 3),
            "standard_deviation_nm": round(float(residual.std()), 3),
            "median_absolute_nm": round(float(np.median(np.abs(residual))), 3),
            "worst_mean_of_10_bins_nm": round(result.accuracy.worst_bias_nm(), 3),
            "within_50_nm": round(float((np.abs(residual) < 50).mean()), 5),
        },
        "astigmatic_gaussian": {
            "section": fit.config.model_dump() if fit.config else None,
            "its_z_0_on_the_splines_scale_nm": round(fit.middle_nm, 2),
            "rms_of_widths_px": round(fit.rms_px, 4),
        },
        "notes": list(result.notes),
    }


def summary_text(result: BeadCalibration) -> str:
    """Return the numbers as text for a person."""
    values = summary(result)
    z = values["z_residual_middle_70_percent"]
    model = "a model made of other beads" if z["held_out_beads"] else "the model they made"
    lines = [
        f"{values['beads_used']} beads used, {len(values['beads_rejected'])} not",
        f"z from {values['z_min_nm']:.0f} to {values['z_max_nm']:.0f} nm in cells of "
        f"{values['z_cell_nm']:.1f} nm; 0 is in focus, z grows with the planes of the stack",
        f"fitted z minus stage z, middle 70 % of the range, with {model}: "
        f"worst mean of ten bins {z['worst_mean_of_10_bins_nm']:+.1f} nm, "
        f"standard deviation {z['standard_deviation_nm']:.1f} nm, "
        f"median of absolute values {z['median_absolute_nm']:.1f} nm",
    ]
    fit = result.astigmatism
    if fit.config is not None:
        lines.append(
            f"astigmatic Gaussian: sigma {fit.config.sigma_px:.3f} px, foci at "
            f"±{abs(fit.config.focus_offset_nm):.0f} nm, depth {fit.config.focal_depth_nm:.0f} nm; "
            f"widths off the curve by {fit.rms_px:.3f} px rms"
        )
    lines += [f"not used: bead at row {p['row']}, column {p['column']}: {p['reason']}"
              for p in values["beads_rejected"]]  # fmt: skip
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines) + "\n"
