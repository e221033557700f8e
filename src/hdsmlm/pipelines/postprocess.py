"""From a table to a table, a number or a picture: filter, link, drift, FRC, NeNA, render."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hdsmlm.config.postprocessing import (
    DriftConfig,
    FrcConfig,
    LinkConfig,
    NenaConfig,
    RenderConfig,
)
from hdsmlm.errors import OutputError, TableError
from hdsmlm.io.tables import read_table, read_table_info, write_table
from hdsmlm.io.tables.registry import format_to_write
from hdsmlm.io.writing import atomic_path
from hdsmlm.postprocessing.drift import Drift, estimate_drift
from hdsmlm.postprocessing.filtering import filter_emitters
from hdsmlm.postprocessing.frc import FourierRingCorrelation, fourier_ring_correlation
from hdsmlm.postprocessing.linking import blink_table, link_blinks
from hdsmlm.postprocessing.nena import Nena, nearest_neighbour_precision
from hdsmlm.postprocessing.pictures import write_png, write_tiff
from hdsmlm.postprocessing.plots import plot_drift, plot_frc, plot_nena
from hdsmlm.postprocessing.render import Rendering, render
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Listener, silent
from hdsmlm.records.provenance import Provenance, file_sha256


@dataclass(frozen=True)
class TableJob:
    """A table that is read and the files that are written.

    Parameters
    ----------
    table : Path
        Table of any known program.
    out : tuple of Path
        Files to write; the suffix says how.
    pixel_size_nm : float, optional
        Camera pixel, for tables that count in pixels and do not say it.
    overwrite : bool
        Replace files that exist.
    """

    table: Path
    out: tuple[Path, ...] = ()
    pixel_size_nm: float | None = None
    overwrite: bool = False

    def read(self, suffixes: Sequence[str] = (), extra: Sequence[Path] = ()) -> Emitters:
        """Check the names of the outputs, then return the table, which must have rows.

        Raises
        ------
        OutputError
            For an output that exists, is the input, or (with ``suffixes``) has another suffix.
        TableError
            When the table cannot be read or is empty.
        """
        for path in (*self.out, *extra):
            self._check(path)
        for path in self.out:
            if suffixes and path.suffix.lower() not in suffixes:
                raise OutputError(f"{path}: a name that ends in {' or '.join(suffixes)} was wanted")
            if not suffixes:
                format_to_write(path, None)
        emitters = read_table(self.table, pixel_size_nm=self.pixel_size_nm)
        if len(emitters) == 0:
            raise TableError(f"{self.table}: the table has no rows; there is nothing to do")
        return emitters

    def _check(self, path: Path) -> None:
        if not path.exists():
            return
        if self.table.exists() and path.samefile(self.table):
            raise OutputError(f"{path} is the table that is read; give another name")
        if not self.overwrite:
            raise OutputError(f"{path} exists; give another name, or add --overwrite")

    def write(self, emitters: Emitters, path: Path, stage: str, config: Mapping[str, Any]) -> None:
        """Write a table with what the input says of its movie, and how it was made."""
        info = read_table_info(self.table)
        made_by = None if info.provenance is None else dataclasses.asdict(info.provenance)
        provenance = Provenance(
            stage, {**config, "made_by": made_by}, {self.table.name: file_sha256(self.table)}
        )
        info = dataclasses.replace(
            info, pixel_size_nm=self.pixel_size_nm or info.pixel_size_nm, provenance=provenance
        )
        write_table(emitters, path, info=info)


@dataclass(frozen=True)
class Kept:
    """Rows before and after a step."""

    before: int
    after: int


def filter_table(job: TableJob, expression: str) -> Kept:
    """Write the rows that satisfy a condition; see :mod:`hdsmlm.postprocessing.expressions`."""
    emitters = job.read()
    kept = filter_emitters(emitters, expression)
    for path in job.out:
        job.write(kept, path, "filter", {"expression": expression})
    return Kept(len(emitters), len(kept))


def link_table(
    job: TableJob, config: LinkConfig, relink: bool = False, localizations: Path | None = None
) -> tuple[Kept, bool]:
    """Write one row per blink; return the counts, and whether the table's own blinks were used.

    Parameters
    ----------
    job : TableJob
        The table and the table of blinks.
    config : LinkConfig
        Distance and dark frames.
    relink : bool
        Link anew where the table has ``blink_id``.
    localizations : Path, optional
        Also write the localizations with their ``blink_id`` here.
    """
    if localizations is not None:
        format_to_write(localizations, None)
    emitters = job.read(extra=[localizations] if localizations else [])
    known = "blink_id" in emitters and not relink
    linked = emitters if known else link_blinks(emitters, config)
    blinks = blink_table(linked)
    settings = {**config.model_dump(mode="json"), "own_blinks": known}
    if localizations is not None:
        job.write(linked, localizations, "link", settings)
    for path in job.out:
        job.write(blinks, path, "link", settings)
    return Kept(len(emitters), len(blinks)), known


def drift_files(out: Path) -> tuple[Path, Path]:
    """Return the names of the drift's csv and plot beside a corrected table."""
    return out.with_name(f"{out.stem}.drift.csv"), out.with_name(f"{out.stem}.drift.png")


