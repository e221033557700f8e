"""Compare an emitter table (and a count map) with the truth: scores, report, overlay pictures."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hdsmlm.config.evaluation import EvaluationConfig
from hdsmlm.errors import ConfigError, MovieError, TableError
from hdsmlm.evaluation.matching import Field
from hdsmlm.evaluation.overlay import draw_overlay, scored_marks
from hdsmlm.evaluation.plausibility import (
    extent_notes,
    frame_notes,
    offset_notes,
    require_common_frames,
    require_inside,
    require_rows,
)
from hdsmlm.evaluation.report import Picture, write_report, write_scores
from hdsmlm.evaluation.result import Evaluation, evaluate
from hdsmlm.io.count_maps import CountMapFile
from hdsmlm.io.movies import open_movie
from hdsmlm.io.tables import read_table, read_table_info
from hdsmlm.io.writing import atomic_path, output_folder
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.movie import MovieReader
from hdsmlm.records.provenance import Provenance, file_sha256


@dataclass(frozen=True)
class EvaluationSources:
    """What is compared.

    Parameters
    ----------
    truth, predicted : Path
        Emitter tables of this program or of others.
    pixel_size_nm : float, optional
        Without it the movie's metadata must hold it.
    size_px : tuple of int, optional
        (height, width) of a frame; without it the movie's, the count map's, or what the truth and
        the prediction need.
    movie : Path, optional
        For the overlays, the size and the number of frames.
    count_map : Path, optional
        For the scores of the expected counts and the calibration.
    truth_first_frame, predicted_first_frame : int, optional
        Number of the first frame in the files; default 1, or 0 when a row lies in frame 0.
    frames : tuple, optional
        Frames that are scored: the first, from 0, and the one after the last (None: to the end).
    """

    truth: Path
    predicted: Path
    pixel_size_nm: float | None = None
    size_px: tuple[int, int] | None = None
    movie: Path | None = None
    count_map: Path | None = None
    truth_first_frame: int | None = None
    predicted_first_frame: int | None = None
    frames: tuple[int, int | None] | None = None


@dataclass(frozen=True)
class EvaluationOutput:
    """What an evaluation leaves behind.

    Parameters
    ----------
    evaluation : Evaluation
        The scores.
    scores, report : Path
        ``scores.json`` and ``report.html``.
    overlays : tuple of Path
        Pictures of single frames.
    """

    evaluation: Evaluation
    scores: Path
    report: Path
    overlays: tuple[Path, ...]


def evaluate_tables(
    sources: EvaluationSources,
    out: Path,
    config: EvaluationConfig | None = None,
    listener: Listener = silent,
) -> EvaluationOutput:
    """Score ``sources.predicted`` against ``sources.truth`` and write the report to ``out``.

    Parameters
    ----------
    sources : EvaluationSources
        The files and what is known of them.
    out : Path
        Folder of ``scores.json``, ``report.html``, ``overlay_frame_*.png``, ``provenance.json``.
    config : EvaluationConfig, optional
        Tolerances and bins; the defaults are the definitions of the headline numbers.
    listener : Listener
        Hears the progress.

    Raises
    ------
    TableError
        For a truth without rows, and tables without a common frame or outside the field. A
        prediction without rows is valid: everything is missed.
    MovieError
        For a movie or count map that cannot be read or does not fit.
    OutputError
        When the results cannot be written.
    """
    config = config or EvaluationConfig()
    with ExitStack() as stack:
        movie = stack.enter_context(open_movie(sources.movie)) if sources.movie else None
        count_map = (
            stack.enter_context(CountMapFile(sources.count_map)) if (sources.count_map) else None
        )
        pixel_size_nm, notes = _pixel_size(sources, movie)
        truth = read_table(
            sources.truth,
            pixel_size_nm=pixel_size_nm,
            first_frame=sources.truth_first_frame,
        )
        predicted = read_table(
            sources.predicted,
            pixel_size_nm=pixel_size_nm,
            first_frame=sources.predicted_first_frame,
        )
        require_rows(truth, f"truth {sources.truth.name}")
        if sources.frames is not None:
            first, stop = _asked_frames(sources, truth, movie)
            truth, predicted = (_only(table, first, stop) for table in (truth, predicted))
            require_rows(truth, f"truth {sources.truth.name} in frames {first} to {stop - 1}")
            begin: tuple[str, ...] = (f"Scores are of frames {first} to {stop - 1}, from 0.",)
        else:
            first = count_map.first_frame if count_map else 0
            truth, predicted, begin = _from_frame(first, truth, predicted)
        field, more = _field(sources, truth, predicted, movie, count_map, pixel_size_nm)
        if sources.frames is not None:
            field = replace(field, n_frames=stop - first)
        require_inside(truth, f"truth {sources.truth.name}", field)
        require_inside(predicted, f"prediction {sources.predicted.name}", field)
        require_common_frames(truth, predicted)
        notes += begin + more + extent_notes(truth, field)
        truth, cut = _inside(truth, field)
        require_rows(truth, f"truth {sources.truth.name}, inside the frames of the movie")
        notes += cut
        output_folder(out)
        read_map = count_map.read if count_map else None
        evaluation = evaluate(truth, predicted, field, config, read_map, listener)
        notes += evaluation.notes + frame_notes(truth, predicted, field) + offset_notes(evaluation)
        evaluation = replace(evaluation, notes=notes)
        shown = _moved(truth, first), _moved(predicted, first)
        pictures = _overlays(*shown, evaluation, movie, out, config, listener)
    return _write(sources, evaluation, pictures, out, config)


def _table_pixel_size(path: Path) -> float | None:
    """Return what the table itself says, where its kind of file says it."""
    try:
        return read_table_info(path).pixel_size_nm
    except TableError:
        return None


def _table_shape(path: Path) -> tuple[int, int] | None:
    """Return height and width of the movie as the table states them, or None."""
    try:
        info = read_table_info(path)
    except TableError:
        return None
    return None if info.height is None or info.width is None else (info.height, info.width)


def _pixel_size(
    sources: EvaluationSources, movie: MovieReader | None
) -> tuple[float, tuple[str, ...]]:
    known = movie.info.pixel_size_nm if movie else _table_pixel_size(sources.predicted)
    source = "the movie's metadata" if movie else sources.predicted.name
    given = sources.pixel_size_nm
    if given is None:
        if known is None:
            raise TableError(
                "the pixel size is needed, because tolerances and labels are in pixels, and no "
                "movie states it; give it, e.g. --pixel-size-nm 100, or the movie with --movie"
            )
        return known, (f"Pixel size {known:g} nm from {source}.",)
    if not (math.isfinite(given) and given > 0):
        raise TableError(f"the pixel size must be positive, in nm; got {given}")
    if known is not None and abs(known / given - 1) > 0.05:
        return given, (
            f"A pixel size of {known:g} nm is stated by {source}; {given:g} nm was used.",
        )
    return given, ()


def _field(
    sources: EvaluationSources,
    truth: Emitters,
    predicted: Emitters,
    movie: MovieReader | None,
    count_map: CountMapFile | None,
    pixel_size_nm: float,
) -> tuple[Field, tuple[str, ...]]:
    sizes = {}
    if sources.size_px is not None:
        sizes["the size given"] = sources.size_px
    if movie is not None:
        sizes["the movie"] = (movie.info.height, movie.info.width)
    if count_map is not None:
        sizes["the count map"] = (count_map.shape[2], count_map.shape[3])
    if len(set(sizes.values())) > 1:
        words = ", ".join(f"{name} {h}×{w} px" for name, (h, w) in sizes.items())
        raise MovieError(f"the frames differ in size: {words}; give what belongs together")
    last_predicted = _largest(predicted, "frame")
    first = count_map.first_frame if count_map is not None else 0
    lengths = [movie.info.n_frames - first] if movie is not None else []
    lengths += [count_map.shape[0]] if count_map is not None else []
    n_frames = min(lengths, default=int(max(_largest(truth, "frame"), last_predicted)) + 1)
    if last_predicted >= n_frames:
        raise TableError(
            f"{sources.predicted.name}: a prediction lies in frame {last_predicted + first:g} "
            f"(counted from 0), but the movie or count map has {first + n_frames} frames; give the "
            "files that belong together, or state the number of the first frame"
        )
    if sizes:
        height, width = next(iter(sizes.values()))
        return Field(n_frames, height, width, pixel_size_nm), ()
    said = _table_shape(sources.predicted)
    if said is not None:
        return Field(n_frames, *said, pixel_size_nm), ()
    height, width = (
        max(1, math.ceil(max(_largest(truth, name), _largest(predicted, name)) / pixel_size_nm))
        for name in ("y_nm", "x_nm")
    )
    note = (
        f"The size of the frames was not given; {height}×{width} px just hold all positions. "
        "Density, border and chance depend on it."
    )
    return Field(n_frames, height, width, pixel_size_nm), (note,)


def _largest(table: Emitters, name: str) -> float:
    return float(table[name].max(initial=-1))


def _asked_frames(
    sources: EvaluationSources, truth: Emitters, movie: MovieReader | None
) -> tuple[int, int]:
    """Return the first frame to be scored and the one after the last."""
    if sources.count_map is not None:
        raise ConfigError("--frames: a count map has frames of its own; leave one of them out")
    first, last = sources.frames or (0, None)
    end = movie.info.n_frames if movie else int(_largest(truth, "frame")) + 1
    stop = end if last is None else min(last, end)
    if not 0 <= first < stop:
        raise ConfigError(f"--frames {first}:{last or ''}: there are frames 0 to {end - 1} only")
    return first, stop


def _only(table: Emitters, first: int, stop: int) -> Emitters:
    inside = (table["frame"] >= first) & (table["frame"] < stop)
    return _moved(table.select(inside), -first)


def _from_frame(
    first: int, truth: Emitters, predicted: Emitters
) -> tuple[Emitters, Emitters, tuple[str, ...]]:
    """Leave out what lies before frame ``first``, where a count map begins, and count from it."""
    if first == 0:
        return truth, predicted, ()
    require_common_frames(truth, predicted)
    early = truth["frame"] < first
    if (predicted["frame"] < first).any():
        raise TableError(
            f"a prediction lies in frame {predicted['frame'].min()} (counted from 0), but the "
            f"count map begins with frame {first}; give the files of one run"
        )
    truth = truth.select(~early)
    require_rows(truth, f"truth from frame {first} on, where the count map begins")
    notes = [f"The count map begins with frame {first + 1} of the movie; scores are of its frames."]
    if early.any():
        notes.append(f"{early.sum()} true emitters before it were left out.")
    return _moved(truth, -first), _moved(predicted, -first), tuple(notes)


def _moved(table: Emitters, frames: int) -> Emitters:
    return table.with_columns(frame=table["frame"] + frames)


def _inside(truth: Emitters, field: Field) -> tuple[Emitters, tuple[str, ...]]:
    """Leave out true emitters that no prediction could find: outside the frames or the movie."""
    late = truth["frame"] >= field.n_frames
    beside = (truth["x_nm"] < 0) | (truth["x_nm"] > field.width_nm)
    beside |= (truth["y_nm"] < 0) | (truth["y_nm"] > field.height_nm)
    notes = []
    if late.any():
        notes.append(f"{late.sum()} true emitters after the last frame of the movie were left out.")
    if (beside & ~late).any():
        notes.append(f"{(beside & ~late).sum()} true emitters outside the frame were left out.")
    return truth.select(~(late | beside)), tuple(notes)


def _overlays(
    truth: Emitters,
    predicted: Emitters,
    evaluation: Evaluation,
    movie: MovieReader | None,
    out: Path,
    config: EvaluationConfig,
    listener: Listener,
) -> list[Picture]:
    if movie is None or config.n_overlays == 0:
        return []
    frames = np.unique(truth["frame"])
    places = np.linspace(0, len(frames) - 1, min(config.n_overlays, len(frames)))
    pictures = []
    for frame in frames[places.round().astype(int)].tolist():
        pixel_size_nm = evaluation.field.pixel_size_nm
        marks = scored_marks(truth, predicted, evaluation.detection.matching, frame, pixel_size_nm)
        path = out / f"overlay_frame_{frame + 1:05d}.png"
        picture = movie.read(frame, frame + 1)[0]
        draw_overlay(picture, marks, path, pixel_size_nm, f"{movie.info.name}, frame {frame + 1}")
        counts = ", ".join(group.name for group in marks)
        pictures.append(Picture(path, f"Frame {frame + 1}: {counts}"))
        listener(Event("evaluate", len(pictures), len(places), path.name, "pictures"))
    return pictures


def _write(
    sources: EvaluationSources,
    evaluation: Evaluation,
    pictures: list[Picture],
    out: Path,
    config: EvaluationConfig,
) -> EvaluationOutput:
    inputs = {
        name: path
        for name, path in (
            ("truth", sources.truth),
            ("prediction", sources.predicted),
            ("movie", sources.movie),
            ("count map", sources.count_map),
        )
        if path is not None
    }
    provenance = Provenance(
        stage="evaluate",
        config=config.model_dump(mode="json"),
        parents={
            name: file_sha256(path) if path.is_file() else str(path)
            for name, path in inputs.items()
        },
    )
    with atomic_path(out / "provenance.json") as temporary:
        temporary.write_text(provenance.to_json() + "\n", encoding="utf-8")
    scores = write_scores(evaluation, out / "scores.json")
    report = write_report(
        evaluation,
        config,
        out / "report.html",
        pictures,
        {
            **{name: path.name for name, path in inputs.items()},
            "made": f"hdsmlm {provenance.version}, {provenance.created}",
        },
        f"{sources.predicted.name} against {sources.truth.name}",
    )
    return EvaluationOutput(evaluation, scores, report, tuple(p.path for p in pictures))
