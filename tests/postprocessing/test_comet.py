"""COMET through its extra; the same drift as the cross-correlation finds."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from hdsmlm.config.postprocessing import DriftConfig
from hdsmlm.errors import MissingExtraError
from hdsmlm.postprocessing.comet import estimate_drift_comet
from hdsmlm.records.emitters import Emitters


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"hdsmlm\[drift\]"):
        estimate_drift_comet(Emitters.empty(), DriftConfig(method="comet"))


@pytest.mark.slow
def test_a_known_drift_is_found() -> None:
    pytest.importorskip("comet")
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 300, 2400)
    spots = rng.uniform(0, 3000, (60, 2))[rng.integers(0, 60, 2400)]
    drift = np.stack([60 * np.arange(300) / 300, -40 * np.arange(300) / 300], 1)
    position = spots + rng.normal(0, 10, (2400, 2)) + drift[frame]
    table = Emitters({"frame": frame, "x_nm": position[:, 0], "y_nm": position[:, 1]})
    config = DriftConfig(method="comet", segments=6, max_drift_nm=100)
    found = estimate_drift_comet(table, config)
    error = np.stack([found.x_nm, found.y_nm], 1) - drift[: len(found.x_nm)]
    error -= error.mean(0)
    assert found.z_nm is None
    assert np.sqrt((error**2).mean(0)).max() < 4.0
