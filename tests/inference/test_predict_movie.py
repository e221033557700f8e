"""Prediction end to end: same bytes however it is cut, stopped or repeated."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_network import tiny_manifest, tiny_network, write_tiny_bundle

from hdsmlm.bundle import Bundle
from hdsmlm.config.prediction import DecodingConfig, PredictionConfig
from hdsmlm.errors import Interrupted, OutputError
from hdsmlm.inference.decode import COLUMNS
from hdsmlm.io.count_maps import CountMapFile, read_count_map
from hdsmlm.io.movies import ArrayMovie
from hdsmlm.io.tables import read_table
from hdsmlm.pipelines import predict as pipeline
from hdsmlm.pipelines.predict import PredictionJob, chunk_frames_for, predict_movie
from hdsmlm.records.count_map import expected_count
from hdsmlm.records.events import Event
from hdsmlm.records.movie import MovieInfo

BYTES = ("emitters.csv", "count_map.tif")


@pytest.fixture(scope="session")
def sparse_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The random network with a bias that makes emitters rare, so that tables stay small."""
    model = tiny_network(2, sharpness=3.0)
    bias = onnx.numpy_helper.from_array(np.array([6.0, 0, -1, -2], dtype="f4"), "bias")
    model.graph.initializer.append(bias)
    head = next(node for node in model.graph.node if "head" in node.input)
    head.input.append("bias")
    folder = tmp_path_factory.mktemp("sparse") / "tiny"
    return write_tiny_bundle(folder, model, tiny_manifest())


def movie(n_frames: int = 23, height: int = 30, width: int = 37) -> ArrayMovie:
    rng = np.random.default_rng(8)
    frames = rng.poisson(200, (n_frames, height, width)).astype(np.uint16)
    return ArrayMovie(frames, pixel_size_nm=100.0, name="noise")


def config(**changes: Any) -> PredictionConfig:
    values: dict[str, Any] = {"chunk_frames": 5, "overlay_frames": 0, "engine": "onnxruntime"}
    return PredictionConfig.model_validate({**values, "threads": 1, **changes})


def run(bundle: Bundle, out: Path, listener: Any = lambda _: None, **changes: Any) -> Any:
    return predict_movie(PredictionJob(movie(), out, bundle.folder), config(**changes), listener)


def test_everything_is_written_and_fits_together(sparse_bundle: Bundle, tmp_path: Path) -> None:
    summary = run(sparse_bundle, tmp_path / "out", overlay_frames=3)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "count_map.tif", "emitters.csv", "overlays", "provenance.json", "summary.json",
        "summary.txt",
    ]  # fmt: skip
    table, probabilities = read_table(out / "emitters.csv"), read_count_map(out / "count_map.tif")
    assert probabilities.shape == (23, 4, 30, 37)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert table.names == COLUMNS
    assert 10 < len(table) == summary.found.emitters < 23 * 30 * 37
    assert summary.found.expected_per_frame == pytest.approx(
        expected_count(probabilities).sum() / 23, rel=1e-4
    )
    density = len(table) / 23 / (30 * 37 * 0.01)
    assert summary.found.density_per_um2 == pytest.approx(density)
    assert [path.name for path in sorted((out / "overlays").iterdir())] == [
        "frame_000001.png", "frame_000012.png", "frame_000023.png",
    ]  # fmt: skip
    written = json.loads((out / "summary.json").read_text())
    assert written == json.loads(json.dumps(summary.to_dict()))
    assert "onnxruntime (CPUExecutionProvider, f32)" in (out / "summary.txt").read_text()
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["parents"]["model tiny"] == sparse_bundle.sha256
    assert len(provenance["parents"]["movie noise"]) == 64


