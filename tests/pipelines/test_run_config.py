"""A run's configuration: fine-tuning keeps the network of its start unless it says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdsmlm.bundle import load_bundle
from hdsmlm.config.base import parse_section
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.network import NetworkConfig
from hdsmlm.errors import BundleError, ConfigError
from hdsmlm.pipelines.run_config import load_run


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ntraining: {steps: 10}\n")
    return path


def test_the_network_of_the_start_is_taken_over(plain) -> None:
    assert load_run(plain, {}).network == NetworkConfig()
    wolf = load_bundle("wolf").manifest.network
    taken = load_run(plain, {"training.start_from": "wolf"}).network
    assert taken.model_dump(mode="json") == wolf
    assert taken != NetworkConfig()


def test_an_own_network_stays(plain) -> None:
    run = load_run(plain, {"training.start_from": "wolf", "network.widths": [24, 48]})
    assert run.network.widths == (24, 48)


def test_a_missing_start_is_told_before_the_run(plain) -> None:
    with pytest.raises(BundleError, match="no-such-model"):
        load_run(plain, {"training.start_from": "no-such-model"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "'camera' is missing"),
        ({"camera": None}, "'camera': a section with keys of its own was wanted"),
        ({"camera": {"em_gain": 300}}, "'camera.kind' is missing; one of emccd, scmos, ideal"),
        ({"camera": {"kind": "emcd"}}, "there is no 'emcd'; did you mean 'emccd'"),
        ({"camera": {"kind": "emccd", "em_gian": 3}}, "did you mean 'em_gain'"),
    ],
)
def test_a_wrong_camera_is_told_in_the_words_of_the_file(values, message) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_section(MicroscopeConfig, values, "camera.yaml")
    assert message in str(caught.value)
