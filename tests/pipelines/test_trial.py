"""One trial with real training: up to a decision, on from there, with a smaller batch, at once."""

import json

import pytest

from hdsmlm.config.run import RunConfig
from hdsmlm.pipelines.trial import RESULT, run_trial

RUN = {
    "name": "tiny-0001",
    "simulation": {"density_per_um2": 2.0, "pixel_size_nm": 100.0},
    "network": {"widths": [4, 4], "head_channels": 4},
    "training": {
        "steps": 6,
        "batch_size": 4,
        "frames": 3,
        "patch_px": 16,
        "scene_patches": [1, 2],
        "scenes_per_group": 2,
        "workers": 0,
        "schedule": {"warmup_steps": 2},
        "validation": {"scenes": 1, "every_steps": 2, "calibration_scenes": 2, "test_scenes": 1},
    },
}


def _run(**training):
    values = {**RUN, "training": {**RUN["training"], **training}}
    return RunConfig.model_validate(values).model_dump(mode="json")


def test_a_trial_stops_at_a_decision_and_goes_on(tmp_path):
    folder = tmp_path / "run"
    first = run_trial(_run(), str(folder), stop_step=2)
    assert (first["complete"], first["step"]) == (False, 2)
    history = json.loads((folder / "validation.json").read_text())
    assert first["scores"] == {k: v for k, v in history[0].items() if k != "step"}
    assert set(first["scores"]) == set(RunConfig().score_names)
    assert not (folder / RESULT).exists()

    last = run_trial(_run(), str(folder))
    assert (last["complete"], last["step"]) == (True, 6)
    assert (folder / "bundle" / "bundle.yaml").is_file()
    written = (folder / RESULT).stat().st_mtime_ns
    assert run_trial(_run(), str(folder)) == last  # a search that was killed before it knew
    assert (folder / RESULT).stat().st_mtime_ns == written

    smaller = run_trial(_run(batch_size=2), str(folder), stop_step=2)
    assert (smaller["complete"], smaller["step"]) == (False, 2)
    assert not (folder / "bundle").exists()


def test_a_trial_that_no_longer_improves_gives_its_best(tmp_path):
    validation = {**RUN["training"]["validation"], "patience": 1}
    schedule = {"warmup_steps": 1, "learning_rate": 0.5}
    run = _run(steps=40, validation=validation, schedule=schedule, ema_momentum=0.5)
    answer = run_trial(run, str(tmp_path / "run"))
    history = json.loads((tmp_path / "run" / "validation.json").read_text())
    assert answer["complete"]
    assert answer["step"] < history[-1]["step"] < 40
    losses = {entry["step"]: entry["loss"] for entry in history}
    assert answer["scores"]["loss"] == min(losses.values()) == losses[answer["step"]]


def test_a_trial_that_was_asked_to_stop_elsewhere_may_be_tried_again(tmp_path, monkeypatch):
    import signal

    from hdsmlm.pipelines import trial

    class Stop:
        def __init__(self, _step):
            pass

        def __call__(self, event):
            if event.stage == "validate" and event.unit == "steps" and event.done == 4:
                signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(trial, "_Brake", Stop)
    with pytest.raises(InterruptedError, match="step 4"):
        run_trial(_run(), str(tmp_path / "run"))
