"""Search section: a base run, the fields that vary, and how combinations are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from hdsmlm.config.base import Section, nearest, parse_section, read_yaml, set_field
from hdsmlm.config.run import RunConfig
from hdsmlm.errors import ConfigError


class ValueRange(Section):
    """A range of numbers from which values are drawn."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Draw the logarithm evenly; for learning rates and widths."""
    integer: bool = False
    """Round to whole numbers."""
    points: int | None = Field(None, ge=2, le=1000)
    """Evenly spaced values that a grid takes from the range; other methods ignore it."""

    @model_validator(mode="after")
    def _ordered(self) -> ValueRange:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range must be positive, got low {self.low:g}")
        return self


class GridMethod(Section):
    """Every combination."""

    kind: Literal["grid"] = "grid"
    """The method."""
    max_trials: int = Field(500, ge=1)
    """A larger grid is refused, so that one value too many does not cost a month."""


class RandomMethod(Section):
    """Independent draws, each combination once."""

    kind: Literal["random"]
    """The method."""
    trials: int = Field(ge=1, le=10_000)
    """Combinations."""
    seed: int = Field(0, ge=0)
    """Seed of the draw."""


class HalvingMethod(Section):
    """Random draws, of which the worse ones are stopped early (asynchronous successive halving)."""

    kind: Literal["halving"]
    """The method."""
    trials: int = Field(ge=1, le=10_000)
    """Combinations."""
    seed: int = Field(0, ge=0)
    """Seed of the draw."""
    min_steps: int = Field(ge=1)
    """Optimizer steps before the first decision; a multiple of the validation interval."""
    reduction_factor: int = Field(3, ge=2, le=16)
    """η: about one trial in η goes on at each decision; decisions are at min_steps·η^k."""


Method = Annotated[GridMethod | RandomMethod | HalvingMethod, Field(discriminator="kind")]


class SearchConfig(Section):
    """Configuration of ``hdsmlm search``."""

    name: str = Field("search", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the search; its trials are NAME-0001 and so on."""
    base: str | None = None
    """Configuration of the run that is varied, a path beside this file; null takes defaults."""
    fixed: dict[str, Any] = Field(default_factory=dict)
    """Fields (dotted) that every trial has in place of the base's, e.g. a smaller budget."""
    space: dict[str, tuple[Any, ...] | ValueRange] = Field(min_length=1)
    """Fields (dotted) that vary: a list of values, or a range."""
    method: Method = GridMethod()
    """How combinations are chosen."""
    metric: str = "f1"
    """Score on the validation set that is compared: f1, recall, precision, loss."""
    goal: Literal["maximize", "minimize"] = "maximize"
    """Whether more of it is better."""
    shared_seed: bool = False
    """Give every trial the base's seed: the same samples, so that only the fields differ; else each
    trial has a seed of its own, and the spread of the scores includes that of training."""
    retries: int = Field(1, ge=0, le=10)
    """Further attempts of a trial whose worker died or lost its device."""
    memory_retries: int = Field(2, ge=0, le=8)
    """Further attempts with half the batch after the memory ran out."""

    @model_validator(mode="after")
    def _consistent(self) -> SearchConfig:
        for key, choice in self.space.items():
            if isinstance(choice, tuple):
                _check_values(key, choice)
            elif self.method.kind == "grid" and choice.points is None:
                raise ValueError(
                    f"space '{key}': a grid needs values or the 'points' of a range; give a list, "
                    "'points: 4', or another method"
                )
        names = [*self.space, *self.fixed]
        for name in names:
            below = [other for other in names if other.startswith(f"{name}.")]
            if below or names.count(name) > 1:
                other = below[0] if below else name
                raise ValueError(f"'{name}' and '{other}' set the same field; leave one of them")
        if "name" in self.space:
            raise ValueError("'name' cannot vary: each trial has its own")
        return self


def _check_values(key: str, values: tuple[Any, ...]) -> None:
    if not values:
        raise ValueError(f"space '{key}': the list is empty; give at least one value")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"space '{key}': {value!r} is listed twice")


class _OnceLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise ConfigError(f"line {node.start_mark.line + 1}: '{key}' is given twice")
        return super().construct_mapping(node, deep)


def load_search(path: Path) -> SearchConfig:
    """Read the YAML file of a search.

    Raises
    ------
    ConfigError
        Unknown or repeated key, bad value; with the nearest right key.
    """
    values = read_yaml(path)
    try:
        yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceLoader)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; leave one of them") from None
    return parse_section(SearchConfig, values, str(path))


def base_values(config: SearchConfig, folder: Path) -> dict[str, Any]:
    """Return the plain values of the base run with the fixed fields set.

    Parameters
    ----------
    config : SearchConfig
        The search.
    folder : Path
        Where its file lies; ``base`` is looked for there, then as it stands.
    """
    values: dict[str, Any] = {}
    if config.base is not None:
        beside = folder / config.base
        values = read_yaml(beside if beside.exists() else Path(config.base))
    for key, value in config.fixed.items():
        check_field(key)
        set_field(values, key, value)
    return values


def check_field(dotted: str) -> None:
    """Refuse a dotted name that is no field of a run.

    Raises
    ------
    ConfigError
        Names the nearest field.
    """
    known = field_names(RunConfig)
    if dotted in known or any(dotted.startswith(f"{open_}.") for open_ in _open_fields(RunConfig)):
        return
    last = dotted.rsplit(".", 1)[-1]
    same_end = [name for name in known if name.rsplit(".", 1)[-1] == last]
    best = same_end[0] if same_end else nearest(dotted, list(known))
    hint = f"did you mean '{best}'?" if best else "see the reference page on configuration"
    raise ConfigError(f"unknown field '{dotted}'; {hint}")


def field_names(section: type[Section], prefix: str = "") -> dict[str, Any]:
    """Return the dotted names of all fields below a section, with their annotations.

    Examples
    --------
    >>> "training.schedule.learning_rate" in field_names(RunConfig)
    True
    """
    names: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        names[prefix + name] = field.annotation
        for inner in _sections_in(field.annotation):
            names.update(field_names(inner, f"{prefix}{name}."))
    return names


def _open_fields(section: type[Section]) -> list[str]:
    """Return the names whose keys are the user's own (mappings)."""
    return [
        name
        for name, annotation in field_names(section).items()
        if getattr(annotation, "__origin__", None) in (dict, Mapping)
    ]


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Section) else []
    arguments = getattr(annotation, "__args__", ())
    return [section for argument in arguments for section in _sections_in(argument)]
