"""Localize: from a movie, a model and a microscope to a table of localizations.

The network's count map is the prior of the fit. The movie is gone through in windows of frames on a
fixed grid; each finished window is kept in a work folder beside the table, so that memory does not
grow with the movie and a killed run goes on where it stopped, with the same rows in the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import hdsmlm
from hdsmlm.bundle import Bundle, load_bundle
from hdsmlm.compiled import is_compiled
from hdsmlm.config.base import parse_section
from hdsmlm.config.localize import LocalizeConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.errors import ConfigError, Interrupted
from hdsmlm.fitting.frame_fit import fit_frames
from hdsmlm.fitting.psf_kernels import fittable_psf
from hdsmlm.fitting.stitching import FrameSpan, Stitcher, plan_spans
from hdsmlm.fitting.tiles import BlinkFitter, WindowData
from hdsmlm.imaging.build import build_camera, build_psf
from hdsmlm.inference.chunk_store import ChunkResult, ChunkStore
from hdsmlm.inference.engines import build_engine
from hdsmlm.inference.predictor import Predictor
from hdsmlm.io.movies import open_movie
from hdsmlm.io.tables import TableInfo
from hdsmlm.machine import usable_cores
from hdsmlm.normalization import fit_normalizer
from hdsmlm.pipelines.localize_microscope import (
    calibration_sha256,
    choose_microscope,
    noise_notes,
    range_notes,
    require_baseline,
    settle_pixel_size,
)
from hdsmlm.pipelines.localize_output import LocalizeSummary, Tally, Writers, check_outputs
from hdsmlm.pipelines.localize_windows import WindowSource
from hdsmlm.pipelines.movie_inputs import (
    field_of_view,
    frame_range,
    movie_sha256,
    normalization_for,
)
from hdsmlm.pipelines.spread import ALONE, Progress, Share, Work, Workers, job_arguments, spread
from hdsmlm.pipelines.watching import Watcher
from hdsmlm.postprocessing.linking import blink_table
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.movie import MovieReader
from hdsmlm.records.provenance import Provenance
from hdsmlm.simulation.recording import measured_maps

_LATE_KERNEL = {"joint": "blink_quality.existence", "frame": "group_fit.fit_groups"}
"""What is there once the first fit of an installation has compiled its kernels, for a minute."""
STAGE = "localize"
CORE_PIXELS = 2**23
"""Pixels of a window's core at most, so that memory is bounded for large frames too."""
WAITING_PIXELS = 2**26
"""Pixels of the windows that are fitted or wait at a time, at most (some 25 bytes each)."""
_WITHOUT_THREADS: dict[str, bool | set[str]] = {
    "threads": True,
    "prediction": {"threads"},
    "frames": {"threads"},
}
"""What the result does not depend on: a run may be resumed with other numbers of threads."""


@dataclass(frozen=True)
class LocalizeJob:
    """What to localize and where to.

    Parameters
    ----------
    movie : Path, str or MovieReader
        A file, folder, pattern, or an open movie (which stays open).
    out : Path
        The table; its suffix says the kind of file.
    model : str or Path
        Name of a shipped model, or a bundle's folder.
    microscope : Path, str or MicroscopeConfig, optional
        Camera and PSF: a file, a preset, a config; None estimates them from the movie.
    sigma_px : float, optional
        Width of a Gaussian PSF, in place of the microscope's PSF.
    blinks : Path, optional
        Table of blinks, one row each (joint fit).
    alternatives : Path, optional
        Table of what was not chosen, with its posterior weight: faint blinks and further frames of
        blinks, or rejected numbers of emitters (fit frame by frame).
    allow_truncated, overwrite : bool
        Use the readable frames of a damaged file; replace the tables that are there.
    watcher : Watcher, optional
        Sees localizations and count maps as soon as they are final.
    workers : Workers
        Who works on the windows; more than one need a movie that is given by its path.
    share : Share, optional
        Makes this a worker of a run that another process has opened.
    """

    movie: Path | str | MovieReader
    out: Path
    model: str | Path = "wolf"
    microscope: Path | str | MicroscopeConfig | None = None
    sigma_px: float | None = None
    blinks: Path | None = None
    alternatives: Path | None = None
    allow_truncated: bool = False
    overwrite: bool = False
    watcher: Watcher | None = None
    workers: Workers = ALONE
    share: Share | None = None


