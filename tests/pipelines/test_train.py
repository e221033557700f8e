"""Training from the command line: pieces, a kill in between, the bundle, bad input."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow.tracking import MlflowClient

from hdsmlm.bundle import load_bundle
from hdsmlm.tracking.mlflow_tracker import DATABASE
from hdsmlm.training.checkpoint import FILE

TINY = {
    "name": "tiny",
    "simulation": {"density_per_um2": 2.0, "pixel_size_nm": 100.0},
    "network": {"widths": [4, 4], "head_channels": 4},
    "training": {
        "steps": 40,
        "batch_size": 2,
        "frames": 3,
        "patch_px": 32,
        "scene_patches": [1, 2],
        "scenes_per_group": 2,
        "workers": 0,
        "checkpoint_minutes": 0.0001,
        "schedule": {"warmup_steps": 2, "learning_rate": 0.01},
        "validation": {"scenes": 1, "every_steps": 20, "calibration_scenes": 2, "test_scenes": 1},
    },
}
COMMAND = [sys.executable, "-m", "hdsmlm"]


def _config(folder: Path, **changes) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return path


def _train(
    config: Path, out: Path, *options: str, record: tuple[str, ...] = ("--no-tracking",)
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, "train", str(config), "--out", str(out), *record, *options],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def _weights(checkpoint: Path) -> dict[str, np.ndarray]:
    with np.load(checkpoint) as archive:
        return {name: archive[name] for name in archive.files if name != "progress"}


@pytest.mark.filterwarnings("ignore")  # of MLflow and SQLAlchemy
def test_killed_run_resumes_to_the_same_state_and_ends_with_a_bundle(tmp_path):
    config = _config(tmp_path)
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [*COMMAND, "train", str(config), "--out", str(killed), "--no-tracking"],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (killed / FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (killed / FILE).exists()

    resumed = _train(config, killed)
    assert resumed.returncode == 0, resumed.stderr
    whole = _train(config, tmp_path / "whole", record=("--tracking", str(tmp_path / "record")))
    assert whole.returncode == 0, whole.stderr
    first, second = _weights(killed / FILE), _weights(tmp_path / "whole" / FILE)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-3, atol=1e-5)

    record = MlflowClient(f"sqlite:///{tmp_path / 'record' / DATABASE}")
    (model,) = record.search_model_versions("name = 'tiny'")
    registered = load_bundle(Path(model.source.removeprefix("file://")))
    assert registered.sha256 == load_bundle(tmp_path / "whole" / "bundle").sha256

    bundle = load_bundle(killed / "bundle")
    assert bundle.manifest.name == "tiny"
    assert bundle.manifest.window_frames == 3
    assert set(bundle.manifest.scores["headline_tier1"]) == {"f1", "recall", "precision"}
    assert "SNR ≥ 2" in bundle.model_card
    assert (killed / "validation" / "scene_0.png").is_file()

    changed = _train(_config(tmp_path, network={"widths": [4, 8]}), killed)
    assert changed.returncode == 2
    assert "network.widths" in changed.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainnig": {"steps": 3}}, "did you mean 'training'"),
        ({"training": {"stepz": 3}}, "did you mean 'steps'"),
        ({"training": {"patch_px": 18}}, "multiple"),
        ({"simulation": {"photons": -5}}, "photons"),
        ({"simulation": {"emccd": {"quantum_efficiency": 1.5}}}, "at most 1"),
    ],
)
def test_bad_configuration_is_one_message(tmp_path, changes, message):
    done = _train(_config(tmp_path, **changes), tmp_path / "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_missing_configuration(tmp_path):
    done = _train(tmp_path / "none.yaml", tmp_path / "out")
    assert done.returncode == 2
    assert "no such file" in done.stderr


def test_foreign_folder_is_never_deleted(tmp_path):
    out = tmp_path / "photos"
    out.mkdir()
    (out / "cat.jpg").write_text("cat")
    done = _train(_config(tmp_path), out, "--overwrite")
    assert done.returncode == 2
    assert (out / "cat.jpg").read_text() == "cat"
