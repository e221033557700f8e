import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import typer
from typer.testing import CliRunner

from hdsmlm.cli.evaluate import command
from hdsmlm.config.evaluation import EvaluationConfig
from hdsmlm.errors import ConfigError, HdsmlmError, MovieError, OutputError, TableError
from hdsmlm.evaluation.overlay import (
    CORRECT_COLOUR,
    FALSE_COLOUR,
    MISSED_COLOUR,
    Marks,
    draw_overlay,
    predicted_marks,
)
from hdsmlm.evaluation.result import evaluate, flat_scores
from hdsmlm.io.count_maps import open_count_map_writer
from hdsmlm.io.tables import read_table, write_table
from hdsmlm.pipelines.evaluate import EvaluationSources, evaluate_tables
from hdsmlm.records.emitters import Emitters

SHAPE = (12, 40, 56)
PIXEL_NM = 100.0


@pytest.fixture
def tables(tmp_path):
    """Truth, a prediction of 80 % of it with 20 nm error, a movie, a count map."""
    rng = np.random.default_rng(0)
    n = 600
    truth = Emitters(
        {
            "frame": rng.integers(0, SHAPE[0], n),
            "x_nm": rng.uniform(0, SHAPE[2] * PIXEL_NM, n),
            "y_nm": rng.uniform(0, SHAPE[1] * PIXEL_NM, n),
            "snr": rng.uniform(0.5, 12, n),
        }
    ).sorted()
    found = truth.select(rng.uniform(size=n) < 0.8)
    error = rng.normal(0, 20, (2, len(found)))
    predicted = Emitters(
        {
            "frame": found["frame"],
            "x_nm": np.abs(found["x_nm"] + error[0]),
            "y_nm": np.abs(found["y_nm"] + error[1]),
        }
    )
    paths = {name: tmp_path / name for name in ("truth.csv", "found.csv", "movie.tif", "map.tif")}
    write_table(truth, paths["truth.csv"])
    write_table(predicted, paths["found.csv"])
    movie = rng.poisson(200, SHAPE).astype(np.uint16)
    tifffile.imwrite(paths["movie.tif"], movie, photometric="minisblack")
    with open_count_map_writer(paths["map.tif"], *SHAPE) as writer:
        flat = np.broadcast_to(np.float32([0.9, 0.08, 0.015, 0.005])[:, None, None], (4, 40, 56))
        writer.append(np.broadcast_to(flat, (12, 4, 40, 56)))
    return paths


def sources(tables, **changes):
    known = {
        "truth": tables["truth.csv"],
        "predicted": tables["found.csv"],
        "pixel_size_nm": PIXEL_NM,
        "size_px": SHAPE[1:],
    }
    return EvaluationSources(**{**known, **changes})


def rewrite(path, change):
    write_table(change(read_table(path)), path)


def test_report_scores_and_overlays_are_written(tables, tmp_path):
    config = EvaluationConfig(n_overlays=2, chance_repeats=1)
    result = evaluate_tables(
        sources(tables, movie=tables["movie.tif"], count_map=tables["map.tif"]),
        tmp_path / "out",
        config,
    )
    flat = json.loads(result.scores.read_text())
    head = result.evaluation.detection.rows[0]
    assert flat["knn_tier1_f1"] == head.score.f1
    assert flat["knn_all_recall"] == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / 600))
    assert flat["knn_all_f1"] > 4 * flat["knn_all_chance_f1"]
    assert flat["map_window_bias"] is not None
    assert 0 <= flat["calibration_ece"] <= 1
    assert (flat["n_frames"], flat["height_px"], flat["width_px"]) == SHAPE
    html = result.report.read_text(encoding="utf-8")
    assert html.count("<svg") == 5
    assert html.count("data:image/png;base64,") == len(result.overlays) == 2
    assert not re.search(r'(?:src|href)="(?!data:|#)', html)
    assert "NaN" not in result.scores.read_text()
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert set(provenance["parents"]) == {"truth", "prediction", "movie", "count map"}