def localize_movie(
    job: LocalizeJob, config: LocalizeConfig | None = None, listener: Listener = silent
) -> LocalizeSummary:
    """Predict, decode and fit a movie; write the table of localizations.

    Raises
    ------
    MovieError, BundleError, ConfigError, TableError, OutputError, MissingExtraError
        For everything that the user can mend.
    Interrupted
        After Ctrl-C; finished windows are kept and the same call goes on.
    """
    config = config or LocalizeConfig()
    bundle = load_bundle(job.model)
    if not isinstance(job.movie, (Path, str)):
        return _Run(job.movie, bundle, job, config, listener).finish()
    with closing(open_movie(job.movie, allow_truncated=job.allow_truncated)) as reader:
        return _Run(reader, bundle, job, config, listener).finish()


def localize_share(
    movie: str,
    out: str,
    model: str,
    alternatives: str | None,
    allow_truncated: bool,
    config: dict[str, Any],
    microscope: dict[str, Any],
    parents: dict[str, str],
    chunks: list[int],
) -> None:
    """Fit windows of a run that another process has opened; arguments are JSON."""
    job = LocalizeJob(
        movie,
        Path(out),
        model,
        parse_section(MicroscopeConfig, microscope, "worker"),
        alternatives=Path(alternatives) if alternatives is not None else None,
        allow_truncated=allow_truncated,
        share=Share(tuple(chunks), parents),
    )
    with closing(open_movie(movie, allow_truncated=allow_truncated)) as reader:
        settings = parse_section(LocalizeConfig, config, "worker")
        _Run(reader, load_bundle(model), job, settings, silent).fit_windows(0)


_Tables = tuple[Emitters, Emitters | None]
"""Localizations of a window, and the alternatives where they were asked for."""


