"""Windows put together: nothing lost, nothing twice, wherever the seams lie."""

from __future__ import annotations

import numpy as np
import pytest

from hdsmlm.fitting.stitching import Stitcher, plan_spans
from hdsmlm.records.emitters import Emitters


def movie_of_blinks(n_frames: int, seed: int, mean_on: float = 3.0) -> Emitters:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n_frames, 3 * n_frames)
    last = np.minimum(first + rng.geometric(1 / mean_on, len(first)) - 1, n_frames - 1)
    blink = np.repeat(np.arange(len(first)), last - first + 1)
    frame = np.concatenate([np.arange(a, b + 1) for a, b in zip(first, last, strict=True)])
    place = rng.uniform(0, 6000, (2, len(first)))
    return Emitters(
        {"frame": frame, "x_nm": place[0, blink], "y_nm": place[1, blink], "blink_id": blink}
    )


def stitched(truth: Emitters, core: int, margin: int, jitter_nm: float = 0.0, first: int = 0):
    """Cut the truth as windows would see it, numbered anew and moved a little; put it together."""
    rng = np.random.default_rng(5)
    n_frames = int(truth["frame"].max()) + 1
    spans = plan_spans(first, n_frames, core, margin)
    stitcher, pieces, blinks = Stitcher(100.0), [], []
    for k, span in enumerate(spans):
        seen = truth.select((truth["frame"] >= span.start) & (truth["frame"] < span.stop))
        ids, index = np.unique(seen["blink_id"], return_inverse=True)
        shift = rng.normal(0, jitter_nm, (2, len(ids)))
        columns = {"x_nm": seen["x_nm"] + shift[0, index], "y_nm": seen["y_nm"] + shift[1, index]}
        stitcher.add(seen.with_columns(blink_id=index, **columns), span)
        rows, ended = stitcher.take(spans[k + 1].start if k + 1 < len(spans) else None)
        pieces.append(rows)
        blinks.append(ended)
    return Emitters.concatenate(pieces), Emitters.concatenate(blinks)


@pytest.mark.parametrize(("core", "margin"), [(7, 2), (16, 4), (48, 8), (200, 8)])
def test_any_grid_gives_every_row_and_blink_once(core: int, margin: int) -> None:
    truth = movie_of_blinks(120, seed=1)
    rows, blinks = stitched(truth, core, margin)
    for table in (rows, blinks):
        assert len(table) == len(truth)
    assert (np.diff(rows["frame"]) >= 0).all()
    key = np.lexsort((truth["x_nm"], truth["y_nm"], truth["frame"]))
    np.testing.assert_array_equal(rows["x_nm"], truth["x_nm"][key])
    # one number for one blink: the pairs (true, found) are a bijection
    pairs = np.unique(np.stack([truth["blink_id"][key], rows["blink_id"]]), axis=1)
    assert pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))


def test_a_blink_longer_than_windows_is_one_with_one_place() -> None:
    frame = np.arange(100)
    truth = Emitters(
        {
            "frame": frame,
            "x_nm": np.full(100, 500.0),
            "y_nm": np.full(100, 700.0),
            "blink_id": frame * 0,
        }
    )
    rows, blinks = stitched(truth, core=12, margin=3, jitter_nm=8.0)
    assert len(rows) == 100
    assert len(np.unique(rows["blink_id"])) == 1
    assert np.ptp(rows["x_nm"]) == 0
    assert len(blinks) == 100


def test_windows_that_disagree_about_a_start_lose_no_row() -> None:
    """The earlier window sees frames 8 on, the later one from 6 on; the seam is at 8."""
    one, two = (
        Emitters(
            {
                "frame": frames,
                "x_nm": 500.0 + 0.0 * frames,
                "y_nm": 0.0 * frames,
                "blink_id": 0 * frames,
            }
        )
        for frames in (np.arange(8, 10), np.arange(6, 10))
    )
    spans = plan_spans(0, 16, 8, 2)
    stitcher = Stitcher(100.0)
    stitcher.add(one, spans[0])
    before, _ = stitcher.take(spans[1].start)
    stitcher.add(two, spans[1])
    after, ended = stitcher.take(None)
    assert len(before) == 0
    assert after["frame"].tolist() == ended["frame"].tolist() == [8, 9]


def test_two_blinks_of_one_place_in_one_frame_stay_two() -> None:
    truth = Emitters(
        {
            "frame": [6, 7, 8, 9, 6, 7, 8, 9],
            "x_nm": [500.0] * 4 + [560.0] * 4,
            "y_nm": [0.0] * 8,
            "blink_id": [0] * 4 + [1] * 4,
        }
    )
    rows, _ = stitched(truth, core=8, margin=3, jitter_nm=5.0)
    assert sorted(np.unique(rows["blink_id"], return_counts=True)[1].tolist()) == [4, 4]


def test_windows_without_rows() -> None:
    rows, blinks = stitched(movie_of_blinks(30, seed=2).select(np.arange(3)), core=4, margin=2)
    assert len(rows) == len(blinks) == 3