def test_a_map_of_a_range_of_frames_is_compared_with_these_frames(tables, tmp_path):
    """The range 5:12 alone gives what the same frames give as a movie of their own."""
    config = EvaluationConfig(n_overlays=2, chance_repeats=1)
    probabilities = np.random.default_rng(1).dirichlet([9, 1, 0.5, 0.2], (7, 40, 56))
    probabilities = np.moveaxis(probabilities, -1, 1).astype(np.float32)
    rewrite(tables["found.csv"], lambda t: t.select(t["frame"] >= 5))
    results = {}
    for name, first in (("range", 5), ("own", 0)):
        with open_count_map_writer(tables["map.tif"], 7, *SHAPE[1:], first_frame=first) as writer:
            writer.append(probabilities)
        results[name] = evaluate_tables(
            sources(
                tables,
                count_map=tables["map.tif"],
                movie=tables["movie.tif"] if first else None,
                truth_first_frame=1,
                predicted_first_frame=1,
            ),
            tmp_path / name,
            config,
        )
        for table in ("truth.csv", "found.csv"):
            rewrite(
                tables[table],
                lambda t: t.select(t["frame"] >= 5).with_columns(
                    frame=t["frame"][t["frame"] >= 5] - 5
                ),
            )
    flat = {name: json.loads(result.scores.read_text()) for name, result in results.items()}
    assert flat["range"]["n_frames"] == 7
    changing = {"notes"}
    for key in flat["own"].keys() - changing:
        assert flat["range"][key] == flat["own"][key], key
    assert [path.name for path in results["range"].overlays] == [
        "overlay_frame_00006.png",
        "overlay_frame_00012.png",
    ]
    assert any("begins with frame 6" in note for note in results["range"].evaluation.notes)


def test_a_range_of_frames_scores_as_tables_that_were_cut(tables, tmp_path):
    asked = evaluate_tables(
        sources(tables, movie=tables["movie.tif"], frames=(3, 7)), tmp_path / "a"
    )
    for name in ("truth.csv", "found.csv"):
        rewrite(
            tables[name],
            lambda table: table.select((table["frame"] >= 3) & (table["frame"] < 7)).with_columns(
                frame=table["frame"][(table["frame"] >= 3) & (table["frame"] < 7)] - 3
            ),
        )
    tifffile.imwrite(
        tables["movie.tif"], tifffile.imread(tables["movie.tif"])[3:7], photometric="minisblack"
    )
    cut = evaluate_tables(
        sources(tables, movie=tables["movie.tif"], truth_first_frame=1, predicted_first_frame=1),
        tmp_path / "b",
    )
    assert flat_scores(asked.evaluation) == flat_scores(cut.evaluation)
    assert any("frames 3 to 6" in note for note in asked.evaluation.notes)


@pytest.mark.parametrize("frames", [(5, 5), (40, None), (-1, 3)])
def test_a_range_without_frames_is_refused(tables, tmp_path, frames):
    with pytest.raises(ConfigError, match="there are frames 0 to 11 only"):
        evaluate_tables(sources(tables, frames=frames), tmp_path / "out")


def test_predictions_before_the_count_map_are_refused(tables, tmp_path):
    with open_count_map_writer(tables["map.tif"], 7, *SHAPE[1:], first_frame=5) as writer:
        writer.append(np.full((7, 4, *SHAPE[1:]), 0.25, np.float32))
    with pytest.raises(TableError, match=r"frame 0.*begins with frame 5"):
        evaluate_tables(sources(tables, count_map=tables["map.tif"]), tmp_path / "out")


def test_a_truncated_count_map_is_a_clear_error(tables, tmp_path):
    whole = tables["map.tif"].read_bytes()
    tables["map.tif"].write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(MovieError, match=r"map\.tif: not readable as a count map"):
        evaluate_tables(sources(tables, count_map=tables["map.tif"]), tmp_path / "out")


def test_tables_alone_give_count_scores_but_no_calibration(tables, tmp_path):
    result = evaluate_tables(sources(tables), tmp_path / "out")
    flat = json.loads(result.scores.read_text())
    assert "calibration_ece" not in flat
    assert flat["table_frame_all_bias"] < 0
    assert flat["table_window_bias"] == pytest.approx(
        -0.2 * flat["table_window_mean_truth"], abs=0.02
    )
    assert result.overlays == ()


def test_every_key_of_scores_json_is_documented(tables, tmp_path):
    from hdsmlm.evaluation import result as module

    flat = flat_scores(
        evaluate_tables(sources(tables, count_map=tables["map.tif"]), tmp_path / "o").evaluation
    )
    text = re.sub(r"\s", "", module.__doc__)
    for key in flat:
        known = re.sub(r"(_tier1|_all)(?=_)", "", key)
        parts = [part for part in re.split(r"_|\d", known) if len(part) > 3]
        assert all(part in text for part in parts), key


