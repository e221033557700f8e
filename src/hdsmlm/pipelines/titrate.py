"""Titrate: add up ever more frames of a sparse movie and see to what density a model holds.

Each step n is a movie of sums of n frames that share no blink; what the model finds in it is
compared with the union of what was found, beyond doubt, in the sparse frames. The density of step n
is n times that of the sparse movie.
"""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hdsmlm.binning.folder import BINNING, MOVIE
from hdsmlm.binning.plan import draw_sum
from hdsmlm.bundle import load_bundle
from hdsmlm.config.prediction import EngineName, Precision
from hdsmlm.config.titration import TitrationConfig
from hdsmlm.errors import MovieError, OutputError
from hdsmlm.io.movies import open_movie
from hdsmlm.io.writing import atomic_path, output_folder, writing
from hdsmlm.pipelines.score_binned import BinnedScore, SequenceChoice, score_binned
from hdsmlm.pipelines.sparse import Sparse, SparseJob, measure_sparse
from hdsmlm.pipelines.sums import Sums
from hdsmlm.records.events import Listener, silent
from hdsmlm.records.provenance import Provenance

RECORD, PICTURE, TABLE = "titration.json", "titration.png", "titration.csv"
_FEW_SCORED = 0.5
_ODD_F1 = 0.05
_NORMAL_95 = 1.96
_COLUMNS = (
    "factor",
    "density_per_um2",
    "f1",
    "f1_error",
    "recall",
    "precision",
    "chance_f1",
    "count_error",
    "n_emitters",
)


@dataclass(frozen=True)
class TitrateJob:
    """What to titrate and where to.

    Parameters
    ----------
    sparse : SparseJob
        The movie, its microscope and the model that is titrated.
    out : Path
        Folder; is created.
    engine, precision : str
        Who runs the network, and its arithmetic.
    overwrite : bool
        Replace a titration that is there.
    """

    sparse: SparseJob
    out: Path
    engine: EngineName = "auto"
    precision: Precision = "f32"
    overwrite: bool = False


@dataclass(frozen=True)
class Step:
    """One density of a titration.

    Parameters
    ----------
    factor : int
        Sparse frames that were added up.
    density_per_um2 : float
        Emitters per µm² and frame: ``factor`` times those of the sparse movie.
    score : BinnedScore
        What the model found there.
    """

    factor: int
    density_per_um2: float
    score: BinnedScore

    @property
    def n_scored(self) -> int:
        """Emitters that the scores are about."""
        return self.score.detection.tp + self.score.detection.fn

    @property
    def count_error(self) -> float:
        """Emitters found over emitters that are there, minus 1; doubtful places left out."""
        found, true = self.score.detection, self.n_scored
        return (found.tp + found.fp) / true - 1 if true else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Return the row of the table."""
        found = self.score.detection
        values = {
            "density_per_um2": self.density_per_um2,
            "f1": found.f1,
            "f1_error": self.score.f1_error,
            "recall": found.recall,
            "precision": found.precision,
            "chance_f1": self.score.chance_f1,
            "count_error": self.count_error,
        }
        return {
            "factor": self.factor,
            **{
                name: round(float(value), 4) if np.isfinite(value) else None
                for name, value in values.items()
            },
            "n_emitters": self.n_scored,
        }


@dataclass(frozen=True)
class Titration:
    """Outcome of :func:`titrate_movie`.

    Parameters
    ----------
    steps : tuple of Step
        By rising density.
    density_per_um2 : float
        Of the movie as it is.
    reliable_per_um2 : float
        Density up to which F1 stays at or above the limit, between steps by linear interpolation.
    reliable_range : tuple of float
        The same for F1 at the two ends of its 95 % interval. The sequences that it rests on share
        frames, so that a movie of other molecules may lie somewhat outside.
    is_bounded : bool
        Whether F1 fell below the limit; otherwise the model is reliable at least to
        ``reliable_per_um2``, the densest step.
    reliable_f1 : float
        The limit.
    notes : tuple of str
        Remarks for the user.
    """

    steps: tuple[Step, ...]
    density_per_um2: float
    reliable_per_um2: float
    reliable_range: tuple[float, float]
    is_bounded: bool
    reliable_f1: float
    notes: tuple[str, ...] = ()

    @property
    def speed_up(self) -> float:
        """How many times faster one could image: the reliable density over the movie's."""
        return self.reliable_per_um2 / self.density_per_um2

    def to_text(self) -> str:
        """Return table and verdict for a person."""
        lines = [
            f"{'frames':>6} {'per um2':>8} {'F1':>6} {'recall':>7} {'precision':>9} "
            f"{'chance F1':>9} {'count':>7} {'labels':>7}"
        ]
        for step in self.steps:
            found = step.score.detection
            lines.append(
                f"{step.factor:>6} {step.density_per_um2:>8.3g} {found.f1:>6.3f} "
                f"{found.recall:>7.3f} {found.precision:>9.3f} {step.score.chance_f1:>9.3f} "
                f"{100 * step.count_error:>+6.1f}% {step.n_scored:>7}"
            )
        low, high = self.reliable_range
        between = f" (95 %: {low:.2g} to {high:.2g})" if low < high else ""
        least = "" if self.is_bounded else "at least "
        if self.reliable_per_um2 > 0:
            lines.append(
                f"reliable (F1 >= {self.reliable_f1:g}) up to {least}{self.reliable_per_um2:.2g} "
                f"emitters per um2 and frame{between}; your movie is at "
                f"{self.density_per_um2:.2g}: you could image {least or 'about '}"
                f"{self.speed_up:.1f} times faster"
            )
        else:
            lines.append(
                f"not reliable (F1 >= {self.reliable_f1:g}) at any density, not in this movie "
                f"as it is ({self.density_per_um2:.2g} emitters per um2 and frame): brighter ones, "
                "less background, or a model trained for this microscope would help"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)]) + "\n"


