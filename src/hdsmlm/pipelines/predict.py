"""Predict: from a movie and a model to count map, emitters, overlays and summary.

The movie is streamed in chunks; each finished chunk is kept in a work folder inside the output
folder, so that memory does not grow with the movie and a killed run goes on where it stopped, with
the same bytes in the end.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import numpy as np

import hdsmlm
from hdsmlm.bundle import Bundle, BundleManifest, load_bundle
from hdsmlm.config.base import parse_section
from hdsmlm.config.prediction import CountMapFormat, DecodingConfig, PredictionConfig
from hdsmlm.errors import Interrupted, OutputError
from hdsmlm.inference.chunk_store import ChunkResult, ChunkStore
from hdsmlm.inference.decode import COLUMNS, decode
from hdsmlm.inference.engines import build_engine
from hdsmlm.inference.predictor import Predictor
from hdsmlm.inference.summary import (
    PredictionSummary,
    SummaryCounter,
    range_warnings,
)
from hdsmlm.inference.windows import plan_windows
from hdsmlm.io.count_maps import open_count_map_writer, remove_count_map, require_zarr
from hdsmlm.io.movies import open_movie
from hdsmlm.io.tables import open_table_writer
from hdsmlm.io.writing import atomic_path, output_folder, writing
from hdsmlm.normalization import Normalizer, fit_normalizer
from hdsmlm.pipelines.movie_inputs import (
    field_of_view,
    frame_range,
    movie_sha256,
    normalization_for,
)
from hdsmlm.pipelines.spread import ALONE, Progress, Share, Work, Workers, job_arguments, spread
from hdsmlm.pipelines.watching import Watcher
from hdsmlm.records.count_map import N_CLASSES, expected_count
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.movie import MovieInfo, MovieReader
from hdsmlm.records.provenance import Provenance

STAGE = "predict"
EMITTERS_FILE = "emitters.csv"
PARTIAL_FILE = "emitters_partial.csv"
SUMMARY_FILE = "summary.json"
TEXT_FILE = "summary.txt"
PROVENANCE_FILE = "provenance.json"
OVERLAY_FOLDER = "overlays"
OVERLAY_PATTERN = "frame_*.png"
COUNT_MAP_STEM = "count_map"
WORK_FOLDER = "unfinished"
_SPARE_BYTES = 50_000_000
CHUNK_PIXELS = 2**25
"""Pixels of a chunk at most: the count map of so many takes 0.5 GB of memory."""
CALL_FRAMES, CALL_PIXELS, CALL_CHANNELS = 64, 2**23, 24
"""Frames of one call of the network, and pixels at most of all of them together: the engines hold
about 2 GB of features for so many where the network begins with so many channels."""
LEAST_CHUNK_FRAMES = 4
"""However large the frames: shorter chunks compute little but the margins around them."""


@dataclass(frozen=True)
class PredictionJob:
    """What to predict and where to.

    Parameters
    ----------
    movie : Path, str or MovieReader
        A file, folder, pattern, or an open movie (which stays open).
    out : Path
        Output folder; other files in it are left alone.
    model : str or Path
        Name of a shipped model, or a bundle's folder.
    allow_truncated : bool
        Use the readable frames of a file that ends early.
    overwrite : bool
        Replace the results that are there.
    watcher : Watcher, optional
        Sees emitters and count maps as soon as they are final.
    workers : Workers
        Who works on the chunks; more than one need a movie that is given by its path.
    share : Share, optional
        Makes this a worker of a run that another process has opened.
    """

    movie: Path | str | MovieReader
    out: Path
    model: str | Path = "wolf"
    allow_truncated: bool = False
    overwrite: bool = False
    watcher: Watcher | None = None
    workers: Workers = ALONE
    share: Share | None = None


def predict_movie(
    job: PredictionJob, config: PredictionConfig | None = None, listener: Listener = silent
) -> PredictionSummary:
    """Run a model over a movie and write everything that it found.

    Writes into ``job.out``: ``emitters.csv``, ``count_map.tif`` (or ``.zarr``), ``overlays/``,
    ``summary.json``, ``summary.txt``, ``provenance.json``.

    Raises
    ------
    MovieError, BundleError, ConfigError, OutputError, MissingExtraError
        For everything that the user can mend.
    Interrupted
        After Ctrl-C; finished chunks are kept and the same call goes on.
    """
    config = config or PredictionConfig()
    bundle = load_bundle(job.model)
    if not isinstance(job.movie, (Path, str)):
        return _Run(job.movie, bundle, job, config, listener).finish()
    with closing(open_movie(job.movie, allow_truncated=job.allow_truncated)) as reader:
        return _Run(reader, bundle, job, config, listener).finish()


def predict_share(
    movie: str,
    out: str,
    model: str,
    allow_truncated: bool,
    config: dict[str, Any],
    parents: dict[str, str],
    chunks: list[int],
) -> None:
    """Compute chunks of a run that another process has opened in ``out``; arguments are JSON."""
    share = Share(tuple(chunks), parents)
    job = PredictionJob(movie, Path(out), model, allow_truncated, share=share)
    with closing(open_movie(movie, allow_truncated=allow_truncated)) as reader:
        settings = parse_section(PredictionConfig, config, "worker")
        _Run(reader, load_bundle(model), job, settings, silent).predict()


class _Run:
    """One prediction: checks first, then chunks, then the files."""

    def __init__(
        self,
        reader: MovieReader,
        bundle: Bundle,
        job: PredictionJob,
        config: PredictionConfig,
        listener: Listener,
    ) -> None:
        self.reader, self.bundle, self.job, self.config = reader, bundle, job, config
        self.listener = listener
        self.view = field_of_view(reader, config)
        self.first, self.last = frame_range(reader, bundle, config)
        self.decoding: DecodingConfig = config.decoding or bundle.manifest.decoding
        self.with_map = config.count_map != "none"
        if config.count_map == "zarr":
            require_zarr()
        self.chunk_frames = chunk_frames_for(reader.info, config, first_channels(bundle.manifest))
        self.windows = plan_windows(
            self.first,
            self.last,
            reader.info.n_frames,
            size=self.chunk_frames,
            margin=bundle.manifest.receptive_frames,
        )
        output_folder(job.out)
        if job.share is None and (job.out / SUMMARY_FILE).exists() and not job.overwrite:
            raise OutputError(
                f"{job.out} already holds results; choose another output folder or replace them "
                "with --overwrite"
            )
        self.parents = (
            dict(job.share.parents)
            if job.share is not None
            else {
                **{f"movie {name}": sha for name, sha in movie_sha256(reader).items()},
                f"model {bundle.manifest.name}": bundle.sha256,
            }
        )
        self.normalization = normalization_for(bundle, config)
        self.engine = build_engine(
            config.engine, bundle, precision=config.precision, threads=config.threads
        )
        self.store = ChunkStore(
            job.out / WORK_FOLDER,
            {
                "parents": self.parents,
                "frames": reader.info.n_frames,
                "engine": [self.engine.name, self.engine.device],
                "config": config.model_dump(mode="json", exclude={"overlay_frames", "threads"}),
                "decoding": self.decoding.model_dump(mode="json"),
                "version": hdsmlm.__version__,
            },
            discard=job.overwrite,
            join=job.share is not None,
        )
        self.finished = [
            index
            for index in range(len(self.windows))
            if self.store.has(index, with_map=self.with_map)
        ]
        if job.share is None:
            self._require_space()

    def finish(self) -> PredictionSummary:
        """Run the chunks that are missing, write the files, remove the work folder."""
        start = time.perf_counter()
        try:
            self.predict()
            summary = self._write(time.perf_counter() - start)
        except KeyboardInterrupt:
            raise Interrupted(self._keep_partial()) from None
        self.store.remove()
        return summary

    def _require_space(self) -> None:
        """Refuse early what certainly does not fit: the count map waits as raw chunks."""
        missing = len(self.windows) - len(self.finished)
        frame_bytes = 4 * N_CLASSES * self.view.height_px * self.view.width_px
        needed = _SPARE_BYTES
        if self.with_map:
            needed += missing * self.chunk_frames * frame_bytes
        with writing(self.job.out):
            free = shutil.disk_usage(self.job.out).free
        if self.with_map and free < needed:
            raise OutputError(
                f"cannot write {self.job.out}: the count map needs up to {needed / 1e9:.1f} GB "
                f"there and the disk has {free / 1e9:.1f} GB free; free space, choose another "
                "folder, or leave the count map out with --count-map none"
            )

    def predict(self) -> None:
        """Run the chunks that are missing: all of the run, or those of this worker's share."""
        normalizer = self._normalizer()
        total = self.last - self.first
        done = sum(self._kept_frames(index) for index in self.finished)
        what = f"{done} frames were finished before" if done else self.engine.device
        self.listener(Event(STAGE, done, total, what))
        mine = range(len(self.windows)) if self.job.share is None else self.job.share.chunks
        missing = [index for index in mine if index not in self.finished]
        if self.job.workers.elsewhere and missing:
            self._spread(missing, done)
            return
        predictor = Predictor(self.engine, self.bundle.manifest, self.config.tile_px)
        shown = self._show(0)
        for index in missing:
            window = self.windows[index]
            frames = self.reader.read(window.read_start, window.read_stop)
            probabilities = predictor.predict(normalizer(frames, window.read_start), window.inner)
            emitters = decode(
                probabilities,
                self.decoding,
                pixel_size_nm=self.view.pixel_size_nm,
                first_frame=window.keep_start,
            )
            expected = np.array(
                [expected_count(frame[None]).sum(dtype=np.float64) for frame in probabilities]
            )
            result = ChunkResult(emitters, expected)
            self.store.keep(index, result, probabilities if self.with_map else None)
            if self.job.watcher is not None:
                self.job.watcher.count_map(window.keep_start, probabilities)
            shown = self._show(shown)
            done += self._kept_frames(index)
            per_frame = len(emitters) / self._kept_frames(index)
            self.listener(Event(STAGE, done, total, f"{per_frame:.1f} emitters per frame"))

    def _spread(self, missing: list[int], done: int) -> None:
        job = self.job
        threads = job.workers.threads(self.config.threads)
        arguments = {
            **job_arguments(job, self.bundle),
            "config": self.config.model_copy(update={"threads": threads}).model_dump(mode="json"),
            "parents": self.parents,
        }
        work = Work(
            "hdsmlm.pipelines.predict:predict_share",
            arguments,
            missing,
            lambda index: self.store.has(index, with_map=self.with_map),
            on_gpu=self.engine.on_gpu,
            threads=threads,
        )
        progress = Progress(self.listener, STAGE, done, self.last - self.first, self._kept_frames)
        spread(work, job.workers, self.store.folder, progress)

    def _show(self, index: int) -> int:
        """Show the watcher all chunks from ``index`` to the first that is missing; return that."""
        if self.job.watcher is None:
            return index
        while index < len(self.windows) and self.store.has(index, with_map=False):
            self.job.watcher.rows(self.store.result(index).emitters)
            index += 1
        return index

    def _normalizer(self) -> Normalizer:
        normalizer = self.store.normalizer()
        if normalizer is None:
            normalizer = fit_normalizer(self.reader, self.normalization, self.listener)
            self.store.keep_normalizer(normalizer)
        return normalizer

    def _kept_frames(self, index: int) -> int:
        return self.windows[index].keep_stop - self.windows[index].keep_start

    def _remove_old_results(self) -> None:
        """Remove what an overwritten run wrote; the summary, which vouches for the rest, first."""
        out = self.job.out
        with writing(out):
            for name in (SUMMARY_FILE, TEXT_FILE, PROVENANCE_FILE, EMITTERS_FILE, PARTIAL_FILE):
                (out / name).unlink(missing_ok=True)
            for picture in (out / OVERLAY_FOLDER).glob(OVERLAY_PATTERN):
                picture.unlink()
        for kind in get_args(CountMapFormat):
            remove_count_map(out / f"{COUNT_MAP_STEM}.{kind}")

    def _write(self, seconds: float) -> PredictionSummary:
        if self.job.overwrite:
            self._remove_old_results()
        out, view = self.job.out, self.view
        counter = SummaryCounter(view)
        with open_table_writer(out / EMITTERS_FILE, COLUMNS) as table:
            for index in range(len(self.windows)):
                result = self.store.result(index)
                table.append(result.emitters)
                counter.add(result)
        with writing(out):
            (out / PARTIAL_FILE).unlink(missing_ok=True)
        files = {"emitters": EMITTERS_FILE}
        if self._draw_overlays():
            files["overlays"] = OVERLAY_FOLDER
        if self.with_map:
            files["count map"] = self._write_count_map()
        found = counter.found()
        before = sum(self._kept_frames(index) for index in self.finished)
        summary = PredictionSummary(
            movie=self.reader.info.name,
            model=self.bundle.manifest.name,
            view=view,
            found=found,
            threshold=self.decoding.threshold,
            engine=f"{self.engine.name} ({self.engine.device})",
            seconds=round(seconds, 2),
            frames_per_second=round((found.frames - before) / seconds, 2),
            resumed_frames=before,
            files=files,
            versions=_versions(self.engine.name),
            warnings=range_warnings(found, view, self.bundle.manifest.trained_range),
            notes=(*self.reader.info.notes, *self._normalization_note()),
        )
        self._write_texts(summary)
        return summary

    def _normalization_note(self) -> tuple[str, ...]:
        normalizer = self.store.normalizer()
        if normalizer is None or len(normalizer.low) == 1:
            return ()
        return (
            "the grey levels drift; they were taken from a sliding window "
            f"(a new pair every {normalizer.step_frames} frames, see --normalization-window)",
        )

    def _write_texts(self, summary: PredictionSummary) -> None:
        provenance = Provenance(
            STAGE,
            {
                "prediction": self.config.model_dump(mode="json"),
                "decoding": self.decoding.model_dump(mode="json"),
                "normalization": self.normalization.model_dump(mode="json"),
                "pixel_size_nm": self.view.pixel_size_nm,
                "frames": [self.first, self.last],
                "engine": summary.engine,
                "libraries": summary.versions,
            },
            self.parents,
        )
        texts = {
            PROVENANCE_FILE: provenance.to_json() + "\n",
            TEXT_FILE: summary.to_text(),
            SUMMARY_FILE: json.dumps(summary.to_dict(), indent=2) + "\n",
        }
        for name, text in texts.items():
            with atomic_path(self.job.out / name) as part:
                part.write_text(text, encoding="utf-8")

    def _write_count_map(self) -> str:
        name = f"{COUNT_MAP_STEM}.{self.config.count_map}"
        n_frames = self.last - self.first
        with open_count_map_writer(
            self.job.out / name,
            n_frames,
            self.view.height_px,
            self.view.width_px,
            first_frame=self.first,
        ) as writer:
            done = 0
            for index in range(len(self.windows)):
                writer.append(self.store.take_map(index))
                self.store.drop_map(index)
                done += self._kept_frames(index)
                self.listener(Event("count map", done, n_frames, name))
        return name

    def _draw_overlays(self) -> bool:
        folder = self.job.out / OVERLAY_FOLDER
        frames = _spread(self.first, self.last, self.config.overlay_frames)
        if not frames:
            return False
        from hdsmlm.evaluation.overlay import draw_overlay, predicted_marks

        output_folder(folder)
        for stale in folder.glob(OVERLAY_PATTERN):
            stale.unlink()
        for number, frame in enumerate(frames):
            index = (frame - self.first) // self.chunk_frames
            emitters = self.store.result(index).emitters
            draw_overlay(
                self.reader.read(frame, frame + 1)[0],
                predicted_marks(emitters, frame, self.view.pixel_size_nm),
                folder / f"frame_{frame + 1:06d}.png",
                self.view.pixel_size_nm,
                f"{self.reader.info.name}, frame {frame + 1}",
            )
            self.listener(Event("overlays", number + 1, len(frames), f"frame {frame + 1}"))
        return True

    def _keep_partial(self) -> str:
        """Write the table of the finished chunks; return the message for the user."""
        done = [
            index for index in range(len(self.windows)) if self.store.has(index, with_map=False)
        ]
        frames = sum(self._kept_frames(index) for index in done)
        with open_table_writer(self.job.out / PARTIAL_FILE, COLUMNS) as table:
            for index in done:
                table.append(self.store.result(index).emitters)
        return (
            f"stopped after {frames} of {self.last - self.first} frames. What is finished is kept "
            f"(so far in {self.job.out / PARTIAL_FILE}); run the same command again to go on"
        )


