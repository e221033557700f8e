"""The demonstration: simulate a dense movie, predict and localize it, score both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hdsmlm.bundle import load_bundle
from hdsmlm.config.postprocessing import RenderConfig
from hdsmlm.config.prediction import PredictionConfig
from hdsmlm.config.simulation import (
    BackgroundRanges,
    CameraWeights,
    MovieConfig,
    PsfWeights,
    SimulationConfig,
    StructureWeights,
)
from hdsmlm.inference.summary import PredictionSummary
from hdsmlm.io.writing import output_folder
from hdsmlm.pipelines.evaluate import EvaluationOutput, EvaluationSources, evaluate_tables
from hdsmlm.pipelines.localize import LocalizeJob, localize_movie
from hdsmlm.pipelines.localize_output import LocalizeSummary
from hdsmlm.pipelines.postprocess import TableJob, render_table
from hdsmlm.pipelines.predict import PredictionJob, predict_movie
from hdsmlm.pipelines.simulate import SimulatedMovie, simulate_movie
from hdsmlm.records.events import Listener, silent

DEMO_MOVIE = MovieConfig(
    frames=100,
    height=128,
    width=128,
    seed=7,
    simulation=SimulationConfig(
        density_per_um2=(2.0, 2.0),
        pixel_size_nm=(100.0, 100.0),
        sigma_px=(1.3, 1.3),
        photons=(1000.0, 1000.0),
        structured_share=(0.5, 0.5),
        cameras=CameraWeights(emccd=1.0, scmos=0.0, ideal=0.0),
        psfs=PsfWeights(gaussian=1.0, astigmatic=0.0, diffraction=0.0),
        structures=StructureWeights(uniform=0.0, curves=1.0, rings=0.0, clusters=0.0, mesh=0.0),
        background=BackgroundRanges(photons=(10.0, 10.0), structure=(0.2, 0.2)),
    ),
)
"""Filaments seen by an EMCCD camera at 2 emitters per µm² and frame: their images overlap."""


@dataclass(frozen=True)
class Demonstration:
    """What :func:`run_demo` made; everything lies below one folder.

    Parameters
    ----------
    simulated : SimulatedMovie
        The movie and its truth, in ``movie/``.
    result : Path
        Folder of the emitter table, the count map and the overlays.
    summary : PredictionSummary
        What was found, and how fast.
    scored : EvaluationOutput
        Scores, report and overlays of right and wrong, in ``scores/``.
    localized : LocalizeSummary
        What the fit gave.
    localizations, blinks, picture : Path
        Tables of the fit, and the super-resolved picture, in ``localized/``.
    scored_fit : EvaluationOutput
        Scores of the fit, in ``scores_fit/``.
    """

    simulated: SimulatedMovie
    result: Path
    summary: PredictionSummary
    scored: EvaluationOutput
    localized: LocalizeSummary
    localizations: Path
    blinks: Path
    picture: Path
    scored_fit: EvaluationOutput


def run_demo(
    out: Path,
    model: str | Path = "wolf",
    movie: MovieConfig = DEMO_MOVIE,
    listener: Listener = silent,
) -> Demonstration:
    """Simulate ``movie``, predict and localize it with ``model``, score both against the truth.

    The same model and movie give the same tables. Results of an earlier demonstration in ``out``
    are replaced.

    Parameters
    ----------
    out : Path
        Folder; is created.
    model : str or Path
        Name of a shipped model, or a bundle's folder.
    movie : MovieConfig
        What is simulated.
    listener : Listener
        Hears the progress.

    Raises
    ------
    BundleError
        When there is no such model; said before anything is simulated.
    OutputError
        When the results cannot be written.
    """
    load_bundle(model)
    simulated = simulate_movie(movie, out / "movie", listener)
    result = out / "result"
    job = PredictionJob(simulated.movie, result, model, overwrite=True)
    summary = predict_movie(job, PredictionConfig(), listener)
    scored = evaluate_tables(
        EvaluationSources(
            truth=simulated.truth,
            predicted=result / summary.files["emitters"],
            movie=simulated.movie,
            count_map=result / summary.files["count map"],
        ),
        out / "scores",
        listener=listener,
    )
    fitted = output_folder(out / "localized")
    table, blinks = fitted / "localizations.hdf5", fitted / "blinks.hdf5"
    localized = localize_movie(
        LocalizeJob(simulated.movie, table, model, simulated.camera, blinks=blinks, overwrite=True),
        listener=listener,
    )
    picture = fitted / "localizations.png"
    render_table(
        TableJob(blinks, (picture,), overwrite=True), RenderConfig(pixel_size_nm=10.0), listener
    )
    scored_fit = evaluate_tables(
        EvaluationSources(truth=simulated.truth, predicted=table, movie=simulated.movie),
        out / "scores_fit",
        listener=listener,
    )
    return Demonstration(
        simulated, result, summary, scored, localized, table, blinks, picture, scored_fit
    )
