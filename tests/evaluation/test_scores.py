import numpy as np
import pytest

from hdsmlm.config.evaluation import EvaluationConfig
from hdsmlm.evaluation.bins import local_density_per_um2, recall_by_snr
from hdsmlm.evaluation.detection import detect_scores, random_placement
from hdsmlm.evaluation.matching import Field, match_knn
from hdsmlm.evaluation.scores import DetectionScore, rmsmd_nm, score, tiers
from hdsmlm.records.emitters import Emitters

FIELD = Field(n_frames=60, height=64, width=48, pixel_size_nm=100.0)


def uniform(rng, per_frame, field=FIELD, **columns):
    n = per_frame * field.n_frames
    return Emitters(
        {
            "frame": np.repeat(np.arange(field.n_frames), per_frame),
            "x_nm": rng.uniform(0, field.width_nm, n),
            "y_nm": rng.uniform(0, field.height_nm, n),
            **columns,
        }
    )


def shifted(table, sigma_nm, rng):
    return Emitters(
        {
            "frame": table["frame"],
            "x_nm": table["x_nm"] + rng.normal(0, sigma_nm, len(table)),
            "y_nm": table["y_nm"] + rng.normal(0, sigma_nm, len(table)),
        }
    )


def test_scores_follow_their_definitions():
    result = DetectionScore(tp=60, fp=20, fn=40, rmse_nm=30.0)
    assert result.precision == pytest.approx(0.75)
    assert result.recall == pytest.approx(0.6)
    assert result.f1 == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))
    assert result.jaccard == pytest.approx(0.5)
    assert result.efficiency(1.0) == pytest.approx(100 - np.hypot(50, 30))


def test_the_perfect_prediction_scores_one_and_the_empty_one_zero():
    truth = uniform(np.random.default_rng(0), 5)
    perfect = detect_scores(truth, truth, FIELD, EvaluationConfig())
    assert all(row.score.f1 == 1 and row.efficiency == 100 for row in perfect.rows)
    assert perfect.rmsmd_nm == 0
    nothing = detect_scores(truth, Emitters.empty(), FIELD, EvaluationConfig())
    assert nothing.row("knn_all").score.recall == 0
    assert np.isnan(nothing.row("knn_all").score.precision)


def test_a_prediction_of_a_faint_emitter_is_neither_true_nor_false_for_tier_1():
    truth = Emitters(
        {
            "frame": [0, 0, 0, 0],
            "x_nm": [500.0, 1500.0, 2500.0, 3500.0],
            "y_nm": [500.0] * 4,
            "snr": [2.0, 1.999, 1.0, 0.5],
        }
    )
    assert tiers(truth).tolist() == [1, 2, 2, 3]
    matching = match_knn(truth, truth, 100.0)
    tier_1 = score(matching, tiers(truth) == 1)
    assert (tier_1.tp, tier_1.fp, tier_1.fn, tier_1.ignored) == (1, 0, 0, 3)
    everything = score(matching)
    assert (everything.tp, everything.ignored) == (4, 0)


def test_without_an_snr_column_all_are_tier_1():
    truth = uniform(np.random.default_rng(1), 2)
    assert (tiers(truth) == 1).all()


def test_rmse_of_the_matches_is_the_localization_error():
    rng = np.random.default_rng(2)
    sigma_nm = 20.0
    truth = uniform(rng, 3)
    result = score(match_knn(truth, shifted(truth, sigma_nm, rng), 100.0))
    # mean of r² is 2 sigma², its standard deviation 2 sigma²
    mean_square, error = 2 * sigma_nm**2, 2 * sigma_nm**2 / np.sqrt(result.tp)
    assert abs(result.rmse_nm**2 - mean_square) < 4 * error


def test_rmsmd_pools_frames_and_feels_outliers():
    truth = Emitters({"frame": [0, 1], "x_nm": [100.0, 100.0], "y_nm": [100.0, 100.0]})
    once = truth.select(np.array([0]))
    assert rmsmd_nm(truth, once) == 0  # missed in frame 1, found in frame 0
    outlier = Emitters({"frame": [0, 0], "x_nm": [100.0, 1100.0], "y_nm": [100.0, 100.0]})
    assert rmsmd_nm(truth, outlier) == pytest.approx(np.sqrt(1000.0**2 / 4))
    assert rmsmd_nm(outlier, truth) == rmsmd_nm(truth, outlier)


@pytest.mark.parametrize("per_frame", [8, 60])
def test_local_density_is_unbiased_up_to_the_rim(per_frame):
    rng = np.random.default_rng(5)
    truth, anywhere = uniform(rng, per_frame), uniform(rng, 40)
    expected = per_frame / FIELD.area_um2
    for positions, are_truth, density in (
        (anywhere, False, expected),
        (truth, True, (per_frame - 1) / FIELD.area_um2),
    ):
        measured = local_density_per_um2(positions, truth, FIELD, 1000.0, are_truth)
        per_frame_mean = measured.reshape(FIELD.n_frames, -1).mean(axis=1)
        error = per_frame_mean.std(ddof=1) / np.sqrt(FIELD.n_frames)
        assert abs(measured.mean() - density) < 4 * error + 0.01 * density


