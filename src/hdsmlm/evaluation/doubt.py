"""Scores where the truth itself is in doubt in places: there nothing counts, neither way.

The truth of a binned recording was measured on its sparse frames. Around a spot that the sparse
localizer doubted it is not known how many emitters there are: within
:data:`hdsmlm.labels.counts.DOUBT_RADIUS_PX` of it a prediction is neither true nor false, and a
true emitter neither found nor missed. Both ways, because a rule for one of them would favour models
that find much, or little, in such places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.evaluation import EvaluationConfig
from hdsmlm.evaluation.matching import match_knn
from hdsmlm.evaluation.scores import DetectionScore, tiers
from hdsmlm.labels.counts import doubt_map
from hdsmlm.records.emitters import Emitters


@dataclass(frozen=True)
class DoubtfulTruth:
    """The truth of a recording, and where it is in doubt.

    Parameters
    ----------
    emitters : Emitters
        What is known to be there.
    doubtful : Emitters or None
        Spots of which it is not known how many emitters they are.
    shape : tuple of int
        (t, y, x) of the recording.
    pixel_size_nm : float
        Side of a pixel.
    """

    emitters: Emitters
    doubtful: Emitters | None
    shape: tuple[int, int, int]
    pixel_size_nm: float

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which emitters a score is about: of tier 1, away from doubt; shape (n,)."""
        return np.asarray((tiers(self.emitters) == 1) & ~self.in_doubt(self.emitters))

    def in_doubt(self, table: Emitters) -> NDArray[np.bool_]:
        """Return which rows of a table lie where the truth is in doubt; shape (n,)."""
        if self.doubtful is None or not len(self.doubtful):
            return np.zeros(len(table), bool)
        return in_map(table, doubt_map(self.doubtful, self.shape, self.pixel_size_nm), self)


def in_map(table: Emitters, where: NDArray[np.bool_], truth: DoubtfulTruth) -> NDArray[np.bool_]:
    """Return which rows lie in pixels that are true in a map (t, y, x); outside it none does."""
    t, height, width = where.shape
    frame = table["frame"].astype(np.intp)
    row = np.floor(table["y_nm"] / truth.pixel_size_nm).astype(np.intp)
    column = np.floor(table["x_nm"] / truth.pixel_size_nm).astype(np.intp)
    inside = (frame >= 0) & (frame < t) & (row >= 0) & (row < height)
    inside &= (column >= 0) & (column < width)
    result = np.zeros(len(table), bool)
    result[inside] = where[frame[inside], row[inside], column[inside]]
    return result


def score_beside_doubt(
    truth: DoubtfulTruth, predicted: Emitters, settings: EvaluationConfig | None = None
) -> DetectionScore:
    """Return the tier-1 kNN score; where the truth is in doubt nothing counts.

    Examples
    --------
    >>> emitters = Emitters({"frame": [0, 0], "x_nm": [950, 2150], "y_nm": [950, 950]})
    >>> spot = Emitters({"frame": [0], "x_nm": [1950], "y_nm": [950]})
    >>> truth = DoubtfulTruth(emitters, spot, (1, 32, 32), 100.0)
    >>> guess = Emitters({"frame": [0] * 3, "x_nm": [930, 1900, 2500], "y_nm": [950] * 3})
    >>> result = score_beside_doubt(truth, guess)
    >>> result.tp, result.fp, result.fn, result.ignored
    (1, 1, 0, 1)
    """
    settings = settings or EvaluationConfig()
    matching = match_knn(
        truth.emitters,
        predicted,
        truth.pixel_size_nm,
        k=settings.k_neighbours,
        tolerance_px=settings.tolerance_px,
    )
    wanted = truth.counted
    hit = wanted[matching.truth_rows]
    distances = matching.distances_nm[hit]
    tp = int(hit.sum())
    unmatched = ~matching.predicted_matched
    ignored = unmatched & truth.in_doubt(predicted)
    return DetectionScore(
        tp=tp,
        fp=int(unmatched.sum()) - int(ignored.sum()),
        fn=int(wanted.sum()) - tp,
        ignored=len(matching) - tp + int(ignored.sum()),
        rmse_nm=float(np.sqrt(np.mean(distances**2))) if tp else float("nan"),
    )