def titrate_movie(
    job: TitrateJob, config: TitrationConfig | None = None, listener: Listener = silent
) -> Titration:
    """Titrate a sparse movie; write table, record and picture into ``job.out``.

    Raises
    ------
    MovieError, BundleError, ConfigError, TableError, OutputError
        For everything that the user can mend.
    """
    config = config or TitrationConfig()
    folder = output_folder(Path(job.out))
    if (folder / RECORD).exists() and not job.overwrite:
        raise OutputError(
            f"{folder} already holds a titration; choose another --out, or replace it with "
            "--overwrite"
        )
    if any((folder / name).exists() for name in (MOVIE, BINNING)):
        raise OutputError(
            f"{folder} holds a movie of another command; choose another --out for the titration"
        )
    bundle = load_bundle(job.sparse.model)
    with closing(
        open_movie(job.sparse.movie, allow_truncated=job.sparse.allow_truncated)
    ) as reader:
        sparse = measure_sparse(reader, job.sparse, config.binning, folder, listener)
        sums, notes = _sums(sparse, config)
        choices = [
            SequenceChoice(f"{n}x", one, np.arange(one.n_sequences, dtype=np.intp))
            for n, one in sums.items()
        ]
        scores = score_binned(bundle, choices, job.engine, job.precision, listener)
    density = sparse.density_per_um2
    steps = tuple(Step(n, n * density, score) for n, score in zip(sums, scores, strict=True))
    densities = [step.density_per_um2 for step in steps]
    f1 = [step.score.detection.f1 for step in steps]
    reliable, is_bounded = reliable_density(densities, f1, config.reliable_f1)
    low, high = (
        reliable_density(
            densities,
            [step.score.detection.f1 + z * step.score.f1_error for step in steps],
            config.reliable_f1,
        )[0]
        for z in (-_NORMAL_95, _NORMAL_95)
    )
    remarks = (*sparse.notes, *notes, *selection_notes(steps))
    result = Titration(
        steps, density, reliable, (low, high), is_bounded, config.reliable_f1, remarks
    )
    provenance = Provenance(
        "titrate",
        config.model_dump(mode="json"),
        {**sparse.parents, f"model {bundle.manifest.name}": bundle.sha256},
    )
    _write(result, provenance, folder)
    return result


def reliable_density(densities: list[float], f1: list[float], limit: float) -> tuple[float, bool]:
    """Return the density at which F1 falls below a limit for good, and whether it does.

    Between two steps F1 is taken as linear in the density; 0 when no step reaches the limit.

    Examples
    --------
    >>> reliable_density([1.0, 2.0, 4.0], [0.95, 0.9, 0.8], 0.85)
    (3.0, True)
    >>> reliable_density([1.0, 2.0], [0.95, 0.9], 0.85)
    (2.0, False)
    """
    good = np.flatnonzero(np.asarray(f1) >= limit)
    if not good.size:
        return 0.0, True
    k = int(good[-1]) + 1
    if k == len(f1):
        return densities[-1], False
    share = (f1[k - 1] - limit) / (f1[k - 1] - f1[k]) if f1[k] == f1[k] else 0.0
    return round(densities[k - 1] + share * (densities[k] - densities[k - 1]), 9), True


