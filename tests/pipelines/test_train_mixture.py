"""A run on simulated and binned data from start to bundle: what it says of its data."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")

import hdsmlm.pipelines.finish as finish
from hdsmlm.config.base import parse_section
from hdsmlm.config.run import RunConfig
from hdsmlm.config.test_set import TestSetConfig
from hdsmlm.errors import ConfigError
from hdsmlm.evaluation.scores import DetectionScore
from hdsmlm.pipelines.score_binned import (
    choose_sequences,
    jackknife_error,
    score_binned,
)
from hdsmlm.pipelines.train import (
    RunRequest,
    check_same_data,
    check_same_run,
    mixture_params,
    run_training,
)
from hdsmlm.training.sources import open_sources


def _small_test_set(scenes_per_case):
    whole = TestSetConfig()
    return TestSetConfig(
        scenes_per_case=scenes_per_case,
        shape=(3, 32, 32),
        headline=whole.headline[2:3],
        reference=whole.reference[:1],
    )


def _config(folder, **training):
    values = {
        "name": "mixed",
        "simulation": {"density_per_um2": 2.0, "pixel_size_nm": 100.0},
        "network": {"widths": [4, 4], "head_channels": 4},
        "data": {"binned": [{"folder": str(folder), "weight": 1.0}]},
        "training": {
            "steps": 4,
            "batch_size": 2,
            "frames": 3,
            "patch_px": 16,
            "scene_patches": [1, 2],
            "scenes_per_group": 2,
            "workers": 0,
            "schedule": {"warmup_steps": 2},
            "validation": {
                "scenes": 1, "every_steps": 2, "calibration_scenes": 1, "test_scenes": 1,
            },
            **training,
        },
    }  # fmt: skip
    return parse_section(RunConfig, values, "mixed")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_binned):
    root = tmp_path_factory.mktemp("mixed")
    folder = make_binned(root / "cell_bin5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "TestSetConfig", _small_test_set)
        result = run_training(RunRequest(_config(folder), root / "run"))
    return root / "run", result.bundle, folder


def test_bundle_says_what_it_learnt_from_and_not_where_it_lay(finished):
    run, bundle, folder = finished
    identity = open_sources(_config(folder))[0].identity
    card = bundle.model_card
    assert "a mixture (simulated 50%, cell_bin5 50% of the scenes)" in card
    assert "| cell_bin5 | mixed |" in card
    assert "simulated only" not in card
    provenance = json.loads((bundle.folder / "provenance.json").read_text())
    assert provenance["parents"]["cell_bin5/movie"] == identity.movie_sha256
    assert provenance["config"]["sources"] == [identity.to_dict()]
    for path in bundle.folder.iterdir():
        assert str(folder.parent).encode() not in path.read_bytes()
    history = json.loads((run / "validation.json").read_text())
    row = history[-1]
    assert row["mixed_loss"] == pytest.approx((row["loss"] + row["cell_bin5_loss"]) / 2)
    params = mixture_params(_config(folder), open_sources(_config(folder)))
    assert params["mixture"] == "simulated 0.5, cell_bin5 0.5"
    assert identity.movie_sha256[:16] in params["source.cell_bin5"]

    scores = score_binned(bundle, choose_sequences([folder], every=False))
    assert bundle.manifest.scores["held_out"]["cell_bin5"] == scores[0].to_dict()
    assert (scores[0].n_sequences, scores[0].n_frames) == (1, 3)
    assert 0 < scores[0].doubt_share < 1
    everything = score_binned(bundle, choose_sequences([folder], every=True))[0]
    assert everything.n_sequences == 5
    assert everything.density_per_um2 > 0


def test_run_may_move_its_data_but_not_change_them(finished, make_binned, tmp_path):
    run, _, folder = finished
    moved = tmp_path / "cell_bin5"
    shutil.copytree(folder, moved)
    check_same_run(_config(moved), run)
    check_same_data(open_sources(_config(moved)), run)

    other = make_binned(tmp_path / "other" / "cell_bin5", n_sequences=4)
    with pytest.raises(ConfigError, match="began with other data: cell_bin5 changed"):
        run_training(RunRequest(_config(other), run))
    with pytest.raises(ConfigError, match="no such folder"):
        run_training(RunRequest(_config(tmp_path / "gone"), tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_the_jackknife_gives_the_scatter_of_repeated_measurements() -> None:
    rng = np.random.default_rng(5)

    def measure() -> list[DetectionScore]:
        """Forty sequences of about 30 emitters, found with a recall of their own."""
        parts = []
        for recall in rng.beta(16, 4, size=40):
            true = int(rng.poisson(30))
            tp = int(rng.binomial(true, recall))
            parts.append(DetectionScore(tp, int(rng.poisson(3)), true - tp))
        return parts

    f1, errors = [], []
    for _ in range(400):
        parts = measure()
        tp, fp, fn = (sum(getattr(part, name) for part in parts) for name in ("tp", "fp", "fn"))
        f1.append(2 * tp / (2 * tp + fp + fn))
        errors.append(jackknife_error(parts))
    scatter = np.std(f1)
    assert abs(np.sqrt(np.mean(np.square(errors))) - scatter) < 4 * scatter / np.sqrt(2 * 400)
    assert np.isnan(jackknife_error(parts[:1]))
