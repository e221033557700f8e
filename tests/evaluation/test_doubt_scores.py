"""Where the truth is in doubt nothing counts, neither way."""

import numpy as np

from hdsmlm.evaluation.doubt import DoubtfulTruth, score_beside_doubt
from hdsmlm.evaluation.matching import match_knn
from hdsmlm.evaluation.scores import score, tiers
from hdsmlm.records.emitters import Emitters

PIXEL_NM = 100.0
SHAPE = (3, 40, 40)


def _random(rng, n, snr=False):
    columns = {
        "frame": rng.integers(0, SHAPE[0], n),
        "x_nm": rng.uniform(0, SHAPE[2] * PIXEL_NM, n),
        "y_nm": rng.uniform(0, SHAPE[1] * PIXEL_NM, n),
    }
    if snr:
        columns["snr"] = rng.uniform(0, 10, n)
    return Emitters(columns)


def test_without_doubt_it_is_the_headline_metric():
    rng = np.random.default_rng(1)
    truth, found = _random(rng, 200, snr=True), _random(rng, 180)
    for doubtful in (None, Emitters.empty()):
        ours = score_beside_doubt(DoubtfulTruth(truth, doubtful, SHAPE, PIXEL_NM), found)
        assert ours == score(match_knn(truth, found, PIXEL_NM), tiers(truth) == 1)


def test_what_happens_at_a_doubtful_spot_changes_nothing():
    """Zero, one or five predictions there, and a true emitter found or missed: the same score."""
    far = {"frame": 0, "x_nm": 3000.0, "y_nm": 3000.0}
    spot = Emitters({"frame": [0], "x_nm": [1050.0], "y_nm": [1050.0]})
    truth = Emitters({"frame": [0, 0], "x_nm": [1150.0, far["x_nm"]], "y_nm": [1050.0, 3000.0]})
    reference = None
    for k in (0, 1, 5):
        found = Emitters(
            {
                "frame": [0] * (k + 1),
                "x_nm": [3020.0, *(950.0 + 50.0 * i for i in range(k))],
                "y_nm": [3000.0, *(1060.0 for _ in range(k))],
            }
        )
        result = score_beside_doubt(DoubtfulTruth(truth, spot, SHAPE, PIXEL_NM), found)
        assert (result.tp, result.fp, result.fn, result.ignored) == (1, 0, 0, k)
        reference = reference or result.f1
        assert result.f1 == reference


def test_doubt_holds_in_its_own_frame_only():
    spot = Emitters({"frame": [1], "x_nm": [1050.0], "y_nm": [1050.0]})
    found = Emitters({"frame": [0, 1], "x_nm": [1050.0] * 2, "y_nm": [1050.0] * 2})
    truth = DoubtfulTruth(Emitters.empty(), spot, SHAPE, PIXEL_NM)
    result = score_beside_doubt(truth, found)
    assert (result.fp, result.ignored) == (1, 1)
