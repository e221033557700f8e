"""What ``hdsmlm localize`` gives back: its tables, and a summary of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hdsmlm.bundle.manifest import TrainedRange
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.psf import GaussianPsfConfig
from hdsmlm.errors import OutputError
from hdsmlm.io.tables import TableInfo, TableWriter, open_table_writer
from hdsmlm.io.tables.picasso import require_free_sidecar
from hdsmlm.io.tables.registry import format_to_write
from hdsmlm.io.writing import output_folder
from hdsmlm.records.emitters import Emitters


@dataclass(frozen=True)
class LocalizeSummary:
    """What a run gave.

    Parameters
    ----------
    localizations, blinks : int
        Rows and, of the joint fit, blinks.
    frames : int
        Frames that were localized.
    density_per_um2 : float
        Localizations per frame and µm².
    median_photons, median_uncertainty_nm : float
        NaN for an empty table.
    flagged : int
        Rows with a flag.
    seconds : float
        Duration of this call.
    resumed_frames : int
        Frames that an earlier call had finished.
    microscope : MicroscopeConfig
        Camera and PSF that were used.
    notes : tuple of str
        What the user should know.
    warnings : tuple of str
        What makes the results doubtful.
    """

    localizations: int
    blinks: int
    frames: int
    density_per_um2: float
    median_photons: float
    median_uncertainty_nm: float
    flagged: int
    seconds: float
    resumed_frames: int
    microscope: MicroscopeConfig
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return a short text for a person."""
        camera, psf = self.microscope.camera, self.microscope.psf
        lines = [
            f"localizations      {self.localizations} in {self.frames} frames, "
            f"{self.density_per_um2:.3g} per um2 and frame",
            f"median             {self.median_photons:.0f} photons, standard error "
            f"{self.median_uncertainty_nm:.1f} nm"
            if self.localizations
            else "nothing was found   look at the overlays of `hdsmlm predict`; check the camera",
            f"flagged            {self.flagged} to be used with care (column `flags` says why)",
            f"microscope         {camera.kind}, {psf.kind if psf else 'no'} PSF"
            + (f" of {psf.sigma_px:.2f} px" if isinstance(psf, GaussianPsfConfig) else ""),
            f"speed              {(self.frames - self.resumed_frames) / self.seconds:.1f} frames/s "
            f"in {self.seconds:.1f} s",
        ]
        if self.blinks:
            lines.insert(1, f"blinks             {self.blinks}")
        if self.resumed_frames:
            lines.append(f"resumed            {self.resumed_frames} frames were finished before")
        lines += [f"WARNING: {text}" for text in self.warnings]
        lines += [f"note: {text}" for text in self.notes]
        return "\n".join(lines) + "\n"


class Tally:
    """Counts and medians of a table that is written piece by piece."""

    _KEPT = 100_000
    _HALF_SIDE_PX = 2.5

    def __init__(self, pixel_size_nm: float) -> None:
        self.rows = self.flagged = self.blinks = 0
        self._pixel_size_nm, self._neighbours = pixel_size_nm, 0
        self._samples: dict[str, list[NDArray[np.float64]]] = {}

    def add(self, rows: Emitters) -> None:
        """Count the rows; medians come from the first 100,000."""
        self.rows += len(rows)
        self._neighbours += self._pairs(rows)
        self.flagged += int((rows["flags"] != 0).sum())
        for name in ("photons", "uncertainty_x_nm"):
            pieces = self._samples.setdefault(name, [])
            if sum(map(len, pieces)) < self._KEPT:
                pieces.append(np.asarray(rows[name]))

    def median(self, name: str) -> float:
        """Return the median of a column, NaN without rows."""
        pieces = self._samples.get(name, [])
        return float(np.median(np.concatenate(pieces))) if sum(map(len, pieces)) else float("nan")

    def density_warnings(self, trained: TrainedRange) -> tuple[str, ...]:
        """Return a warning where emitters stand closer than the model was trained for."""
        area_um2 = (2 * self._HALF_SIDE_PX * self._pixel_size_nm / 1000) ** 2
        density = self._neighbours / max(self.rows, 1) / area_um2
        highest = trained.density_per_um2[1]
        if density <= highest:
            return ()
        return (
            "outside the model's trained range: the density around a localization is "
            f"{density:.3g} per um2 and frame, trained up to {highest:g}; expect missed and merged "
            "emitters",
        )

    def _pairs(self, rows: Emitters) -> int:
        """Return how many others the rows have in their frame and the 5×5 pixels around them."""
        places = np.column_stack([rows["x_nm"], rows["y_nm"]]) / self._pixel_size_nm
        apart = rows["frame"] * 4.0 * self._HALF_SIDE_PX
        points = np.column_stack([places, apart])
        if len(rows) == 0:
            return 0
        tree = cKDTree(points)
        return int(tree.count_neighbors(tree, self._HALF_SIDE_PX, p=np.inf)) - len(rows)


class Writers:
    """The tables of a run; each takes its name only when the whole run succeeded.

    Parameters
    ----------
    paths : mapping of str to Path
        Where to; a table without a path is not written.
    info : TableInfo
        Movie and provenance.
    """

    def __init__(self, paths: Mapping[str, Path], info: TableInfo) -> None:
        self._paths = paths
        self._info = info
        self._stack = ExitStack()
        self._open: dict[str, TableWriter] = {}

    def __enter__(self) -> Self:
        return self

    def append(self, kind: str, table: Emitters) -> None:
        """Write rows; the first table, even an empty one, says which columns there are."""
        if kind not in self._paths:
            return
        if kind not in self._open:
            writer = open_table_writer(self._paths[kind], table.names, info=self._info)
            self._open[kind] = self._stack.enter_context(writer)
        self._open[kind].append(table)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def check_outputs(paths: Mapping[str, Path], *, overwrite: bool) -> None:
    """Refuse, before the work begins, tables that could not be written after it.

    Raises
    ------
    OutputError
        When a table is there already, two have the same name, or a folder cannot be made.
    TableError
        For a suffix of no known kind.
    """
    for path in paths.values():
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists; choose another name, or give --overwrite")
        form = format_to_write(path, None)
        output_folder(path.parent)
        if form.name == "picasso":
            require_free_sidecar(path)
    if len({path.resolve() for path in paths.values()}) < len(paths):
        raise OutputError("two tables have the same name; choose another for one of them")
