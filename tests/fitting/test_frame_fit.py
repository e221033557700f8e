"""What the frame-wise fit returns, refuses and flags; what it must not depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scenes import EMCCD, GAUSSIAN, PIXEL_NM, Scene, crowded, make_scene

from hdsmlm.config.fitting import FitConfig
from hdsmlm.errors import ConfigError, MovieError, TableError
from hdsmlm.fitting.frame_fit import fit_frames
from hdsmlm.fitting.likelihood import PoissonData
from hdsmlm.imaging.psf import AstigmaticPsf
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.flags import Flag

CONFIG = FitConfig(threads=1)


def fit(scene: Scene, config: FitConfig = CONFIG, **more) -> Emitters:
    return fit_frames(scene.found, scene.data, GAUSSIAN, PIXEL_NM, config, **more).localizations


def single(**changes) -> Scene:
    values = {"photons": 1500.0, "shape": (1, 21, 23), **changes}
    place = np.array([[11.3, 10.6, 0.0]])
    return make_scene(GAUSSIAN, EMCCD, np.zeros(1, int), place, **values)


def assert_same(one: Emitters, other: Emitters, names: tuple[str, ...] = ()) -> None:
    assert one.names == other.names
    for name in names or one.names:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def crowd() -> Scene:
    return crowded(5, 3.0, (4, 40, 44))


def test_the_result_is_the_same_for_any_number_of_threads(crowd: Scene) -> None:
    assert_same(fit(crowd), fit(crowd, FitConfig(threads=3)))


def test_depths_are_the_same_for_any_number_of_threads() -> None:
    """Start depths of a group must not be read while a neighbour in another thread finds them."""
    psf, shape = AstigmaticPsf(1.3, 200.0, 400.0), (30, 40, 40)
    frame = np.repeat(np.arange(30), 16)
    rng = np.random.default_rng(1)
    truth = rng.uniform(0, 1, (len(frame), 3)) * [40, 40, 800] - [0, 0, 400]
    scene = make_scene(psf, EMCCD, frame, truth, photons=2000.0, shape=shape, seed=2)
    one, four = (
        fit_frames(
            scene.found, scene.data, psf, PIXEL_NM, FitConfig(threads=n, choose_count=False)
        ).localizations
        for n in (1, 4)
    )
    assert_same(one, four)


def test_the_result_does_not_depend_on_the_order_of_the_detections(crowd: Scene) -> None:
    mixed = np.random.default_rng(0).permutation(len(crowd.found))
    other = Scene(crowd.frame, crowd.truth, crowd.data, crowd.found.select(mixed))
    assert_same(fit(crowd), fit(other))


def test_frames_are_fitted_alike_in_any_chunks(crowd: Scene) -> None:
    names = ("x_nm", "y_nm", "photons", "background", "uncertainty_x_nm", "probability", "flags")
    whole = fit(crowd)
    parts = []
    for first, last in ((0, 1), (1, 4)):
        rows = (crowd.frame >= first) & (crowd.frame < last)
        found = crowd.found.select(rows)
        found = found.with_columns(frame=found["frame"] - first)
        data = replace(crowd.data, counts=crowd.data.counts[first:last])
        part = fit(Scene(crowd.frame, crowd.truth, data, found))
        parts.append(part.with_columns(frame=part["frame"] + first))
    assert_same(whole, Emitters.concatenate(parts), names)


def test_photons_are_never_negative_where_there_is_no_light() -> None:
    rng = np.random.default_rng(1)
    truth = np.column_stack([rng.uniform(4, 36, (30, 2)), np.zeros(30)])
    frame = np.zeros(30, int)
    scene = make_scene(GAUSSIAN, EMCCD, frame, truth, photons=0.0, shape=(1, 40, 40))
    rows = fit(scene, FitConfig(choose_count=False))
    assert len(rows) == 30
    assert (rows["photons"] >= 0).all()
    assert (rows["background"] > 0).all()
    # without a map the prior takes the detector at its word: its even odds meet no light
    assert np.median(rows["probability"]) < 0.2
    assert len(fit(scene)) <= 6


def test_the_table_is_complete_and_carries_columns_over() -> None:
    scene = single()
    found = scene.found.with_columns(count_class=[1], expected_count=[1.1], probability=[0.7])
    rows = fit(Scene(scene.frame, scene.truth, scene.data, found))
    wanted = {
        "frame", "x_nm", "y_nm", "photons", "background", "sigma_nm", "uncertainty_x_nm",
        "uncertainty_y_nm", "uncertainty_photons", "uncertainty_background", "probability",
        "log_likelihood_ratio", "group_id", "flags", "emitter_id", "count_class", "expected_count",
    }  # fmt: skip
    assert set(rows.names) == wanted
    assert rows["count_class"].tolist() == [1]
    assert rows["probability"][0] > 0.99
    assert rows["log_likelihood_ratio"][0] > 50
    assert rows["flags"][0] == 0
    assert all(np.isfinite(rows[name]).all() for name in rows.names)


def test_no_detections_give_no_rows() -> None:
    scene = single()
    rows = fit(Scene(scene.frame, scene.truth, scene.data, scene.found.select(np.zeros(1, bool))))
    assert len(rows) == 0
    assert "uncertainty_x_nm" in rows


def test_a_saturated_pixel_is_flagged() -> None:
    scene = single()
    mask = np.zeros(scene.data.shape, bool)
    mask[0, 12, 12] = True
    assert fit(scene, saturated=mask)["flags"][0] == Flag.SATURATED
    mask[0, 12, 12], mask[0, 2, 2] = False, True
    assert fit(scene, saturated=mask)["flags"][0] == 0


@pytest.mark.parametrize("where", ["data", "map"])
def test_a_pixel_without_a_value_is_left_out_and_flagged(where: str) -> None:
    scene = single(photons=5000.0)
    counts, offset = scene.data.counts.copy(), scene.data.offset.copy()
    if where == "data":
        counts[0, 10, 12] = np.nan
    else:
        offset[10, 12] = np.nan
    data = PoissonData(counts, offset, scene.data.scale)
    rows = fit(Scene(scene.frame, scene.truth, data, scene.found))
    assert rows["flags"][0] == Flag.BAD_PIXEL
    assert abs(rows["x_nm"][0] - 1130) < 5 * rows["uncertainty_x_nm"][0]


def test_a_frame_without_any_value_gives_rows_that_say_so() -> None:
    scene = single()
    data = PoissonData(np.full_like(scene.data.counts, np.nan), scene.data.offset, 0.45)
    rows = fit(Scene(scene.frame, scene.truth, data, scene.found))
    assert len(rows) == 1
    assert rows["flags"][0] & (Flag.NOT_CONVERGED | Flag.BAD_PIXEL | Flag.DEGENERATE)
    assert np.isnan(rows["uncertainty_x_nm"][0])


def test_an_emitter_at_the_border_and_one_at_its_bound_are_flagged() -> None:
    place = np.array([[0.4, 10.6, 0.0]])
    shape = (1, 21, 23)
    frame = np.zeros(1, int)
    scene = make_scene(GAUSSIAN, EMCCD, frame, place, photons=5000.0, shape=shape, jitter_px=0.0)
    assert fit(scene)["flags"][0] & Flag.NEAR_BORDER
    scene = single(photons=9000.0, jitter_px=0.0)
    far = scene.found.with_columns(x_nm=scene.found["x_nm"] + 150)
    config = FitConfig(max_shift_px=1.0, choose_count=False)
    rows = fit(Scene(scene.frame, scene.truth, scene.data, far), config)
    assert rows["flags"][0] & Flag.AT_BOUND


def test_light_from_outside_leaves_its_emitter_in_the_frame() -> None:
    place = np.array([[8.0, 21.9, 0.0]])
    frame, shape = np.zeros(1, int), (1, 20, 17)
    scene = make_scene(GAUSSIAN, EMCCD, frame, place, photons=20_000.0, shape=shape)
    rows = fit(scene)
    assert len(rows) > 0
    assert ((rows["y_nm"] >= 0) & (rows["y_nm"] < 2000)).all()
    assert (rows["flags"] & Flag.NEAR_BORDER).all()


def test_a_group_without_pixels_of_its_own_has_a_prior() -> None:
    """Detections above each other in one corner, cut into groups of one, with a count map."""
    scene = single()
    n = 6
    columns = {"frame": np.zeros(n, int), "x_nm": 1130 + np.arange(n) * 5.0}
    found = Emitters({**columns, "y_nm": np.full(n, 1060.0)})
    count_map = np.zeros((1, 4, 21, 23))
    count_map[:, 0], count_map[:, 1] = 0.9, 0.1
    crowded_scene = Scene(scene.frame, scene.truth, scene.data, found)
    rows = fit(crowded_scene, FitConfig(max_group_size=1), count_map=count_map)
    assert np.isfinite(rows["probability"]).all()


def test_two_detections_of_one_emitter_share_its_light_and_their_errors_say_so() -> None:
    scene = single(jitter_px=0.0)
    twice = Emitters(
        {name: np.repeat(scene.found[name], 2) for name in scene.found.names}
    ).with_columns(x_nm=scene.found["x_nm"][0] + np.array([-20.0, 20.0]))
    doubled = Scene(scene.frame, scene.truth, scene.data, twice)
    rows = fit(doubled, FitConfig(choose_count=False))
    alone = fit(scene, FitConfig(choose_count=False))
    error = alone["uncertainty_photons"][0]
    assert abs(rows["photons"].sum() - alone["photons"][0]) < 3 * error
    assert (rows["uncertainty_photons"] > 2 * error).all()
    assert len(fit(doubled)) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"count_map": np.zeros((1, 4, 9, 9))}, "count map has the shape"),
        ({"count_map": np.full((1, 4, 21, 23), np.nan)}, "count map holds NaN"),
        ({"saturated": np.zeros((2, 21, 23), bool)}, "mask of saturated pixels"),
    ],
)
def test_maps_that_do_not_fit_are_refused(more, message: str) -> None:
    with pytest.raises(MovieError, match=message):
        fit(single(), **more)


def test_wrong_frames_places_and_options_are_refused() -> None:
    scene = single()
    late = scene.found.with_columns(frame=[7])
    with pytest.raises(TableError, match="frames 7 to 7, but there are frames 0 to 0"):
        fit(Scene(scene.frame, scene.truth, scene.data, late))
    lost = scene.found.with_columns(x_nm=[np.nan])
    with pytest.raises(TableError, match="'x_nm' of the detections holds NaN"):
        fit(Scene(scene.frame, scene.truth, scene.data, lost))
    maps = PoissonData(scene.data.counts, scene.data.offset[:9], scene.data.scale)
    with pytest.raises(MovieError, match="crop the maps"):
        fit(Scene(scene.frame, scene.truth, maps, scene.found))
    with pytest.raises(ConfigError, match="pixel_size_nm must be above 0"):
        fit_frames(scene.found, scene.data, GAUSSIAN, 0.0, CONFIG)
    psf = AstigmaticPsf(1.3, 250.0, 400.0)
    with pytest.raises(ConfigError, match="free_width: only a Gaussian"):
        fit_frames(scene.found, scene.data, psf, PIXEL_NM, FitConfig(free_width=True))
    with pytest.raises(ValueError, match="photons_high must exceed"):
        FitConfig(photons_low=100, photons_high=50)
