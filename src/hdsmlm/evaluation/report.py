"""One ``scores.json`` and one self-contained ``report.html``."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hdsmlm.config.evaluation import EvaluationConfig
from hdsmlm.evaluation import plots
from hdsmlm.evaluation.counts import CountScores
from hdsmlm.evaluation.result import Evaluation, flat_scores
from hdsmlm.io.writing import atomic_path


@dataclass(frozen=True)
class Picture:
    """A PNG on disk that the report embeds.

    Parameters
    ----------
    path : Path
        The PNG.
    caption : str
        One line under it.
    """

    path: Path
    caption: str

    @property
    def base64(self) -> str:
        """Its bytes as text."""
        return base64.b64encode(self.path.read_bytes()).decode("ascii")


@dataclass(frozen=True)
class Plot:
    """A plot of the report: heading, SVG text, one line under it, "wide" or "square"."""

    title: str
    svg: str
    caption: str
    shape: str = "square"


def write_scores(evaluation: Evaluation, path: Path) -> Path:
    """Write the flat scores as JSON; keys are listed in :mod:`hdsmlm.evaluation.result`."""
    text = json.dumps(flat_scores(evaluation), indent=2, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return path


def write_report(
    evaluation: Evaluation,
    config: EvaluationConfig,
    path: Path,
    overlays: Sequence[Picture] = (),
    sources: Mapping[str, str] | None = None,
    title: str = "Evaluation",
) -> Path:
    """Write the report as one HTML file without outside parts.

    Parameters
    ----------
    evaluation : Evaluation
        The scores.
    config : EvaluationConfig
        The settings that they were made with; stated in the definitions.
    path : Path
        The HTML file.
    overlays : sequence of Picture
        Embedded in this order.
    sources : mapping of str to str
        Name and description of each input, printed at the end.
    title : str
        Heading.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "score": _formatted("{:.3f}"),
        "signed": _formatted("{:+.3f}"),
        "nm": _formatted("{:.1f} nm"),
        "percent": _formatted("{:.1f} %"),
        "thousands": "{:,}".format,
    }
    template = files("hdsmlm.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    html = environment.from_string(template).render(
        title=title,
        e=evaluation,
        head=evaluation.detection.rows[0],
        counts=main_counts(evaluation)[1],
        config=config,
        plots=_plots(evaluation),
        overlays=overlays,
        sources=sources or {},
        has_axial=any(not math.isnan(row.axial_rmse_nm) for row in evaluation.detection.rows),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def main_counts(evaluation: Evaluation) -> tuple[str, CountScores]:
    """Return the source and the scores of the headline count: the map where there is one."""
    source = "map" if "map" in evaluation.counts else "table"
    return source, evaluation.counts[source]


def _plots(evaluation: Evaluation) -> list[Plot]:
    detection = evaluation.detection
    made = [
        Plot(
            "Scores by density",
            plots.density_plot(detection.by_density),
            "A true emitter counts in the bin of its own surroundings, a false one where it lies.",
            "wide",
        )
    ]
    if detection.by_snr:
        made.append(
            Plot(
                "Recall by signal-to-noise ratio",
                plots.snr_plot(detection.by_snr),
                "Tier 1 begins at 2; fainter emitters are excluded from training.",
                "wide",
            )
        )
    source, counts = main_counts(evaluation)
    words = {"map": "expected counts of the count map", "table": "rows of the predicted table"}
    made += [
        Plot(
            f"Counts per {counts.window_px}×{counts.window_px} px",
            plots.confusion_plot(counts.window_confusion, counts.window_px),
            f"From the {words[source]}, rounded. Shares are of the row; below them the windows.",
        ),
        Plot(
            "Count bias",
            plots.count_plot(dict(evaluation.counts)),
            "Mean count of the windows that truly hold so many (at least 10 windows a point). "
            "Emitters near the rim of a window may be counted next door.",
        ),
    ]
    if evaluation.calibration is not None:
        made.append(
            Plot(
                "Reliability of the count map",
                plots.reliability_plot(evaluation.calibration),
                "Above the diagonal the map is too cautious, below it too sure.",
            )
        )
    return made


def _formatted(pattern: str) -> Callable[[float], str]:
    """Return a filter that formats a number, or gives a dash where it has no meaning."""
    return lambda value: pattern.format(value) if math.isfinite(value) else "–"