def first_channels(manifest: BundleManifest) -> int:
    """Return how many channels the network begins with; of a foreign network, those of ``wolf``."""
    match manifest.network.get("widths"):
        case [int(channels), *_] if channels > 0:
            return channels
    return CALL_CHANNELS


def chunk_frames_for(info: MovieInfo, config: PredictionConfig, channels: int) -> int:
    """Return how many frames a chunk has, so that memory is bounded for large frames too.

    Longer chunks waste less on the margins around them; a network that begins with fewer
    ``channels`` holds fewer features of each frame.
    """
    pixels = max(1, info.height * info.width)
    of_map = CHUNK_PIXELS // pixels
    of_network = CALL_PIXELS * CALL_CHANNELS // (channels * min(pixels, config.tile_px**2))
    asked = config.chunk_frames or max(CALL_FRAMES * CALL_CHANNELS // channels, 1)
    return min(asked, max(LEAST_CHUNK_FRAMES, min(of_map, of_network)))


def _spread(first: int, last: int, count: int) -> list[int]:
    """Return up to ``count`` frames, evenly from first to last."""
    count = min(count, last - first)
    if count <= 1:
        return [(first + last - 1) // 2] * count
    return sorted({int(frame) for frame in np.linspace(first, last - 1, count).round()})


def _versions(engine: str) -> dict[str, str]:
    return {"hdsmlm": hdsmlm.__version__, **dict(_library_versions("numpy", "numba", engine))}


def _library_versions(*names: str) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            yield name, version(name)
        except PackageNotFoundError:  # e.g. onnxruntime-gpu installs the module onnxruntime
            yield name, "unknown"
