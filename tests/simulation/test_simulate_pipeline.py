"""The simulate stage: files that open elsewhere, the same for any chunk length, clear refusals."""

import re
import weakref

import numpy as np
import pytest
import tifffile
import typer
import yaml
from typer.testing import CliRunner

from hdsmlm.cli.simulate import command
from hdsmlm.config.base import parse_section
from hdsmlm.config.simulation import MovieConfig
from hdsmlm.errors import ConfigError, OutputError
from hdsmlm.io.tables import read_table, write_table
from hdsmlm.pipelines import simulate as stage
from hdsmlm.pipelines.simulate import simulate_movie
from hdsmlm.simulation.conditions import Conditions
from hdsmlm.simulation.recording import TRUTH_COLUMNS, Recording
from hdsmlm.simulation.scene import SceneSampler

SMALL = MovieConfig(
    frames=70,
    height=24,
    width=32,
    seed=5,
    simulation={"density_per_um2": 1.5, "pixel_size_nm": 110.0},
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return simulate_movie(SMALL, tmp_path_factory.mktemp("movie"), chunk_frames=64)


def test_movie_is_a_16_bit_stack_with_its_pixel_size(written):
    with tifffile.TiffFile(written.movie) as tif:
        assert len(tif.pages) in (1, 70)  # ImageJ stacks may keep one header for all frames
        assert tif.is_imagej
        assert tif.series[0].shape == (70, 24, 32)
        assert tif.series[0].dtype == np.uint16
        numerator, denominator = tif.pages[0].tags["XResolution"].value
    assert denominator / numerator == pytest.approx(0.110, rel=1e-4)


def test_the_programs_own_reader_reads_it(written):
    from hdsmlm.io.movies import open_movie

    with open_movie(written.movie) as movie:
        assert (movie.info.n_frames, movie.info.height, movie.info.width) == (70, 24, 32)
        assert movie.info.pixel_size_nm == pytest.approx(110.0, rel=1e-4)
        np.testing.assert_array_equal(movie.read(0, 70), tifffile.imread(written.movie))


def test_files_do_not_depend_on_the_chunk_length(written, tmp_path):
    for chunk in (1, 9, 200):
        other = simulate_movie(SMALL, tmp_path / str(chunk), chunk_frames=chunk)
        assert other.movie.read_bytes() == written.movie.read_bytes()
        assert other.truth.read_bytes() == written.truth.read_bytes()


def test_truth_is_what_one_write_of_all_rows_gives(written, tmp_path):
    record = yaml.safe_load(written.parameters.read_text())
    conditions = Conditions.model_validate(record["conditions"])
    _, truth = Recording(conditions, (24, 32), (5, stage._MOVIE_STREAM)).read(70)
    assert truth.names == TRUTH_COLUMNS
    write_table(truth, tmp_path / "whole.csv")
    assert (tmp_path / "whole.csv").read_bytes() == written.truth.read_bytes()


def test_rows_of_earlier_chunks_are_not_kept_in_memory(tmp_path, monkeypatch):
    pieces, alive = [], []
    read = Recording.read

    def watched(recording, n_frames):
        frames, emitters = read(recording, n_frames)
        pieces.append(weakref.ref(emitters["photons"]))
        return frames, emitters

    monkeypatch.setattr(Recording, "read", watched)
    simulate_movie(
        SMALL,
        tmp_path,
        lambda _: alive.append(sum(piece() is not None for piece in pieces)),
        chunk_frames=10,
    )
    assert len(alive) == 7
    assert max(alive) == 1


def test_a_movie_can_have_a_real_cameras_maps(tmp_path):
    offset = np.full((24, 32), 300.0)
    offset[:, 16:] = 900.0
    np.save(tmp_path / "offset.npy", offset)
    tifffile.imwrite(tmp_path / "variance.tif", np.full((24, 32), 4, np.float32))
    scmos = {"offset_map": tmp_path / "offset.npy", "variance_map": tmp_path / "variance.tif"}
    config = MovieConfig.model_validate(
        {
            **SMALL.model_dump(),
            "simulation": {
                "scmos": scmos,
                "cameras": {"emccd": 0, "ideal": 0},
                "photons": 1e-3,
                "min_median_snr": 0,
                "background": {"photons": 1e-6},
            },
        }
    )
    written = simulate_movie(config, tmp_path / "out")
    frames = tifffile.imread(written.movie).astype(float)
    assert np.median(frames[:, :, :16]) == 300
    assert np.median(frames[:, :, 16:]) == 900
    with pytest.raises(ConfigError, match="offset map has shape"):
        simulate_movie(config.model_copy(update={"height": 32}), tmp_path / "out")


def test_a_stopped_simulation_leaves_neither_movie_nor_truth(tmp_path):
    def stop(event):
        if event.done >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_movie(SMALL, tmp_path, stop, chunk_frames=20)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [0, 5])
