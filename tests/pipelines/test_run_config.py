"""A run's configuration: fine-tuning keeps the network of its start unless it says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdsmlm.bundle import load_bundle
from hdsmlm.config.network import NetworkConfig
from hdsmlm.errors import BundleError
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
