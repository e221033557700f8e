"""Live: localize while the microscope writes; blocks of new frames are answered within seconds.

Each block is localized frame by frame as ``hdsmlm localize --fit frame`` would, with the frames
around it that the network sees. Finished blocks are kept, so that a killed run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import hdsmlm
from hdsmlm.bundle import Bundle, load_bundle
from hdsmlm.config.live import LiveConfig
from hdsmlm.config.microscope import MicroscopeConfig, load_microscope
from hdsmlm.errors import ConfigError, MovieError
from hdsmlm.fitting.frame_fit import fit_frames
from hdsmlm.fitting.likelihood import poisson_data
from hdsmlm.imaging.build import build_camera, build_psf
from hdsmlm.imaging.camera import MAX_ADU
from hdsmlm.inference.chunk_store import ChunkResult, ChunkStore
from hdsmlm.inference.decode import decode
from hdsmlm.inference.engines import build_engine
from hdsmlm.inference.predictor import Predictor
from hdsmlm.io.movies import ArrayMovie
from hdsmlm.io.movies.growing import GrowingMovie
from hdsmlm.io.tables import TableInfo, open_table_writer
from hdsmlm.normalization import fit_normalizer
from hdsmlm.pipelines.localize_microscope import choose_microscope
from hdsmlm.pipelines.watching import Watcher
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.provenance import Provenance
from hdsmlm.simulation.recording import measured_maps
from hdsmlm.units import density_per_um2

STAGE = "live"


@dataclass(frozen=True)
class Gauge:
    """What a microscope wants to know now.

    Parameters
    ----------
    frame : int
        Frames that are localized.
    localizations : int
        In all.
    density_per_um2 : float
        Localizations per µm² and frame, of all frames.
    density_last_frames : float
        The same of the last block.
    behind_s : float
        Time from the sight of the last localized frame to its answer.
    """

    frame: int
    localizations: int
    density_per_um2: float
    density_last_frames: float
    behind_s: float


class LiveWatcher(Watcher, Protocol):
    """Sees localizations, count maps and the gauge."""

    def gauge(self, gauge: Gauge) -> None:
        """See the gauge after a block."""


@dataclass(frozen=True)
class LiveJob:
    """What to follow and where the table goes.

    Parameters
    ----------
    path : Path
        Folder or TIFF file; it may still be empty or missing.
    out : Path
        The table.
    watcher : LiveWatcher
        Sees what is found.
    model : str or Path
        Name of a shipped model, or a bundle's folder.
    microscope : Path, str or MicroscopeConfig, optional
        Camera and PSF; None estimates them from the first frames.
    sigma_px : float, optional
        Width of a Gaussian PSF, in place of the microscope's PSF.
    pixel_size_nm : float, optional
        Side of a pixel in the sample; None: of the microscope or the movie.
    """

    path: Path
    out: Path
    watcher: LiveWatcher
    model: str | Path = "wolf"
    microscope: Path | str | MicroscopeConfig | None = None
    sigma_px: float | None = None
    pixel_size_nm: float | None = None


@dataclass(frozen=True)
class LiveSummary:
    """What a run gave."""

    frames: int
    localizations: int
    density_per_um2: float
    microscope: MicroscopeConfig
    notes: tuple[str, ...]


def follow_movie(
    job: LiveJob,
    config: LiveConfig | None = None,
    listener: Listener = silent,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> LiveSummary:
    """Localize a movie that grows until nothing is added any more; write the table.

    After Ctrl-C the table of what was localized is written before the interruption goes on.

    Raises
    ------
    MovieError, BundleError, ConfigError, OutputError
        For everything that the user can mend.
    """
    config = config or LiveConfig()
    movie = GrowingMovie(job.path)
    try:
        return _Run(job, config, movie, listener, clock, sleep).finish()
    finally:
        movie.close()


class _Run:
    """One run: waits, localizes blocks, writes the table."""

    def __init__(
        self,
        job: LiveJob,
        config: LiveConfig,
        movie: GrowingMovie,
        listener: Listener,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.job, self.config, self.movie, self.listener = job, config, movie, listener
        self.clock, self.sleep = clock, sleep
        self.bundle = load_bundle(job.model)
        given = job.microscope
        self.given = load_microscope(given) if isinstance(given, (Path, str)) else given
        inputs = {
            "path": str(job.path),
            "model": self.bundle.sha256,
            "config": config.model_dump(mode="json"),
            "microscope": None if self.given is None else self.given.model_dump(mode="json"),
            "sigma_px": job.sigma_px,
            "pixel_size_nm": job.pixel_size_nm,
            "version": hdsmlm.__version__,
        }
        self.inputs = inputs
        self.store = ChunkStore(job.out.parent / f"{job.out.name}.unfinished", inputs, discard=True)
        self.done = self.rows = self.blocks = 0
        self.seen_s: list[tuple[int, float]] = []
        self.lab: _Lab | None = None

    def finish(self) -> LiveSummary:
        """Follow to the end."""
        try:
            self._resume()
            for start, stop in self._blocks():
                self._localize(start, stop)
        except KeyboardInterrupt:
            if self.blocks:
                self._write()
            raise
        if not self.blocks:
            raise MovieError(
                f"{self.job.path.name}: no frames came within {self.config.idle_s:g} s; at least "
                f"{self.bundle.manifest.window_frames} are needed. Start the acquisition first"
            )
        self._write()
        self.store.remove()
        lab, density = self._settled(), self._density(self.rows, self.done)
        return LiveSummary(self.done, self.rows, density, lab.microscope, lab.notes)

    def _settled(self) -> _Lab:
        if self.lab is None:
            self.lab = _Lab(self)
        return self.lab

    def _resume(self) -> None:
        while self.store.has(self.blocks, with_map=False):
            result = self.store.result(self.blocks)
            self.job.watcher.rows(result.emitters)
            self.done += len(result.expected_per_frame)
            self.rows += len(result.emitters)
            self.blocks += 1

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Yield stretches of frames as soon as they can be localized; end when nothing comes."""
        margin = self.bundle.manifest.receptive_frames
        needed = max(
            self.bundle.manifest.window_frames,
            0 if self._is_complete(self.given) else self.config.estimate_frames,
        )
        last_s, there = self.clock(), -1
        while True:
            now = self.movie.look()
            if now > there:
                last_s, there = self.clock(), now
                self.seen_s.append((now, last_s))
                self.listener(Event(STAGE, self.done, now, "waiting for frames"))
            quiet_s = self.clock() - last_s
            while now >= needed and now - margin >= self.done + self.config.block_frames:
                yield self.done, self.done + self.config.block_frames
            least = self.bundle.manifest.window_frames
            is_late = quiet_s >= (self.config.flush_s if now >= needed else self.config.idle_s)
            if is_late and self.done < now and now >= least:
                yield self.done, now
                continue
            if quiet_s >= self.config.idle_s:
                return
            self.sleep(self.config.poll_s)

    def _is_complete(self, microscope: MicroscopeConfig | None) -> bool:
        return microscope is not None and (
            microscope.psf is not None or self.job.sigma_px is not None
        )

    def _localize(self, start: int, stop: int) -> None:
        table, count_map = self._settled().localize(start, stop)
        expected = (1 - count_map[:, 0]).sum(axis=(1, 2), dtype=np.float64)
        self.store.keep(self.blocks, ChunkResult(table, expected), None)
        self.blocks += 1
        self.done, self.rows = stop, self.rows + len(table)
        self.job.watcher.rows(table)
        self.job.watcher.count_map(start, count_map)
        seen = [at for frames, at in self.seen_s if frames >= stop]
        self.seen_s = [(frames, at) for frames, at in self.seen_s if frames >= stop]
        gauge = Gauge(
            frame=self.done,
            localizations=self.rows,
            density_per_um2=self._density(self.rows, self.done),
            density_last_frames=self._density(len(table), stop - start),
            behind_s=round(self.clock() - min(seen), 3) if seen else 0.0,
        )
        self.job.watcher.gauge(gauge)
        what = f"{gauge.density_last_frames:.3g} per um2 and frame"
        self.listener(Event(STAGE, self.done, self.movie.n_frames, what))

    def _density(self, rows: int, frames: int) -> float:
        lab = self._settled()
        return density_per_um2(rows / max(1, frames), *lab.shape, lab.pixel_size_nm)

    def _write(self) -> None:
        lab = self._settled()
        info = TableInfo(
            pixel_size_nm=lab.pixel_size_nm,
            n_frames=self.done,
            height=lab.shape[0],
            width=lab.shape[1],
            provenance=Provenance(
                STAGE, self.inputs, {f"model {self.bundle.manifest.name}": self.bundle.sha256}
            ),
        )
        tables = (self.store.result(index).emitters for index in range(self.blocks))
        first = next(tables)
        with open_table_writer(self.job.out, first.names, info=info) as writer:
            writer.append(first)
            for table in tables:
                writer.append(table)


