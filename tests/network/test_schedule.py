"""WarmupCosineStepLR against its formula."""

import numpy as np
import pytest

from hdsmlm.config.training import ScheduleConfig
from hdsmlm.network.schedule import WarmupCosineStepLR

CONFIG = ScheduleConfig(
    learning_rate=0.01, warmup_steps=10, floor_fraction=0.1, milestones=(60, 80), drop_factor=0.5
)


def _rate(step, config=CONFIG):
    return float(WarmupCosineStepLR(config, 100)(step))


def test_warm_up_is_linear_and_ends_at_the_base_rate():
    assert _rate(0) == pytest.approx(0.001)
    assert _rate(4) == pytest.approx(0.005)
    assert _rate(9) == pytest.approx(0.01)
    assert _rate(10) == pytest.approx(0.01)


def test_cosine_is_half_way_down_at_half_time():
    assert _rate(55) == pytest.approx(0.01 * (0.1 + 0.9 / 2))


def test_milestones_drop_for_good():
    smooth = CONFIG.model_copy(update={"milestones": ()})
    assert _rate(59) == pytest.approx(_rate(59, smooth))
    assert _rate(60) == pytest.approx(_rate(60, smooth) * 0.5)
    assert _rate(80) == pytest.approx(_rate(80, smooth) * 0.25)


def test_floor_is_kept_after_the_end():
    smooth = CONFIG.model_copy(update={"milestones": ()})
    assert _rate(100, smooth) == pytest.approx(0.001)
    assert _rate(500, smooth) == pytest.approx(0.001)


def test_rate_never_rises_after_warm_up():
    rates = np.array([_rate(step) for step in range(10, 120)])
    assert (np.diff(rates) <= 1e-9).all()


def test_no_warm_up_starts_at_the_base_rate():
    assert _rate(0, CONFIG.model_copy(update={"warmup_steps": 0})) == pytest.approx(0.01)


def test_settings_survive_serialization():
    schedule = WarmupCosineStepLR(CONFIG, 100)
    again = WarmupCosineStepLR.from_config(schedule.get_config())
    assert float(again(42)) == float(schedule(42))