def correct_drift(
    job: TableJob, config: DriftConfig, apply: Path | None = None, listener: Listener = silent
) -> Drift:
    """Write the corrected table, and beside it the drift as csv and plot.

    Parameters
    ----------
    job : TableJob
        The table and the corrected one.
    config : DriftConfig
        Method and settings.
    apply : Path, optional
        Take the drift from this csv of an earlier run instead of measuring it.
    listener : Listener
        Hears the progress.
    """
    beside = [path for out in job.out for path in drift_files(out)]
    emitters = job.read(extra=beside)
    if apply is not None:
        drift = read_drift(apply)
    elif config.method == "comet":
        from hdsmlm.postprocessing.comet import estimate_drift_comet

        drift = estimate_drift_comet(emitters, config)
    else:
        drift = estimate_drift(emitters, config, listener)
    settings = {**config.model_dump(mode="json"), "applied": str(apply) if apply else None}
    for out in job.out:
        csv, plot = drift_files(out)
        write_drift(drift, csv)
        plot_drift(drift, plot)
        job.write(drift.apply(emitters), out, "drift", settings)
    return drift


def write_drift(drift: Drift, path: Path) -> None:
    """Write frame (from 1, as in csv tables) and drift in nm."""
    columns = {"frame": np.arange(1, len(drift.x_nm) + 1), "x [nm]": drift.x_nm}
    columns["y [nm]"] = drift.y_nm
    if drift.z_nm is not None:
        columns["z [nm]"] = drift.z_nm
    _write_csv(columns, path)


def read_drift(path: Path) -> Drift:
    """Read the drift that :func:`write_drift` wrote.

    Raises
    ------
    TableError
        When the file is missing or its frames are not 1, 2, 3, ...
    """
    table = read_table(path, first_frame=1)
    if len(table) == 0 or (table["frame"] != np.arange(len(table))).any():
        raise TableError(
            f"{path}: a drift was wanted, one row for each frame from 1 on, with x [nm] and "
            "y [nm]; give the .drift.csv that an earlier run wrote"
        )
    axial = table["z_nm"] if "z_nm" in table.names else None
    return Drift(table["x_nm"], table["y_nm"], axial)


def measure_frc(
    job: TableJob, config: FrcConfig, listener: Listener = silent
) -> FourierRingCorrelation:
    """Compute the Fourier ring correlation; write curve (.csv), plot (.png), numbers (.json)."""
    result = fourier_ring_correlation(job.read((".png", ".csv", ".json")), config, listener)
    for path in job.out:
        if path.suffix.lower() == ".png":
            plot_frc(result, config.threshold, path)
        elif path.suffix.lower() == ".csv":
            _write_csv(
                {
                    "frequency [1/nm]": result.frequency_per_nm,
                    "correlation": result.correlation,
                    "smoothed": result.smoothed,
                },
                path,
            )
        else:
            numbers = {"resolution_nm": result.resolution_nm, "spread_nm": result.spread_nm}
            _write_json(job, "frc", config.model_dump(mode="json"), numbers, path)
    return result


def measure_nena(job: TableJob, config: NenaConfig) -> Nena:
    """Measure the precision; write the histogram (.csv), plot (.png), numbers (.json)."""
    result = nearest_neighbour_precision(job.read((".png", ".csv", ".json")), config)
    for path in job.out:
        if path.suffix.lower() == ".png":
            plot_nena(result, path)
        elif path.suffix.lower() == ".csv":
            _write_csv(
                {
                    "distance [nm]": result.distance_nm,
                    "density [1/nm]": result.density_per_nm,
                    "fit [1/nm]": result.fitted_per_nm,
                },
                path,
            )
        else:
            numbers = {
                "precision_nm": result.precision_nm,
                "standard_error_nm": result.standard_error_nm,
                "n_pairs": result.n_pairs,
            }
            _write_json(job, "nena", config.model_dump(mode="json"), numbers, path)
    return result


def render_table(job: TableJob, config: RenderConfig, listener: Listener = silent) -> Rendering:
    """Render the table; write a picture (.png) or 32-bit floats (.tif, .tiff)."""
    rendering = render(job.read((".png", ".tif", ".tiff")), config, listener)
    for path in job.out:
        if path.suffix.lower() == ".png":
            write_png(rendering, config, path)
        else:
            write_tiff(rendering, path)
    return rendering


def _write_csv(columns: Mapping[str, Any], path: Path) -> None:
    import polars as pl

    with atomic_path(path) as temporary:
        pl.DataFrame(dict(columns)).write_csv(temporary, float_precision=6)


def _write_json(
    job: TableJob, stage: str, config: Mapping[str, Any], numbers: Mapping[str, Any], path: Path
) -> None:
    provenance = Provenance(stage, config, {job.table.name: file_sha256(job.table)})
    finite = {k: v if np.isfinite(v) else None for k, v in numbers.items()}
    record = {**finite, "provenance": dataclasses.asdict(provenance)}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