def selection_notes(steps: tuple[Step, ...]) -> tuple[str, ...]:
    """Say where the scores are not what they seem.

    The noise of the removed backgrounds and the doubtful spots grow with the number of summands;
    where they take more than half of the emitters that the first step would promise, the scores are
    those of the brighter, lonelier ones.
    """
    first = steps[0]
    notes = []
    if first.score.detection.f1 < max(step.score.detection.f1 for step in steps) - _ODD_F1:
        notes.append(
            "the sparse movie itself scores worse than its sums: much of what the model finds in "
            "it is in doubt or noise; look at it with `hdsmlm predict`"
        )
    share = first.n_scored / first.factor
    for step in steps:
        left = step.n_scored / (step.factor * share) if share else 1.0
        if left < _FEW_SCORED:
            notes.append(
                f"from {step.factor} frames on the scores are of a selection: only "
                f"{100 * left:.0f} % of the emitters are bright enough in the sum and beyond doubt"
            )
            break
    return tuple(notes)


def _sums(sparse: Sparse, config: TitrationConfig) -> tuple[dict[int, Sums], tuple[str, ...]]:
    """Return the movies of sums, and a remark on those for which the sparse movie is too short."""
    sums: dict[int, Sums] = {}
    for factor in config.factors:
        try:
            one = Sums(sparse, config.binning, factor)
            draw_sum(one.rules, config.binning.seed, 0)
            sums[factor] = one
        except MovieError as error:
            if not sums:
                raise
            left_out = ", ".join(str(n) for n in config.factors if n >= factor)
            return sums, (f"left out {left_out}: {error}",)
    return sums, ()


def _write(result: Titration, provenance: Provenance, folder: Path) -> None:
    rows = [step.to_dict() for step in result.steps]
    with writing(folder / TABLE), atomic_path(folder / TABLE) as temporary:
        lines = [",".join(str(row[name]) for name in _COLUMNS) for row in rows]
        temporary.write_text("\n".join([",".join(_COLUMNS), *lines]) + "\n", "utf-8")
    _draw(result, folder / PICTURE)
    record = {
        "steps": rows,
        "density_per_um2": round(result.density_per_um2, 6),
        "reliable_per_um2": round(result.reliable_per_um2, 6),
        "reliable_range_per_um2": [round(value, 6) for value in result.reliable_range],
        "is_bounded": result.is_bounded,
        "reliable_f1": result.reliable_f1,
        "speed_up": round(result.speed_up, 4),
        "notes": list(result.notes),
        "provenance": dataclasses.asdict(provenance),
    }
    with atomic_path(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=2, default=str), "utf-8")


def _draw(result: Titration, path: Path) -> None:
    """Draw scores and count error against density."""
    from matplotlib.figure import Figure

    from hdsmlm.evaluation.plots import (
        CHANCE_COLOUR,
        F1_COLOUR,
        PRECISION_COLOUR,
        RECALL_COLOUR,
    )

    density = [step.density_per_um2 for step in result.steps]
    found = [step.score.detection for step in result.steps]
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    scores, counts = figure.subplots(1, 2)
    f1_error = [_NORMAL_95 * step.score.f1_error for step in result.steps]
    scores.errorbar(
        density, [part.f1 for part in found], f1_error, fmt="o-", color=F1_COLOUR, label="F1"
    )
    scores.plot(density, [part.recall for part in found], "s-", color=RECALL_COLOUR, label="recall")
    scores.plot(
        density, [part.precision for part in found], "^-", color=PRECISION_COLOUR, label="precision"
    )
    chance = [step.score.chance_f1 for step in result.steps]
    scores.plot(density, chance, ":", color=CHANCE_COLOUR, label="chance F1")
    scores.axhline(result.reliable_f1, color=CHANCE_COLOUR, linewidth=0.8)
    if result.is_bounded and result.reliable_per_um2 > 0:
        scores.axvline(result.reliable_per_um2, color=F1_COLOUR, linewidth=0.8)
    scores.set(ylim=(0, 1.02), ylabel="score (tier 1, beyond doubt)")
    scores.legend(frameon=False)
    bias = [100 * step.count_error for step in result.steps]
    counts.axhline(0, color=CHANCE_COLOUR, linewidth=0.8)
    counts.plot(density, bias, "o-", color=F1_COLOUR)
    counts.set(ylabel="error of the count, %")
    for axes in (scores, counts):
        axes.set_xlabel("emitters per µm² and frame")
        axes.set_xscale("log")
        axes.set_xticks(density, [f"{value:.2g}" for value in density])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary, writing(path):
        figure.savefig(temporary, dpi=150, format="png")