class _Run:
    """One run: checks first, then windows, then the tables."""

    def __init__(
        self,
        reader: MovieReader,
        bundle: Bundle,
        job: LocalizeJob,
        config: LocalizeConfig,
        listener: Listener,
    ) -> None:
        self.reader, self.bundle, self.job, self.config = reader, bundle, job, config
        self.listener = listener
        paths = {"out": job.out, "blinks": job.blinks, "alternatives": job.alternatives}
        self.paths = {kind: path for kind, path in paths.items() if path is not None}
        if job.share is None:
            self._check_outputs()
        microscope, self.notes = choose_microscope(
            reader,
            job.microscope,
            job.sigma_px,
            config.prediction.pixel_size_nm,
            listener,
        )
        pixel_size_nm = settle_pixel_size(
            config.prediction.pixel_size_nm, microscope.pixel_size_nm, reader
        )
        prediction = config.prediction.model_copy(update={"pixel_size_nm": pixel_size_nm})
        config = config.model_copy(update={"prediction": prediction})
        self.microscope = microscope
        self.view = field_of_view(reader, config.prediction)
        self.first, self.last = frame_range(reader, bundle, config.prediction)
        shape = (reader.info.height, reader.info.width)
        self.camera = build_camera(
            microscope.camera, shape, measured=measured_maps(microscope.camera)
        )
        if microscope.psf is None:
            raise ConfigError("no point-spread function; give its width with --sigma-px")
        self.psf = build_psf(microscope.psf, self.view.pixel_size_nm)
        self.fittable = fittable_psf(self.psf, config.frames.z_range_nm)
        require_baseline(reader, self.camera, self.first, self.last)
        self.notes += range_notes(self.psf, bundle.manifest)
        self.notes += noise_notes(reader, self.camera, self.first, self.last)
        space = config.spacetime
        margin = space.margin_frames if config.fit == "joint" else 0
        core = min(
            space.core_frames, max(space.margin_frames, CORE_PIXELS // (shape[0] * shape[1]))
        )
        self.spans = plan_spans(self.first, self.last, core, margin)
        self.engine = build_engine(
            config.prediction.engine,
            bundle,
            precision=config.prediction.precision,
            threads=config.prediction.threads,
        )
        self.parents = (
            dict(job.share.parents)
            if job.share is not None
            else {
                **{f"movie {name}": sha for name, sha in movie_sha256(reader).items()},
                f"model {bundle.manifest.name}": bundle.sha256,
                **calibration_sha256(microscope),
            }
        )
        self.inputs = {
            "parents": self.parents,
            "frames": [self.first, self.last, reader.info.n_frames],
            "engine": [self.engine.name, self.engine.device],
            "config": config.model_dump(mode="json", exclude=_WITHOUT_THREADS),
            "microscope": microscope.model_dump(mode="json"),
            "version": hdsmlm.__version__,
        }
        self.store = ChunkStore(
            job.out.parent / f"{job.out.name}.unfinished",
            self.inputs,
            discard=job.overwrite,
            join=job.share is not None,
        )
        self.finished = {index for index in range(len(self.spans)) if self._has(index)}
        self.n_shown, self.shown = 0, self._final_rows()

    def _check_outputs(self) -> None:
        if self.job.blinks is not None and self.config.fit == "frame":
            raise ConfigError("--blinks needs the joint fit; leave out --fit frame")
        by_frame = self.config.fit == "frame"
        if self.job.alternatives is not None and by_frame and not self.config.frames.choose_count:
            raise ConfigError(
                "--alternatives needs the choice of the number of emitters; leave out "
                "frames.choose_count=false"
            )
        check_outputs(self.paths, overwrite=self.job.overwrite)

    def finish(self) -> LocalizeSummary:
        """Fit the windows that are missing, write the tables, remove the work folder."""
        start = time.perf_counter()
        resumed = sum(self._frames(index) for index in self.finished)
        try:
            self.fit_windows(resumed)
            summary = self._write(start, resumed)
        except KeyboardInterrupt:
            done = sum(self._frames(i) for i in range(len(self.spans)) if self._has(i))
            raise Interrupted(
                f"stopped after {done} of {self.last - self.first} frames. What is finished is "
                "kept; run the same command again to go on"
            ) from None
        self.store.remove()
        return summary

    def _parts(self, index: int) -> tuple[int, ...]:
        """Return where the work folder holds the tables of a window; its own comes last."""
        more = self.job.alternatives is not None
        return (index + len(self.spans), index) if more else (index,)

    def _has(self, index: int) -> bool:
        return all(self.store.has(part, with_map=False) for part in self._parts(index))

    def _frames(self, index: int) -> int:
        return self.spans[index].core_stop - self.spans[index].core_start

    def _in_core(self, index: int, table: Emitters) -> int:
        span = self.spans[index]
        frame = table["frame"] + span.start
        return int(((frame >= span.core_start) & (frame < span.core_stop)).sum())

    def fit_windows(self, done: int) -> None:
        """Fit the windows that are missing: all of the run, or those of this worker's share."""
        total = self.last - self.first
        self.listener(
            Event(STAGE, done, total, f"{done} frames were finished before" if done else "")
        )
        self._show()
        mine = range(len(self.spans)) if self.job.share is None else self.job.share.chunks
        missing = [index for index in mine if index not in self.finished]
        if not missing:
            return
        source = self._source()
        if self.job.workers.elsewhere and missing:
            self._spread(missing, done)
            return
        if not is_compiled(_LATE_KERNEL[self.config.fit]):
            self.listener(Event("compile", 0, 0, "preparing the fit, once after the installation"))
        threads = self.config.threads or usable_cores()
        with _pool(threads if self.config.fit == "joint" else 1) as pool:
            running: list[tuple[int, Future[_Tables]]] = []
            before, found = done, 0

            def collect(keep: int) -> None:
                nonlocal done, found
                while len(running) > keep:
                    index, future = running.pop(0)
                    table, alternatives = future.result()
                    if alternatives is not None:  # first: the window counts as finished by its own
                        self._keep(index + len(self.spans), alternatives)
                    self._keep(index, table)
                    self.finished.add(index)
                    self._show()
                    done += self._frames(index)
                    found += self._in_core(index, table)
                    what = f"{found / (done - before):.1f} localizations per frame"
                    self.listener(Event(STAGE, done, total, what))

            for index in missing:
                window = source.window(index)
                running.append((index, pool.submit(self._fit, window)))
                room = min(threads, WAITING_PIXELS // window.count_map[:, 0].size)
                collect(room if self.config.fit == "joint" else 0)
            collect(0)

    def _source(self) -> WindowSource:
        prediction, manifest = self.config.prediction, self.bundle.manifest
        normalizer = self.store.normalizer()
        if normalizer is None:
            normalization = normalization_for(self.bundle, prediction)
            normalizer = fit_normalizer(self.reader, normalization, self.listener)
            self.store.keep_normalizer(normalizer)
        return WindowSource(
            self.reader,
            self.spans,
            Predictor(self.engine, manifest, prediction.tile_px),
            normalizer,
            self.camera,
            prediction.decoding or manifest.decoding,
            self.view.pixel_size_nm,
            self.microscope.saturation_adu,
            self.job.watcher,
        )

    def _spread(self, missing: list[int], done: int) -> None:
        job = self.job
        threads = job.workers.threads(self.config.threads)
        parts = {
            "prediction": {"threads": threads, "pixel_size_nm": self.view.pixel_size_nm},
            "frames": {"threads": threads},
        }
        config = self.config.model_copy(
            update={
                "threads": threads,
                **{k: getattr(self.config, k).model_copy(update=v) for k, v in parts.items()},
            }
        )
        arguments = {
            **job_arguments(job, self.bundle),
            "alternatives": str(job.alternatives) if job.alternatives is not None else None,
            "config": config.model_dump(mode="json"),
            "microscope": self.microscope.model_dump(mode="json"),
            "parents": self.parents,
        }
        work = Work(
            "hdsmlm.pipelines.localize:localize_share",
            arguments,
            missing,
            self._has,
            on_gpu=self.engine.on_gpu,
            threads=threads,
        )
        progress = Progress(self.listener, STAGE, done, self.last - self.first, self._frames)
        spread(work, job.workers, self.store.folder, progress)
        self.finished.update(missing)

    def _show(self) -> None:
        """Show the watcher what is final: all up to the first window that is missing."""
        while self.job.watcher is not None and self.n_shown in self.finished:
            self.job.watcher.rows(next(self.shown)[0])
            self.n_shown += 1

    def _keep(self, index: int, table: Emitters) -> None:
        self.store.keep(index, ChunkResult(table, np.empty(0)), None)

    def _fit(self, window: WindowData) -> _Tables:
        if self.config.fit == "joint":
            fitter = BlinkFitter(
                self.fittable,
                self.view.pixel_size_nm,
                self.config.spacetime,
                self.config.tile_px,
                keep_alternatives=self.job.alternatives is not None,
            )
            result = fitter.fit(window)
            return result.localizations, result.alternatives
        settings = self.config.frames.model_copy(
            update={
                "threads": self.config.threads,
                "keep_alternatives": self.job.alternatives is not None,
            }
        )
        result = fit_frames(
            window.detections, window.data, self.psf, self.view.pixel_size_nm, settings,
            window.count_map, window.saturated,
        )  # fmt: skip
        found = result.alternatives
        if found is None and self.job.alternatives is not None:
            names = ("photons", "sigma_nm", "probability", "count_class", "group_id")
            found = Emitters.empty((*names, "z_nm") if self.fittable.is_3d else names)
        return result.localizations, found

    def _info(self) -> TableInfo:
        return TableInfo(
            pixel_size_nm=self.view.pixel_size_nm,
            n_frames=self.reader.info.n_frames,
            height=self.view.height_px,
            width=self.view.width_px,
            provenance=Provenance(STAGE, self.inputs, self.parents),
        )

    def _write(self, start: float, resumed: int) -> LocalizeSummary:
        tally = Tally(self.view.pixel_size_nm)
        with Writers(self.paths, self._info()) as writers:
            for localizations, ended, alternatives in self._final_rows():
                tally.add(localizations)
                writers.append("out", localizations)
                if ended is not None:
                    blinks = blink_table(ended)
                    tally.blinks += len(blinks)
                    writers.append("blinks", blinks)
                if alternatives is not None:
                    writers.append("alternatives", alternatives)
        frames = self.last - self.first
        area = self.view.height_px * self.view.width_px * (self.view.pixel_size_nm / 1000) ** 2
        return LocalizeSummary(
            localizations=tally.rows,
            blinks=tally.blinks,
            frames=frames,
            density_per_um2=tally.rows / frames / area,
            median_photons=tally.median("photons"),
            median_uncertainty_nm=tally.median("uncertainty_x_nm"),
            flagged=tally.flagged,
            seconds=time.perf_counter() - start,
            resumed_frames=resumed,
            microscope=self.microscope,
            notes=(*self.reader.info.notes, *self.notes),
            warnings=tally.density_warnings(self.bundle.manifest.trained_range),
        )

    def _final_rows(self) -> Iterator[tuple[Emitters, Emitters | None, Emitters | None]]:
        """Yield localizations in the order of frames, rows of ended blinks, alternatives."""
        stitcher = Stitcher(self.view.pixel_size_nm)
        for index, span in enumerate(self.spans):
            *more, table = (self._stored(part, span) for part in self._parts(index))
            others = more[0] if more else None
            if self.config.fit == "frame":
                yield table, None, others
                continue
            if others is not None:
                core = (others["frame"] >= span.core_start) & (others["frame"] < span.core_stop)
                others = others.select(core)
            stitcher.add(table, span)
            last = index + 1 == len(self.spans)
            rows, ended = stitcher.take(None if last else self.spans[index + 1].start)
            yield rows, ended, others

    def _stored(self, index: int, span: FrameSpan) -> Emitters:
        table = self.store.result(index).emitters
        return table.with_columns(frame=table["frame"] + span.start)


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool that drops what waits when its user fails or is interrupted."""
    pool = ThreadPoolExecutor(threads)
    try:
        with threadpool_limits(1, "blas"):  # its threads would fight with those of the pool
            yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
