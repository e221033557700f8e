"""The demonstration from simulation to scores, with a network that only looks for bright pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from hdsmlm.bundle import BundleContent, BundleManifest, write_bundle
from hdsmlm.cli.main import app
from hdsmlm.config.simulation import MovieConfig
from hdsmlm.errors import BundleError
from hdsmlm.pipelines.demo import DEMO_MOVIE, run_demo
from hdsmlm.records.events import silent
from hdsmlm.records.provenance import Provenance

SMALL = MovieConfig.model_validate({**dict(DEMO_MOVIE), "frames": 6, "height": 32, "width": 32})


def bundle_of_bright_pixels(folder: Path, least: float) -> Path:
    """Return a bundle whose count is 1 where the normalized grey value is above ``least``."""
    shape = ["b", "t", "y", "x"]
    gain = np.array([0.0, 20.0, 0.0, 0.0], dtype=np.float32)
    offset = np.array([0.0, -20.0 * least, -30.0, -30.0], dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["frames", "gain"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
        ],
        "bright",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, [*shape, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [*shape, 4])],
        [numpy_helper.from_array(gain, "gain"), numpy_helper.from_array(offset, "offset")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "graph.onnx"))
    manifest = BundleManifest.model_validate(
        {
            "name": "bright",
            "description": "Calls bright pixels emitters; for tests.",
            "created": "2026-01-01T00:00:00+00:00",
            "network": {},
            "normalization": {},
            "window_frames": 3,
            "receptive_frames": 0,
            "receptive_px": 0,
            "spatial_multiple": 1,
        }
    )
    content = BundleContent(
        folder / "graph.onnx", None, "{}\n", Provenance("test", {}), "# bright\n"
    )
    return write_bundle(folder / "bright", manifest, content).folder


@pytest.fixture(scope="module")
def bright_pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of_bright_pixels(tmp_path_factory.mktemp("models"), 0.8)


def test_missing_model_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no-such-model"):
        run_demo(tmp_path / "out", "no-such-model", SMALL)
    assert not (tmp_path / "out").exists()


def test_demonstration_by_command_and_again_by_function(
    bright_pixels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hdsmlm.pipelines.demo.run_demo.__defaults__", ("wolf", SMALL, silent))
    result = CliRunner().invoke(
        app, ["demo", "--out", str(tmp_path), "--model", str(bright_pixels)]
    )
    assert result.exit_code == 0, result.output
    listed = result.stdout.split("Where everything is:")[1].splitlines()
    paths = [Path(line.split("  ")[1].strip()) for line in listed if line.strip()]
    assert len(paths) == 13
    assert [path for path in paths if not path.exists()] == []
    table = (tmp_path / "result" / "emitters.csv").read_bytes()

    again = run_demo(tmp_path, bright_pixels, SMALL)  # replaces the first

    assert (again.result / "emitters.csv").read_bytes() == table
    assert table.count(b"\n") == again.summary.found.emitters + 1
    assert again.localized.localizations > 0
    scores = json.loads(again.scored.scores.read_text(encoding="utf-8"))
    assert scores["n_truth"] == again.simulated.n_emitters
    assert scores["strict_all_f1"] > scores["strict_all_chance_f1"]


def test_a_model_that_finds_nothing_is_scored_all_the_same(tmp_path: Path) -> None:
    blind = bundle_of_bright_pixels(tmp_path, 1.5)  # normalized grey values end at 1
    made = run_demo(tmp_path / "out", blind, SMALL)
    scores = json.loads(made.scored.scores.read_text(encoding="utf-8"))
    assert made.summary.found.emitters == scores["n_predicted"] == 0
    assert scores["knn_all_recall"] == 0