def test_the_size_is_inferred_and_said_so(tables, tmp_path):
    result = evaluate_tables(sources(tables, size_px=None), tmp_path / "out")
    assert (result.evaluation.field.height, result.evaluation.field.width) == SHAPE[1:]
    assert any("size of the frames was not given" in note for note in result.evaluation.notes)


def test_truth_without_snr_is_tier_1_and_the_report_says_so(tables, tmp_path):
    rewrite(
        tables["truth.csv"],
        lambda t: Emitters({name: t[name] for name in ("frame", "x_nm", "y_nm")}),
    )
    result = evaluate_tables(sources(tables), tmp_path / "out")
    assert result.evaluation.n_by_tier == (600, 0, 0)
    assert "no &#39;snr&#39; column" in result.report.read_text(encoding="utf-8")


def test_shifted_frames_and_origins_are_noted(tables, tmp_path):
    rewrite(tables["found.csv"], lambda t: t.with_columns(frame=t["frame"] + 1))
    shifted = evaluate_tables(sources(tables), tmp_path / "a").evaluation.notes
    assert any("shifted by -1" in note for note in shifted)
    rewrite(
        tables["found.csv"],
        lambda t: t.with_columns(frame=t["frame"] - 1, x_nm=t["x_nm"] - 50, y_nm=t["y_nm"] - 50),
    )
    moved = evaluate_tables(sources(tables), tmp_path / "b").evaluation.notes
    assert any("centre of the first pixel" in note for note in moved)


def test_a_wrong_pixel_size_is_named(tables, tmp_path):
    with pytest.raises(TableError, match=r"pixel size of about 9\d\.?\d* nm|about 100 nm"):
        evaluate_tables(sources(tables, pixel_size_nm=65.0), tmp_path / "out")
    large = evaluate_tables(sources(tables, pixel_size_nm=200.0), tmp_path / "out")
    assert any(re.search(r"about (9\d|100)", note) for note in large.evaluation.notes)


def test_positions_in_pixels_are_recognized(tables, tmp_path):
    rewrite(
        tables["found.csv"], lambda t: t.with_columns(x_nm=t["x_nm"] / 100, y_nm=t["y_nm"] / 100)
    )
    with pytest.raises(TableError, match="seem to be in pixels"):
        evaluate_tables(sources(tables), tmp_path / "out")


def test_negative_positions_are_explained(tables, tmp_path):
    rewrite(tables["found.csv"], lambda t: t.with_columns(x_nm=t["x_nm"] - 2800))
    with pytest.raises(TableError, match="negative"):
        evaluate_tables(sources(tables), tmp_path / "out")


def test_bad_tables_end_with_a_clear_message(tables, tmp_path):
    with pytest.raises(HdsmlmError, match=r"nowhere\.csv"):
        evaluate_tables(sources(tables, predicted=tmp_path / "nowhere.csv"), tmp_path / "out")
    with pytest.raises(TableError, match="pixel size is needed"):
        evaluate_tables(sources(tables, pixel_size_nm=None), tmp_path / "out")
    with pytest.raises(TableError, match="must be positive"):
        evaluate_tables(sources(tables, pixel_size_nm=-1.0), tmp_path / "out")
    rewrite(tables["found.csv"], lambda t: t.with_columns(frame=t["frame"] + 100))
    with pytest.raises(TableError, match=r"no frame in common.*0 to 11.*100 to 111"):
        evaluate_tables(sources(tables), tmp_path / "out")
    with pytest.raises(TableError, match="has 12 frames"):
        evaluate_tables(sources(tables, movie=tables["movie.tif"]), tmp_path / "out")


def empty(path):
    header = path.read_text().splitlines()[0]
    path.write_text(header + "\n")


def test_a_truth_without_rows_is_refused(tables, tmp_path):
    empty(tables["truth.csv"])
    with pytest.raises(TableError, match=r"truth\.csv.*no rows"):
        evaluate_tables(sources(tables), tmp_path / "out")