@pytest.mark.parametrize("chunk", [1, 4, 23, 100])
def test_the_chunk_does_not_change_the_result(
    sparse_bundle: Bundle, tmp_path: Path, chunk: int
) -> None:
    run(sparse_bundle, tmp_path / "a")
    run(sparse_bundle, tmp_path / "b", chunk_frames=chunk)
    maps = [read_count_map(tmp_path / name / "count_map.tif") for name in "ab"]
    np.testing.assert_allclose(maps[0], maps[1], atol=2e-6)
    tables = [read_table(tmp_path / name / "emitters.csv") for name in "ab"]
    np.testing.assert_allclose(tables[0]["x_nm"], tables[1]["x_nm"], atol=0.01)


def test_the_tile_does_not_change_the_result(sparse_bundle: Bundle, tmp_path: Path) -> None:
    run(sparse_bundle, tmp_path / "a")
    run(sparse_bundle, tmp_path / "b", tile_px=16)
    maps = [read_count_map(tmp_path / name / "count_map.tif") for name in "ab"]
    np.testing.assert_allclose(maps[0], maps[1], atol=2e-6)


def test_a_range_of_frames_gives_what_the_whole_gives_there(
    sparse_bundle: Bundle, tmp_path: Path
) -> None:
    run(sparse_bundle, tmp_path / "all")
    run(sparse_bundle, tmp_path / "part", first_frame=7, last_frame=15)
    whole = read_count_map(tmp_path / "all" / "count_map.tif", 7, 15)
    np.testing.assert_allclose(
        read_count_map(tmp_path / "part" / "count_map.tif"), whole, atol=2e-6
    )
    with CountMapFile(tmp_path / "part" / "count_map.tif") as file:
        assert file.first_frame == 7
    frames = read_table(tmp_path / "part" / "emitters.csv")["frame"]
    assert 7 <= frames.min() <= frames.max() < 15


def stop_after(frames: int, error: type[BaseException]) -> Any:
    def listen(event: Event) -> None:
        if event.stage == "predict" and event.done >= frames:
            raise error

    return listen


class Killed(BaseException):
    """Stands for a kill: nothing in the program handles it."""


