"""Frozen, closed configuration sections and the YAML reader that explains what is wrong.

A section is a :class:`Section`: frozen, ``extra="forbid"``, bounded fields with one sentence and
the unit each. A misspelt key is an error that names the nearest right one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hdsmlm.errors import ConfigError


class Section(BaseModel):
    """Base of every configuration section."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )


SectionT = TypeVar("SectionT", bound=Section)


def parse_section(cls: type[SectionT], values: Mapping[str, Any], source: str) -> SectionT:
    """Validate ``values`` as a ``cls``.

    Parameters
    ----------
    cls : type
        The section class.
    values : mapping
        Plain values, e.g. from YAML.
    source : str
        Where they come from; named in the error.

    Raises
    ------
    ConfigError
        With every problem in one message: the key, what was wanted, what came, the nearest key.
    """
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(cls, dict(problem)) for problem in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from None


def load_section(
    cls: type[SectionT], path: Path, overrides: Mapping[str, Any] | None = None
) -> SectionT:
    """Read a YAML file as a ``cls``; dotted ``overrides`` (``{"training.batch_size": 4}``) win."""
    values = read_yaml(path)
    for key, value in (overrides or {}).items():
        set_field(values, key, value)
    return parse_section(cls, values, str(path))


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Parse ``key.path=value`` texts, the values as YAML.

    Examples
    --------
    >>> parse_assignments(["training.steps=200", "name=try"])
    {'training.steps': 200, 'name': 'try'}
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key:
            raise ConfigError(f"'{assignment}': expected KEY=VALUE, e.g. training.steps=2000")
        try:
            values[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"'{assignment}': the value is not valid YAML") from None
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a YAML configuration") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text ({error})") from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: expected a mapping of keys to values, got {type(values).__name__}"
        )
    return values


def write_yaml(section: Section, path: Path) -> None:
    """Write a section with every field, so that the file alone repeats the run."""
    path.write_text(section_to_yaml(section), encoding="utf-8")


def section_to_yaml(section: Section) -> str:
    """Return the YAML text of a section."""
    return yaml.safe_dump(section.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def nearest(word: str, choices: Iterator[str] | list[str]) -> str | None:
    """Return the choice that is spelt most like ``word``, or None."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return close[0] if close else None


def _explain(cls: type[Section], problem: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(cls, problem["loc"][:-1])
        best = nearest(str(problem["loc"][-1]), known)
        hint = f"did you mean '{best}'?" if best else f"known keys: {', '.join(sorted(known))}"
        return f"unknown key '{where}'; {hint}"
    if problem["type"] == "missing":
        return f"'{where}' is missing"
    if problem["type"] == "union_tag_not_found":
        return f"'{where}.kind' is missing; one of {', '.join(_tags(cls, problem['loc']))}"
    if problem["type"] == "union_tag_invalid":
        tags = _tags(cls, problem["loc"])
        tag = str(problem["ctx"]["tag"])
        best = nearest(tag, tags)
        hint = f"did you mean '{best}'? " if best else ""
        return f"'{where}.kind': there is no '{tag}'; {hint}known are {', '.join(tags)}"
    if problem["type"] in ("model_attributes_type", "model_type"):
        return f"'{where}': a section with keys of its own was wanted"
    got = problem.get("input")
    shown = f", got {got!r}" if not isinstance(got, (dict, list)) else ""
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"'{where}': {message}{shown}" if where else message


def _known_keys(cls: Any, loc: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the section reached from ``cls`` along ``loc``."""
    return sorted({name for option in _options(cls, loc) for name in option.model_fields})


def _tags(cls: Any, loc: tuple[int | str, ...]) -> list[str]:
    """Return the values that ``kind`` can have in the section reached along ``loc``."""
    return [tag for option in _options(cls, loc) if (tag := _tag(option)) is not None]


def _options(cls: Any, loc: tuple[int | str, ...]) -> list[Any]:
    """Return the sections that can be reached from ``cls`` along ``loc``."""
    options = [cls]
    for part in loc:
        following: list[Any] = []
        for option in options:
            if part in option.model_fields:
                following += list(_section_types(option.model_fields[str(part)].annotation))
            elif _tag(option) == part:
                following.append(option)  # the tag of a discriminated union is no key
        options = following or options
    return options


def _section_types(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _section_types(argument)


def _tag(cls: type[Section]) -> str | None:
    kind = cls.model_fields.get("kind")
    return kind.default if kind is not None else None


def set_field(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set ``values["a"]["b"]`` for the key ``a.b``; sections that are missing are made."""
    *parents, last = dotted.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"override '{dotted}': '{parent}' is a value, not a section")
    values[last] = value