@pytest.mark.parametrize("with_movie", [True, False])
def test_a_prediction_without_rows_scores_zero(tables, tmp_path, with_movie):
    empty(tables["found.csv"])
    more = {"movie": tables["movie.tif"], "count_map": tables["map.tif"]} if with_movie else {}
    result = evaluate_tables(
        sources(tables, size_px=None, **more),
        tmp_path / "out",
        EvaluationConfig(n_overlays=1),
    )
    flat = json.loads(result.scores.read_text())
    assert (flat["n_truth"], flat["n_predicted"]) == (600, 0)
    assert flat["knn_all_recall"] == flat["knn_all_f1"] == 0
    assert flat["knn_all_precision"] is None
    assert len(result.overlays) == int(with_movie)
    assert any("every true emitter counts as missed" in note for note in result.evaluation.notes)
    printed = run_cli(
        tables["found.csv"], "--truth", tables["truth.csv"], "--pixel-size-nm", 100,
        "--size", "40x56", "--out", tmp_path / "again",
    )  # fmt: skip
    assert printed.exit_code == 0, printed.output


def test_truth_entirely_after_the_movie_is_said(tables, tmp_path):
    rewrite(tables["truth.csv"], lambda t: t.with_columns(frame=t["frame"] + 50))
    with pytest.raises(TableError, match="no frame in common"):
        evaluate_tables(sources(tables, movie=tables["movie.tif"]), tmp_path / "out")


def test_movie_and_size_must_agree(tables, tmp_path):
    with pytest.raises(MovieError, match="differ in size"):
        evaluate_tables(
            sources(tables, movie=tables["movie.tif"], size_px=(64, 64)), tmp_path / "out"
        )


def test_unwritable_output_is_an_output_error(tables, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        evaluate_tables(sources(tables), tmp_path / "file" / "out")


def run_cli(*arguments):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_command_prints_the_score_beside_chance(tables, tmp_path):
    result = run_cli(
        tables["found.csv"], "--truth", tables["truth.csv"], "--pixel-size-nm", 100,
        "--size", "40x56", "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "chance" in result.output
    flat = json.loads((tmp_path / "out" / "scores.json").read_text())
    line = next(line for line in result.output.splitlines() if line.startswith("kNN"))
    assert f"{flat['knn_tier1_f1']:.3f}" in line
    assert f"{flat['knn_tier1_chance_f1']:.3f}" in line
    assert len(line) <= 80


def test_command_refuses_a_malformed_size(tables):
    result = run_cli(
        tables["found.csv"],
        "--truth",
        tables["truth.csv"],
        "--pixel-size-nm",
        100,
        "--size",
        "forty",
    )
    assert isinstance(result.exception, ConfigError)
    assert "--size" in str(result.exception)


def test_scoring_loads_neither_matplotlib_nor_jinja():
    code = (
        "import sys, hdsmlm.evaluation.result, hdsmlm.evaluation.report, "
        "hdsmlm.evaluation.overlay; "
        "sys.exit(any(name in sys.modules for name in ('matplotlib', 'jinja2')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def count_near(picture, colour):
    return int((np.abs(picture[..., :3].astype(int) - rgb(colour)).max(axis=-1) < 12).sum())


def test_overlay_shows_each_colour_where_it_belongs(tmp_path):
    from matplotlib.image import imread

    frame = np.full((32, 48), 100.0)
    marks = [
        Marks("correct", np.array([[8.5, 8.5]]), CORRECT_COLOUR),
        Marks("missed", np.array([[24.0, 8.0]]), MISSED_COLOUR, "s"),
        Marks("false", np.array([[40.0, 24.0]]), FALSE_COLOUR, "x"),
    ]
    path = draw_overlay(frame, marks, tmp_path / "overlay.png", 100.0, "frame 1")
    picture = (imread(path) * 255).astype(int)
    height, width = picture.shape[:2]
    zoom = width / 48
    top = 36  # the head line
    for group in marks:
        x, y = group.xy_px[0] * zoom
        near = picture[int(top + y - zoom) : int(top + y + zoom), int(x - zoom) : int(x + zoom)]
        assert count_near(near, group.colour) > 10
    assert height > 32 * zoom


def test_overlay_of_a_constant_frame_without_emitters(tmp_path):
    marks = predicted_marks(Emitters.empty(), 0, 100.0)
    path = draw_overlay(np.zeros((8, 8), np.uint16), marks, tmp_path / "empty.png")
    assert path.stat().st_size > 0


def test_evaluation_in_memory_survives_an_empty_prediction():
    from hdsmlm.evaluation.matching import Field

    truth = Emitters({"frame": [0, 1], "x_nm": [500, 900], "y_nm": [500, 900]})
    flat = flat_scores(
        evaluate(truth, Emitters.empty(), Field(2, 20, 20, 100.0), EvaluationConfig())
    )
    assert flat["knn_all_recall"] == 0
    assert flat["knn_all_precision"] is None