@pytest.mark.parametrize(("error", "seen"), [(KeyboardInterrupt, Interrupted), (Killed, Killed)])
@pytest.mark.parametrize("frames", [0, 10, 23])
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(
    sparse_bundle: Bundle,
    tmp_path: Path,
    error: type[BaseException],
    seen: type[BaseException],
    frames: int,
) -> None:
    run(sparse_bundle, tmp_path / "unbroken")
    with pytest.raises(seen):
        run(sparse_bundle, tmp_path / "out", stop_after(frames, error))
    assert not (tmp_path / "out" / "summary.json").exists()
    summary = run(sparse_bundle, tmp_path / "out")
    assert summary.resumed_frames == frames
    for name in BYTES:
        unbroken = (tmp_path / "unbroken" / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == unbroken
    assert not (tmp_path / "out" / "unfinished").exists()
    assert not (tmp_path / "out" / "emitters_partial.csv").exists()


def test_a_kill_while_the_count_map_is_written_is_mended(
    sparse_bundle: Bundle, tmp_path: Path
) -> None:
    run(sparse_bundle, tmp_path / "unbroken")

    def listen(event: Event) -> None:
        if event.stage == "count map" and event.done >= 10:
            raise Killed

    with pytest.raises(Killed):
        run(sparse_bundle, tmp_path / "out", listen)
    assert run(sparse_bundle, tmp_path / "out").resumed_frames == 13
    for name in BYTES:
        unbroken = (tmp_path / "unbroken" / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == unbroken


def test_ctrl_c_keeps_the_partial_table_and_says_how_to_go_on(
    sparse_bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted, match=r"10 of 23 frames.*same command again") as stopped:
        run(sparse_bundle, tmp_path / "out", stop_after(10, KeyboardInterrupt))
    assert stopped.value.exit_code == 130
    partial = read_table(tmp_path / "out" / "emitters_partial.csv")
    run(sparse_bundle, tmp_path / "out")
    whole = read_table(tmp_path / "out" / "emitters.csv")
    np.testing.assert_array_equal(partial["x_nm"], whole["x_nm"][whole["frame"] < 10])


def test_other_settings_do_not_go_on_with_a_stopped_run(
    sparse_bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(sparse_bundle, tmp_path / "out", stop_after(10, Killed))
    other = {"decoding": DecodingConfig(threshold=0.7).model_dump()}
    with pytest.raises(OutputError, match=r"unfinished run of another.*--overwrite"):
        run(sparse_bundle, tmp_path / "out", **other)
    job = PredictionJob(movie(), tmp_path / "out", sparse_bundle.folder, overwrite=True)
    assert predict_movie(job, config(**other)).resumed_frames == 0


def test_results_are_replaced_only_on_request(sparse_bundle: Bundle, tmp_path: Path) -> None:
    run(sparse_bundle, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = (tmp_path / "emitters.csv").read_bytes()
    with pytest.raises(OutputError, match=r"already holds results.*--overwrite"):
        run(sparse_bundle, tmp_path)
    predict_movie(PredictionJob(movie(), tmp_path, sparse_bundle.folder, overwrite=True), config())
    assert (tmp_path / "emitters.csv").read_bytes() == before
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(("before", "after"), [("tif", "none"), ("tif", "zarr"), ("zarr", "tif")])
def test_overwriting_leaves_nothing_of_the_old_run(
    sparse_bundle: Bundle, tmp_path: Path, before: str, after: str
) -> None:
    if "zarr" in (before, after):
        pytest.importorskip("zarr")
    run(sparse_bundle, tmp_path, count_map=before, overlay_frames=2)
    (tmp_path / "overlays" / "mine.png").touch()
    job = PredictionJob(movie(), tmp_path, sparse_bundle.folder, overwrite=True)
    predict_movie(job, config(count_map=after))
    maps = [path.name for path in tmp_path.glob("count_map*")]
    assert maps == ([] if after == "none" else [f"count_map.{after}"])
    assert [path.name for path in (tmp_path / "overlays").iterdir()] == ["mine.png"]


def test_a_kill_while_results_are_overwritten_leaves_no_old_summary(
    sparse_bundle: Bundle, tmp_path: Path
) -> None:
    run(sparse_bundle, tmp_path)

    def listen(event: Event) -> None:
        if event.stage == "predict":
            assert (tmp_path / "summary.json").is_file()  # the old results stay until then
        if event.stage == "count map":
            raise Killed

    job = PredictionJob(movie(), tmp_path, sparse_bundle.folder, overwrite=True)
    other = config(decoding={"threshold": 0.7})
    with pytest.raises(Killed):
        predict_movie(job, other, listen)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["emitters.csv", "unfinished"]
    assert predict_movie(job, other).threshold == 0.7
    assert not (tmp_path / "unfinished").exists()


def test_without_count_map_the_emitters_are_the_same(sparse_bundle: Bundle, tmp_path: Path) -> None:
    run(sparse_bundle, tmp_path / "a")
    run(sparse_bundle, tmp_path / "b", count_map="none")
    assert not (tmp_path / "b" / "count_map.tif").exists()
    tables = [(tmp_path / name / "emitters.csv").read_bytes() for name in "ab"]
    assert tables[0] == tables[1]


def test_progress_counts_every_frame_once(sparse_bundle: Bundle, tmp_path: Path) -> None:
    events: list[Event] = []
    run(sparse_bundle, tmp_path, events.append)
    predicted = [event.done for event in events if event.stage == "predict"]
    assert predicted == [0, 5, 10, 15, 20, 23]
    assert {event.stage for event in events} == {"normalize", "predict", "count map"}


def test_a_model_outside_its_range_is_a_warning(tmp_path: Path) -> None:
    crowded = write_tiny_bundle(tmp_path / "tiny", tiny_network(), tiny_manifest())
    summary = run(crowded, tmp_path / "out", pixel_size_nm=400.0, last_frame=3)
    text = (tmp_path / "out" / "summary.txt").read_text()
    assert any("the pixels 400, trained 50 to 250" in line for line in summary.warnings)
    assert "WARNING: outside the model's trained range" in text


def test_the_grey_levels_follow_a_drift_on_request(sparse_bundle: Bundle, tmp_path: Path) -> None:
    """With the window, the last frames are answered as if the movie held nothing but them."""
    calm = movie(60).read(0, 60)
    drifting = ArrayMovie(
        calm + np.repeat([0, 3000], 30)[:, None, None].astype(np.uint16), pixel_size_nm=100.0
    )
    whole = ArrayMovie(calm[30:] + np.uint16(3000), pixel_size_nm=100.0)
    maps = {}
    for name, reader, changes in (
        ("late half alone", whole, {}),
        ("one level", drifting, {}),
        ("window", drifting, {"normalization_window": 12}),
    ):
        job = PredictionJob(reader, tmp_path / name, sparse_bundle.folder)
        predict_movie(job, config(**changes))
        maps[name] = read_count_map(tmp_path / name / "count_map.tif")[-10:]
    error = {name: np.abs(maps[name] - maps["late half alone"]).mean() for name in maps}
    assert error["window"] < 0.1 * error["one level"]
    provenance = json.loads((tmp_path / "window" / "provenance.json").read_text())
    assert provenance["config"]["normalization"]["window_frames"] == 12


def test_another_window_is_another_run(sparse_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(sparse_bundle, tmp_path, stop_after(10, Killed))
    with pytest.raises(OutputError, match="unfinished run of another"):
        run(sparse_bundle, tmp_path, normalization_window=12)


@pytest.mark.parametrize(
    ("side", "asked", "channels", "frames"),
    [
        (256, 64, 24, 64),
        (512, 64, 24, 32),
        (1024, 32, 24, 32),
        (1024, 64, 24, 32),
        (2048, 32, 24, 8),
        (8192, 32, 24, 4),
        (8192, 2, 24, 2),
        (256, None, 24, 64),
        (256, None, 16, 96),
        (256, 64, 16, 64),
        (512, None, 16, 48),
        (256, None, 96, 16),
    ],
)
def test_chunks_are_bounded_in_pixels_and_channels(
    side: int, asked: int | None, channels: int, frames: int
) -> None:
    info = MovieInfo("large", (), 1000, side, side, "uint16", 100.0)
    assert chunk_frames_for(info, config(chunk_frames=asked), channels) == frames


def test_shorter_chunks_of_large_frames_give_the_same(
    sparse_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(sparse_bundle, tmp_path / "a", chunk_frames=6, overlay_frames=5)
    monkeypatch.setattr(pipeline, "CHUNK_PIXELS", 6 * 30 * 37)
    events: list[Event] = []
    run(sparse_bundle, tmp_path / "b", events.append, chunk_frames=32, overlay_frames=5)
    assert [event.done for event in events if event.stage == "predict"] == [0, 6, 12, 18, 23]
    for name in (*BYTES, "overlays/frame_000012.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


class LazyMovie:
    """Frames made when they are read; a long movie that lies nowhere."""

    def __init__(self, n_frames: int) -> None:
        self.info = MovieInfo("lazy", (), n_frames, 64, 64, "uint16", 100.0)

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.stack(
            [
                np.random.default_rng(t).poisson(200, (64, 64)).astype(np.uint16)
                for t in range(start, stop)
            ]
        )

    def close(self) -> None:
        pass


def test_memory_does_not_grow_with_the_movie(sparse_bundle: Bundle, tmp_path: Path) -> None:
    """Python's own allocations (NumPy included) at their peak: 12 chunks against 3."""
    peaks = []
    settings = config(chunk_frames=8, decoding={"threshold": 1.0})
    for number, n_frames in enumerate((8, 24, 96)):
        job = PredictionJob(LazyMovie(n_frames), tmp_path / str(number), sparse_bundle.folder)
        if number > 0:  # the first pays for imports and compiling
            tracemalloc.start()
        predict_movie(job, settings)
        if number > 0:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    frame_bytes = 64 * 64 * 4 * 4
    assert peaks[1] - peaks[0] < 15 * frame_bytes  # of 72 further frames