class _Lab:
    """Microscope and network, settled when the first frames are there."""

    def __init__(self, run: _Run) -> None:
        self.config, self.movie, job = run.config, run.movie, run.job
        self.bundle: Bundle = run.bundle
        frames = self.movie.read(0, min(self.movie.n_frames, self.config.estimate_frames))
        self.shape = (frames.shape[1], frames.shape[2])
        sample = ArrayMovie(frames, pixel_size_nm=self.movie.pixel_size_nm, name=self.movie.name)
        self.microscope, self.notes = choose_microscope(
            sample, run.given, job.sigma_px, job.pixel_size_nm
        )
        pixel = job.pixel_size_nm or self.microscope.pixel_size_nm or self.movie.pixel_size_nm
        if pixel is None:
            raise ConfigError(
                f"{self.movie.name} does not say how wide its pixels are in the sample; give the "
                "pixel size in nm"
            )
        if self.microscope.psf is None:
            raise ConfigError("no point-spread function; give its width (sigma_px)")
        self.pixel_size_nm: float = pixel
        self.camera = build_camera(
            self.microscope.camera, self.shape, measured=measured_maps(self.microscope.camera)
        )
        self.psf = build_psf(self.microscope.psf, pixel)
        engine = build_engine(self.config.engine, self.bundle, precision=self.config.precision)
        self.predictor = Predictor(engine, self.bundle.manifest)
        self.decoding = self.config.decoding or self.bundle.manifest.decoding

    def localize(self, start: int, stop: int) -> tuple[Emitters, NDArray[np.float32]]:
        """Return the localizations of a block, with the movie's frame numbers, and its count map.

        Grey levels are those of the latest frames: light fades and stages drift.
        """
        margin = self.bundle.manifest.receptive_frames
        needed = self.bundle.manifest.window_frames
        high = min(self.movie.n_frames, max(stop + margin, needed))
        low = max(0, min(start - margin, high - needed))
        frames = self.movie.read(min(low, max(0, high - self.config.levels_frames)), high)
        normalizer = fit_normalizer(
            ArrayMovie(frames[-self.config.levels_frames :]),
            self.bundle.manifest.normalization.model_copy(update={"window_frames": None}),
        )
        seen = frames[len(frames) - (high - low) :]
        inner = slice(start - low, stop - low)
        count_map = self.predictor.predict(normalizer(seen, 0), inner)
        own = seen[inner]
        detections = decode(
            count_map, self.decoding, pixel_size_nm=self.pixel_size_nm, first_frame=0
        )
        largest = MAX_ADU if own.dtype == np.uint16 else np.inf
        result = fit_frames(
            detections, poisson_data(own, self.camera), self.psf, self.pixel_size_nm,
            self.config.frames, count_map, np.greater_equal(own, largest),
        )  # fmt: skip
        found = result.localizations
        return found.with_columns(frame=found["frame"] + start), count_map