def test_a_movie_shares_no_random_numbers_with_early_scenes(seed, tmp_path):
    """A scene of the same seed was the same microscope when the stream's number was small."""
    written = simulate_movie(SMALL.model_copy(update={"seed": seed, "frames": 1}), tmp_path)
    drawn = yaml.safe_load(written.parameters.read_text())["conditions"]
    sampler = SceneSampler(SMALL.simulation, (1, 24, 32))
    assert all(sampler.draw(seed, index).parameters != drawn for index in range(4))


def test_a_longer_movie_begins_with_the_shorter_one(written, tmp_path):
    longer = simulate_movie(SMALL.model_copy(update={"frames": 90}), tmp_path)
    np.testing.assert_array_equal(
        tifffile.imread(longer.movie)[:70], tifffile.imread(written.movie)
    )


def test_parameters_repeat_the_movie(written):
    record = yaml.safe_load(written.parameters.read_text())
    config = MovieConfig.model_validate(record["provenance"]["config"])
    assert config == SMALL
    conditions = Conditions.model_validate(record["conditions"])
    frames, _ = Recording(conditions, (24, 32), (5, stage._MOVIE_STREAM)).read(70)
    np.testing.assert_array_equal(frames, tifffile.imread(written.movie))
    assert re.fullmatch("[0-9a-f]{64}", record["provenance"]["parents"]["movie.tif"])


def test_truth_is_1_based_on_disk_and_0_based_in_the_program(written):
    header, first = written.truth.read_text().splitlines()[:2]
    assert header.startswith('"id","frame"') or header.startswith("id,frame")
    assert first.split(",")[1] == "1"
    truth = read_table(written.truth)
    assert truth["frame"].min() == 0
    assert truth["frame"].max() == 69
    assert len(truth) == written.n_emitters
    assert written.density_per_um2 == pytest.approx(len(truth) / (24 * 32 * 0.11**2) / 70)


def test_progress_is_heard(tmp_path):
    events = []
    simulate_movie(SMALL, tmp_path, events.append, chunk_frames=30)
    assert [event.done for event in events] == [30, 60, 70]
    assert {event.total for event in events} == {70}


def test_big_movies_are_written_as_ome_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr("hdsmlm.io.movies.writing._BIGTIFF_BYTES", 1000)
    result = simulate_movie(SMALL, tmp_path)
    with tifffile.TiffFile(result.movie) as tif:
        assert tif.is_bigtiff
        assert tif.is_ome
        assert tif.series[0].shape == (70, 24, 32)
        assert 'PhysicalSizeX="0.11"' in tif.ome_metadata


def test_an_unwritable_folder_is_refused_before_the_work(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(OutputError, match="choose another output folder"):
        simulate_movie(SMALL, blocked / "out")


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(command)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_command_line_wins_over_the_file(run, tmp_path):
    config = tmp_path / "movie.yaml"
    config.write_text("frames: 500\nheight: 16\nwidth: 16\nsimulation: {photons: 900}\n")
    out = tmp_path / "out"
    result = run(config, "--out", out, "--frames", 6, "--density", "0.5:3", "--camera", "scmos")
    assert result.exit_code == 0, result.output
    record = yaml.safe_load((out / "parameters.yaml").read_text())
    assert record["provenance"]["config"]["frames"] == 6
    assert record["conditions"]["photons"] == 900
    assert record["conditions"]["camera"]["kind"] == "scmos"
    assert 0.5 <= record["conditions"]["density_per_um2"] <= 3
    assert tifffile.imread(out / "movie.tif").shape == (6, 16, 16)
    assert "per µm² and frame" in result.output


def test_command_line_alone_is_enough(run, tmp_path):
    options = ("--frames", 4, "--size", "16x24", "--seed", 3, "--structure", "rings")
    result = run("--out", tmp_path, *options, "--psf", "gaussian", "--density", "1")
    assert result.exit_code == 0, result.output
    assert tifffile.imread(tmp_path / "movie.tif").shape == (4, 16, 24)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "256"), "height x width"),
        (("--density", "a"), "--density wants a number"),
        (("--photons", "-5"), "photons.*above 0"),
        (("--camera", "emcdc"), "did you mean 'emccd'"),
        (("--psf", "airy"), "one of gaussian"),
        (("--frames", "0"), "frames"),
    ],
)
def test_impossible_options_are_refused_with_a_reason(run, tmp_path, options, message):
    result = run("--out", tmp_path, *options)
    assert isinstance(result.exception, ConfigError)
    assert re.search(message, str(result.exception))


def test_the_shipped_demo_configuration_is_valid():
    from pathlib import Path

    from hdsmlm.config.base import load_section

    path = Path(__file__).parents[2] / "configs" / "simulate_demo.yaml"
    config = load_section(MovieConfig, path)
    assert config.simulation.density_per_um2 == (2.0, 2.0)


def test_unknown_keys_name_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'frames'"):
        parse_section(MovieConfig, {"frame": 3}, "movie.yaml")
