"""Frames fitted in tiles and windows: the same blinks wherever the seams lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from blink_scenes import CONFIG, PIXEL_NM, movie_of
from scipy.spatial import cKDTree

from hdsmlm.config.spacetime import SpaceTimeConfig
from hdsmlm.fitting.psf_kernels import fittable_psf
from hdsmlm.fitting.stitching import Stitcher, plan_spans
from hdsmlm.fitting.tiles import BlinkFitter, Tile, WindowData, owned_rows
from hdsmlm.imaging.psf import GaussianPsf
from hdsmlm.records.emitters import Emitters

PSF = GaussianPsf(1.3)


def window_of(density: float, shape: tuple[int, int, int], seed: int) -> WindowData:
    """Blinks of 1000 photons, ``density`` per pixel and frame, as the fit receives them."""
    rng = np.random.default_rng(seed)
    n = int(density * np.prod(shape) / 2)
    first = rng.integers(0, shape[0], n)
    last = np.minimum(first + rng.geometric(0.5, n) - 1, shape[0] - 1)
    places = rng.uniform(0, 1, (n, 3)) * [shape[2], shape[1], 0]
    scene = movie_of(PSF, places, np.stack([first, last], 1), 1000.0, shape, seed=seed)
    found = scene.found
    row = np.clip(found.y_px.astype(int), 0, shape[1] - 1)
    column = np.clip(found.x_px.astype(int), 0, shape[2] - 1)
    count_map = np.zeros((shape[0], 4, *shape[1:]), np.float32)
    count_map[:, 1] = 0.01
    count_map[found.frame, 1, row, column] = 0.9
    count_map[:, 0] = 1 - count_map[:, 1]
    detections = {
        "frame": found.frame,
        "x_nm": found.x_px * PIXEL_NM,
        "y_nm": found.y_px * PIXEL_NM,
    }
    return WindowData(scene.data, np.zeros(shape, np.bool_), count_map, Emitters(detections))


def fitter(tile_px: int, config: SpaceTimeConfig = CONFIG) -> BlinkFitter:
    return BlinkFitter(fittable_psf(PSF), PIXEL_NM, config, tile_px)


def apart(one: Emitters, other: Emitters) -> np.ndarray:
    """Return how far each row of ``one`` is from the nearest of ``other`` in its frame, nm."""
    points = [np.column_stack([t["x_nm"], t["y_nm"], 1e5 * t["frame"]]) for t in (one, other)]
    return np.asarray(cKDTree(points[1]).query(points[0])[0])


def near_pairs(rows: Emitters) -> int:
    """Return how many pairs of rows lie within 0.6 px in one frame."""
    points = np.column_stack([rows["x_nm"], rows["y_nm"], 1e5 * rows["frame"]])
    return len(cKDTree(points).query_pairs(60.0))


@pytest.mark.parametrize("density", [0.01, 0.02])
def test_tiles_give_the_rows_of_the_whole_frame(density: float) -> None:
    """1 and 2 per square micrometre, where a tenth of the rows lies within a pixel of a seam."""
    window = window_of(density, (16, 96, 96), seed=3)
    whole, tiled = (fitter(side).fit(window).localizations for side in (96, 32))
    assert len(whole) > 1000
    for one, other in ((whole, tiled), (tiled, whole)):
        distance = apart(one, other)
        assert (distance < 5.0).mean() > 0.985
        assert (distance < 20.0).mean() > 0.995
    assert near_pairs(tiled) <= near_pairs(whole) + 1


@pytest.mark.parametrize(("core", "margin"), [(10, 8), (16, 8), (27, 8)])
def test_windows_of_any_grid_give_the_rows_of_one_window(core: int, margin: int) -> None:
    window = window_of(0.015, (48, 32, 32), seed=4)
    whole = fitter(64).fit(window).localizations
    rows = []
    stitcher = Stitcher(PIXEL_NM)
    spans = plan_spans(0, 48, core, margin)
    for k, span in enumerate(spans):
        frames = slice(span.start, span.stop)
        found = window.detections
        seen = found.select((found["frame"] >= span.start) & (found["frame"] < span.stop))
        data = replace(window.data, counts=window.data.counts[frames])
        part = WindowData(
            data,
            window.saturated[frames],
            window.count_map[frames],
            seen.with_columns(frame=seen["frame"] - span.start),
        )
        table = fitter(64).fit(part).localizations
        stitcher.add(table.with_columns(frame=table["frame"] + span.start), span)
        rows.append(stitcher.take(spans[k + 1].start if k + 1 < len(spans) else None)[0])
    cut = Emitters.concatenate(rows)
    for one, other in ((whole, cut), (cut, whole)):
        distance = apart(one, other)
        assert (distance < 5.0).mean() > 0.97
        assert (distance < 20.0).mean() > 0.985


TILES = [Tile(0, 10, 0, 10), Tile(0, 10, 10, 20)]


def table(x_px: list[float], blink: list[int] | None = None, frame: int = 0) -> Emitters:
    x = np.array(x_px)
    return Emitters(
        {
            "frame": np.full(len(x), frame),
            "x_nm": 100 * x,
            "y_nm": np.full(len(x), 500.0),
            "blink_id": np.arange(len(x)) if blink is None else blink,
        }
    )


@pytest.mark.parametrize(
    ("left", "right", "kept"),
    [
        ([9.9], [10.3], [10.3]),  # each on its own pixels: would come twice
        ([10.2], [9.9], [9.9]),  # each on the other's: would be lost
        ([9.5], [9.7], [9.5]),
        ([9.9, 10.2], [10.05], [10.05]),  # one tile answers for all of the light
        ([9.2], [10.4], [9.2, 10.4]),  # too far apart to be one
        ([10.2], [], []),  # only the tile on whose pixels it lies may say so
        ([], [], []),
    ],
)
def test_a_blink_at_the_seam_comes_once(left, right, kept) -> None:
    rows = owned_rows([table(left), table(right)], TILES, 100.0)
    np.testing.assert_allclose(np.sort(rows["x_nm"]) / 100, kept)


def test_blinks_that_share_no_frame_are_two_and_ids_stay_apart() -> None:
    rows = owned_rows([table([9.9], frame=1), table([10.1], frame=2)], TILES, 100.0)
    assert len(rows) == 2
    assert len(np.unique(rows["blink_id"])) == 2


def test_saturated_pixels_flag_the_rows_of_their_frame_in_every_tile() -> None:
    from hdsmlm.records.flags import Flag

    window = window_of(0.004, (8, 64, 64), seed=6)
    saturated = np.zeros(window.data.shape, np.bool_)
    frame, y, x = (window.detections[name][0] for name in ("frame", "y_nm", "x_nm"))
    saturated[frame, int(y / 100), int(x / 100)] = True
    rows = fitter(32).fit(replace(window, saturated=saturated)).localizations
    flagged = (rows["flags"] & Flag.SATURATED) != 0
    near = (rows["frame"] == frame) & (np.hypot(rows["x_nm"] - x, rows["y_nm"] - y) < 150)
    assert near.any()
    assert flagged[near].all()
    assert not flagged[rows["frame"] != frame].any()
