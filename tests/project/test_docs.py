"""The documentation must match the program: pages exist, commands and options are real."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml

from hdsmlm.config.base import Section
from hdsmlm.io.tables.headers import native_header
from hdsmlm.records.columns import COLUMNS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MKDOCS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "hooks" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated(hook: ModuleType) -> dict[str, str]:
    pages: dict[str, str] = hook.generated_pages()
    return pages


def nav_pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list):
        for item in nav:
            yield from nav_pages(item)
    else:
        for item in nav.values():
            yield from nav_pages(item)


def test_every_page_of_the_navigation_exists(generated: dict[str, str]) -> None:
    missing = [
        page
        for page in nav_pages(MKDOCS["nav"])
        if page not in generated and not (DOCS / page).is_file()
    ]
    assert missing == []


def test_every_written_page_is_in_the_navigation() -> None:
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert written - set(nav_pages(MKDOCS["nav"])) == set()


def test_no_generated_page_has_a_second_copy(generated: dict[str, str]) -> None:
    assert [page for page in generated if (DOCS / page).exists()] == []


def test_column_page_has_every_column(generated: dict[str, str]) -> None:
    for column in COLUMNS.values():
        start = f"| `{column.name}` | `{native_header(column.name)}` | {column.dtype} |"
        assert start in generated["reference/columns.md"]


def test_configuration_page_explains_every_field(
    hook: ModuleType, generated: dict[str, str]
) -> None:
    page = generated["reference/configuration.md"]
    sections: list[tuple[str, ModuleType, type[Section]]] = list(hook.sections())
    assert sections
    for name, _, section in sections:
        assert f"### {name}\n" in page
        for key, field in section.model_fields.items():
            assert f"| `{key}` |" in page
            assert field.description, f"{name}.{key} needs a sentence under it"


def test_command_page_has_every_command(generated: dict[str, str]) -> None:
    assert set(commands()) == set(
        re.findall(r"^## hdsmlm (\S+)$", generated["reference/commands.md"], re.M)
    )


def test_decisions_are_numbered_and_name_their_price() -> None:
    pages = sorted(DOCS.glob("decisions/[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.M)
        assert headings == ["Context", "Choice", "Price"], page.name


def commands() -> dict[str, Any]:
    """Return name → click command of the whole command line."""
    from hdsmlm.cli.main import app

    group: Any = typer.main.get_command(app)
    return {name: command for name, command in group.commands.items() if not command.hidden}


def documented_calls() -> list[tuple[str, list[str]]]:
    """Return (place, words) of every ``hdsmlm`` call in a fenced shell block."""
    calls = []
    for path in PROSE:
        text = path.read_text(encoding="utf-8")
        for block in re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and Path(words[0]).name == "hdsmlm":
                    calls.append((f"{path.relative_to(ROOT)}: {line}", words[1:]))
    return calls


def test_documented_calls_use_real_commands_and_options() -> None:
    calls = documented_calls()
    known = commands()
    assert calls
    wrong = []
    for place, words in calls:
        name = words[0]
        if name.startswith("-"):
            continue
        if name not in known:
            wrong.append(f"{place}: no command {name}")
            continue
        options = {
            option
            for parameter in known[name].params
            for option in (*parameter.opts, *parameter.secondary_opts)
        } | {"--help"}
        wrong += [
            f"{place}: no option {word}"
            for word in words[1:]
            if word.startswith("-") and word.split("=")[0] not in options
        ]
    assert wrong == []