def test_the_bins_add_up_to_the_whole():
    rng = np.random.default_rng(6)
    truth = uniform(rng, 40, snr=rng.uniform(0.2, 30, 40 * FIELD.n_frames))
    predicted = shifted(truth, 60.0, rng).select(rng.uniform(size=len(truth)) < 0.8)
    result = detect_scores(truth, predicted, FIELD, EvaluationConfig(chance_repeats=1))
    whole = result.row("knn_tier1").score
    for name in ("tp", "fp", "fn"):
        assert sum(getattr(part.score, name) for part in result.by_density) == getattr(whole, name)
    everything = result.row("knn_all").score
    assert sum(part.score.tp for part in result.by_snr) == everything.tp
    assert sum(part.score.fn for part in result.by_snr) == everything.fn


def test_chance_score_agrees_with_the_poisson_estimate():
    """In the sparse limit a random prediction hits with probability density times disc area."""
    rng = np.random.default_rng(7)
    field = Field(400, 64, 64, 100.0)
    truth, predicted = uniform(rng, 12, field), uniform(rng, 12, field)
    result = detect_scores(truth, predicted, field, EvaluationConfig(chance_repeats=4))
    density_per_um2 = 12 / field.area_um2
    hit = 1 - np.exp(-density_per_um2 * np.pi * 0.15**2)
    row = result.row("knn_all")
    # 4 x 400 x 12 draws; double hits and the rim lower it by a few per cent
    standard_error = np.sqrt(hit * (1 - hit) / (4 * 400 * 12))
    assert 0.92 * hit - 4 * standard_error < row.chance_f1 < hit + 4 * standard_error
    # the prediction is itself a random one
    assert abs(row.score.f1 - row.chance_f1) < 4 * np.sqrt(hit / (400 * 12)) * np.sqrt(1.25)


def test_the_chance_score_repeats_itself_and_rises_with_density():
    rng = np.random.default_rng(8)
    config = EvaluationConfig(chance_repeats=2)
    f1 = []
    for per_frame in (5, 50):
        truth = uniform(rng, per_frame)
        first, second = (detect_scores(truth, truth, FIELD, config) for _ in range(2))
        assert first.rows == second.rows
        f1.append(first.row("smlm2016_all").chance_f1)
    assert f1[1] > 3 * f1[0]


def test_chance_on_thinned_frames_stays_the_same():
    truth = uniform(np.random.default_rng(9), 20)
    whole = detect_scores(truth, truth, FIELD, EvaluationConfig(chance_repeats=20))
    thin = detect_scores(
        truth, truth, FIELD, EvaluationConfig(chance_repeats=20, chance_max_emitters=300)
    )
    key = "knn_all"
    f1 = whole.row(key).chance_f1
    assert thin.row(key).chance_f1 == pytest.approx(f1, abs=4 * np.sqrt(f1 / (20 * 300)))


def test_random_placement_keeps_the_number_per_frame():
    rng = np.random.default_rng(10)
    table = uniform(rng, 3, z_nm=rng.uniform(-500, 500, 3 * FIELD.n_frames))
    placed = random_placement(table, FIELD, rng)
    assert (placed["frame"] == table["frame"]).all()
    assert sorted(placed["z_nm"]) == sorted(table["z_nm"])


def test_the_border_is_left_out_of_the_smlm_2016_score_only():
    field = Field(1, 64, 64, 100.0)
    truth = Emitters({"frame": [0, 0], "x_nm": [449.0, 451.0], "y_nm": [3000.0, 1000.0]})
    result = detect_scores(truth, truth, field, EvaluationConfig())
    assert result.row("smlm2016_all").score.tp == 1
    assert result.row("knn_all").score.tp == 2


def test_axial_error_is_scored_where_both_tables_have_z():
    rng = np.random.default_rng(11)
    truth = uniform(rng, 4, z_nm=np.zeros(4 * FIELD.n_frames))
    lifted = truth.with_columns(z_nm=np.full(len(truth), 40.0))
    row = detect_scores(truth, lifted, FIELD, EvaluationConfig()).row("smlm2016_all")
    assert row.axial_rmse_nm == pytest.approx(40.0)
    assert row.efficiency_axial == pytest.approx(100 - 0.5 * 40.0)
    flat = detect_scores(truth, shifted(truth, 1, rng), FIELD, EvaluationConfig())
    assert np.isnan(flat.row("smlm2016_all").axial_rmse_nm)


def test_recall_by_snr_needs_an_snr_column():
    truth = uniform(np.random.default_rng(12), 1)
    assert recall_by_snr(match_knn(truth, truth, 100.0), truth, (0.0, 1.0)) == ()
