import numpy as np
import pytest

from hdsmlm.config.evaluation import EvaluationConfig
from hdsmlm.io.movies import open_movie
from hdsmlm.io.tables import read_table, write_table
from hdsmlm.pipelines.evaluate import EvaluationSources, evaluate_tables

pytestmark = pytest.mark.shared_data


@pytest.fixture
def medium_density(shared_data):
    folder = shared_data / "with_truth" / "2DGauss_MD"
    return folder / "2DGauss_MD_Train_xy.csv", folder / "2DGauss_MD_Train_Frame.tif"


def test_true_emitters_lie_on_bright_pixels_of_their_frame(medium_density):
    """Frame number, origin and axes of the foreign table agree with the movie."""
    table, path = medium_density
    truth = read_table(table, pixel_size_nm=100.0)
    with open_movie(path) as movie:
        frames = movie.read(0, 200).astype(float)
    part = truth.select(truth["frame"] < 200)
    row, column = (np.floor(part[name] / 100).astype(int) for name in ("y_nm", "x_nm"))

    def brightness(frame, y, x):
        return frames[frame, y, x].mean()

    right = brightness(part["frame"], row, column)
    for other in (
        brightness((part["frame"] + 1) % 200, row, column),
        brightness(part["frame"], column, row),
        brightness(part["frame"], row, (column + 3) % 32),
    ):
        assert right > 1.05 * other


def test_jittered_truth_of_another_program_scores_as_expected(medium_density, tmp_path):
    table, movie = medium_density
    truth = read_table(table, pixel_size_nm=100.0)
    truth = truth.select(truth["frame"] < 60)
    rng = np.random.default_rng(1)
    kept = truth.select(rng.uniform(size=len(truth)) < 0.7)
    inner = [np.clip(kept[c] + rng.normal(0, 15, len(kept)), 1, 3199) for c in ("x_nm", "y_nm")]
    write_table(truth, tmp_path / "truth.csv")
    write_table(kept.with_columns(x_nm=inner[0], y_nm=inner[1]), tmp_path / "found.csv")
    sources = EvaluationSources(
        tmp_path / "truth.csv", tmp_path / "found.csv", pixel_size_nm=100.0, movie=movie
    )
    config = EvaluationConfig(chance_repeats=1, n_overlays=1)
    evaluation = evaluate_tables(sources, tmp_path / "out", config).evaluation
    head = evaluation.detection.row("knn_tier1")
    assert head.score.precision > 0.999
    assert abs(head.score.recall - 0.7) < 4 * np.sqrt(0.21 / len(truth))
    assert 0.05 < head.chance_f1 < 0.3
    assert (evaluation.field.height, evaluation.field.width) == (32, 32)
