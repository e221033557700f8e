"""Spaces: every combination once, draws inside their ranges, and mistakes named."""

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hdsmlm.config.base import parse_section
from hdsmlm.config.search import SearchConfig, base_values, check_field, load_search
from hdsmlm.errors import ConfigError
from hdsmlm.search.space import draw_trials

RATE = "training.schedule.learning_rate"


def _search(**values):
    return parse_section(SearchConfig, {"space": {RATE: [0.1, 0.2]}, **values}, "test")


def _trials(base=None, **values):
    return draw_trials(_search(**values), base or {})


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_a_grid_has_every_combination_once(sizes):
    names = ["training.steps", "training.loss.tversky_weight", "training.ema_momentum"]
    values = {name: [(k + 1) / 8 for k in range(n)] for name, n in zip(names, sizes, strict=False)}
    values["training.steps"] = [k + 1 for k in range(sizes[0])]
    trials = _trials(space=values)
    assert len(trials) == math.prod(sizes)
    assert len({tuple(trial.values.items()) for trial in trials}) == len(trials)
    assert [trial.number for trial in trials] == list(range(1, len(trials) + 1))


def test_values_reach_the_run_and_each_trial_has_its_seed_and_name():
    trials = _trials({"training": {"seed": 7}}, name="try")
    assert [t.config.training.schedule.learning_rate for t in trials] == [0.1, 0.2]
    assert [t.config.training.seed for t in trials] == [7, 8]
    assert [t.config.name for t in trials] == ["try-0001", "try-0002"]
    shared = _trials({"training": {"seed": 7}}, shared_seed=True)
    assert {t.config.training.seed for t in shared} == {7}


@given(seed=st.integers(0, 1000), log=st.booleans())
@settings(max_examples=25, deadline=None)
def test_random_draws_lie_in_the_range_and_repeat_with_the_seed(seed, log):
    space = {
        RATE: {"low": 0.001, "high": 0.1, "log": log},
        "training.schedule.warmup_steps": {"low": 1, "high": 500, "integer": True},
    }
    method = {"kind": "random", "trials": 6, "seed": seed}
    first, again = _trials(space=space, method=method), _trials(space=space, method=method)
    assert [t.values for t in first] == [t.values for t in again]
    for trial in first:
        assert 0.001 <= trial.values[RATE] <= 0.1
        assert isinstance(trial.values["training.schedule.warmup_steps"], int)


def test_log_draws_are_even_in_the_logarithm():
    space = {RATE: {"low": 1e-4, "high": 1.0, "log": True}}
    trials = _trials(space=space, method={"kind": "random", "trials": 400, "seed": 3})
    logs = [math.log10(trial.values[RATE]) for trial in trials]
    expected, deviation = -2.0, 4 / math.sqrt(12) / math.sqrt(len(logs))
    assert abs(sum(logs) / len(logs) - expected) < 4 * deviation


def test_a_grid_takes_points_of_a_range():
    trials = _trials(space={RATE: {"low": 0.001, "high": 0.1, "log": True, "points": 3}})
    assert [trial.values[RATE] for trial in trials] == [0.001, 0.01, 0.1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"space": {"training.stepz": [1]}}, "did you mean 'training.steps'"),
        ({"space": {"trainnig.schedule.learning_rate": [1]}}, f"did you mean '{RATE}'"),
        ({"space": {"learning_rate": [0.1]}}, f"did you mean '{RATE}'"),
        ({"spacee": {}}, "did you mean 'space'"),
        ({"space": {RATE: [0.1, 0.1]}}, "listed twice"),
        ({"space": {RATE: [0.1, "1e-1"]}}, "the same run as trial 1"),
        ({"space": {RATE: []}}, "empty"),
        ({"space": {}}, "space"),
        ({"space": {RATE: {"low": 2, "high": 1}}}, "low must be below high"),
        ({"space": {RATE: {"low": 0, "high": 1, "log": True}}}, "must be positive"),
        ({"space": {RATE: {"low": 0.1, "high": 1}}}, "points"),
        ({"space": {RATE: [0.1]}, "fixed": {RATE: 0.2}}, "set the same field"),
        ({"space": {RATE: [0.1], "training.schedule": [{}]}}, "set the same field"),
        ({"space": {"name": ["a"]}}, "cannot vary"),
        ({"space": {RATE: [0.1, -1]}}, "trial 2"),
        ({"space": {"training.batch_size": [8, 7]}}, "does not divide"),
        ({"space": {"training.steps": list(range(1, 40))}, "method": {"max_trials": 9, "kind":
          "grid"}}, "max_trials allows 9"),
        ({"method": {"kind": "random", "trials": 3}}, "gave only 2"),
        ({"fixed": {"training.stepz": 1}}, "did you mean 'training.steps'"),
    ],
)  # fmt: skip
def test_mistakes_are_named(values, message, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump({"space": {RATE: [0.1, 0.2]}, **values}))
    with pytest.raises(ConfigError) as refused:
        _read_and_draw(path)
    assert message in str(refused.value)


def _read_and_draw(path):
    config = load_search(path)
    return draw_trials(config, base_values(config, path.parent))


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("space:\n  training.steps: [1, 2]\n  training.steps: [3]\n")
    with pytest.raises(ConfigError, match=r"'training\.steps' is given twice"):
        load_search(path)


def test_the_base_lies_beside_the_file_and_fixed_fields_win(tmp_path):
    (tmp_path / "base.yaml").write_text("training: {steps: 5, batch_size: 4}\n")
    config = _search(base="base.yaml", fixed={"training.steps": 9})
    (trial, _) = draw_trials(config, base_values(config, tmp_path))
    assert (trial.config.training.steps, trial.config.training.batch_size) == (9, 4)


def test_every_field_of_a_run_is_known():
    check_field("network.widths")
    check_field("training.validation.every_steps")
    check_field("simulation.psfs.gaussian")
