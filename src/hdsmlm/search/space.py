"""From a search space to its trials: pure, the same for the same configuration."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hdsmlm.config.base import parse_section, set_field
from hdsmlm.config.run import RunConfig
from hdsmlm.config.search import GridMethod, SearchConfig, ValueRange, check_field
from hdsmlm.errors import ConfigError

SEED = "training.seed"
_PATIENCE = 200
"""Draws per wanted trial before a random space counts as used up."""


@dataclass(frozen=True)
class Trial:
    """One combination.

    Parameters
    ----------
    number : int
        From 1.
    values : mapping of str to value
        The varied fields.
    config : RunConfig
        The whole run.
    """

    number: int
    values: Mapping[str, Any]
    config: RunConfig

    @property
    def label(self) -> str:
        """``field=value`` of every varied field, by the last part of its name.

        Examples
        --------
        >>> Trial(1, {"training.steps": 5}, RunConfig()).label
        'steps=5'
        """
        return ", ".join(f"{key.rsplit('.', 1)[-1]}={v}" for key, v in self.values.items())


def draw_trials(config: SearchConfig, base: Mapping[str, Any]) -> tuple[Trial, ...]:
    """Return all trials of a search.

    Parameters
    ----------
    config : SearchConfig
        Space and method.
    base : mapping
        Plain values of the base run.

    Raises
    ------
    ConfigError
        An unknown field (names the nearest), a combination that is no valid run, two trials that
        would be the same run, a space that is too large or too small for the method.
    """
    for key in config.space:
        check_field(key)
    trials: list[Trial] = []
    seen: dict[str, int] = {}
    for values in _combinations(config):
        number = len(trials) + 1
        run = _run(config, base, values, number)
        same = seen.setdefault(_identity(run, config), number)
        if same == number:
            trials.append(Trial(number, values, run))
        elif isinstance(config.method, GridMethod):
            raise ConfigError(
                f"trial {number} ({values}) would be the same run as trial {same}; "
                "two values of the space mean the same"
            )
        if not isinstance(config.method, GridMethod) and len(trials) == config.method.trials:
            break
    wanted = getattr(config.method, "trials", len(trials))
    if len(trials) < wanted:
        raise ConfigError(
            f"{wanted} different trials were asked for, but the space gave only {len(trials)}; "
            "ask for fewer, or use method 'grid'"
        )
    return tuple(trials)


def _combinations(config: SearchConfig) -> Iterator[dict[str, Any]]:
    method, names = config.method, list(config.space)
    if isinstance(method, GridMethod):
        axes = [_grid_values(choice) for choice in config.space.values()]
        count = math.prod(len(axis) for axis in axes)
        if count > method.max_trials:
            raise ConfigError(
                f"the grid has {count} combinations, max_trials allows {method.max_trials}; "
                "take values out, raise it, or use method 'random'"
            )
        for combination in itertools.product(*axes):
            yield dict(zip(names, combination, strict=True))
        return
    rng = np.random.default_rng(method.seed)
    for _ in range(_PATIENCE * method.trials):
        yield {name: _draw(choice, rng) for name, choice in config.space.items()}


def _grid_values(choice: tuple[Any, ...] | ValueRange) -> list[Any]:
    if isinstance(choice, tuple):
        return list(choice)
    points = choice.points or 2
    space = np.geomspace if choice.log else np.linspace
    return [_number(choice, value) for value in space(choice.low, choice.high, points)]


def _draw(choice: tuple[Any, ...] | ValueRange, rng: np.random.Generator) -> Any:
    if isinstance(choice, tuple):
        return choice[int(rng.integers(len(choice)))]
    low, high = choice.low, choice.high
    if choice.log:
        return _number(choice, math.exp(rng.uniform(math.log(low), math.log(high))))
    return _number(choice, rng.uniform(low, high))


def _number(choice: ValueRange, value: float) -> int | float:
    """Return a number of few digits inside the range, so that tables stay readable."""
    if choice.integer:
        return round(value)
    return min(max(float(f"{value:.4g}"), choice.low), choice.high)


def _run(
    config: SearchConfig, base: Mapping[str, Any], values: Mapping[str, Any], number: int
) -> RunConfig:
    plain = copy.deepcopy(dict(base))
    for key, value in values.items():
        set_field(plain, key, value)
    plain["name"] = f"{config.name}-{number:04d}"
    if SEED not in values and not config.shared_seed:
        seed = plain.get("training", {}).get("seed", RunConfig().training.seed)
        set_field(plain, SEED, seed + number - 1)
    shown = ", ".join(f"{key}={value}" for key, value in values.items())
    return parse_section(RunConfig, plain, f"trial {number} ({shown})")


def _identity(run: RunConfig, config: SearchConfig) -> str:
    """Return what makes two trials the same run: everything but the name and the own seed."""
    plain = run.model_dump(mode="json")
    plain.pop("name")
    if SEED not in config.space:
        plain["training"].pop("seed")
    return json.dumps(plain, sort_keys=True)
