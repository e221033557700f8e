"""MkDocs hook: the reference pages are written from the code at every build, never by hand.

``reference/commands.md`` comes from the command line itself, ``reference/configuration.md`` from
the pydantic sections and the sentences under their fields, ``reference/columns.md`` from the column
registry, ``reference/movies.md`` and ``reference/tables.md`` from the readers,
``reference/errors.md`` from the exception tree, and ``reference/api/<package>.md`` lists the
modules for mkdocstrings.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hdsmlm

API_FOLDER = "reference/api"


def generated_pages() -> dict[str, str]:
    """Return path → Markdown of every generated page."""
    pages = {
        "reference/commands.md": commands_page(),
        "reference/configuration.md": configuration_page(),
        "reference/columns.md": columns_page(),
        "reference/movies.md": movies_page(),
        "reference/tables.md": tables_page(),
        "reference/errors.md": errors_page(),
    }
    for package in packages():
        pages[f"{API_FOLDER}/{package.rsplit('.', 1)[-1]}.md"] = api_page(package)
    return pages


def on_config(config: Any) -> Any:
    """Add the API pages to the navigation."""
    api = [{package: f"{API_FOLDER}/{package.rsplit('.', 1)[-1]}.md"} for package in packages()]
    for section in config.nav:
        if "Reference" in section:
            section["Reference"].append({"API": api})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the files of the site."""
    from mkdocs.structure.files import File

    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


# ---------------------------------------------------------------- packages


def packages() -> list[str]:
    """Return the dotted names of the rooms of the program, in alphabetical order."""
    return [
        f"hdsmlm.{module.name}"
        for module in pkgutil.iter_modules(hdsmlm.__path__)
        if module.ispkg and module.name not in {"cli", "models"}
    ] + ["hdsmlm.errors", "hdsmlm.units"]


def modules(package: str) -> Iterator[str]:
    """Yield the dotted names of a package's public modules without importing them."""
    folder = Path(hdsmlm.__file__).parent.joinpath(*package.split(".")[1:])
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if not any(part.startswith("_") for part in parts):
            yield ".".join([package, *parts])


def api_page(package: str) -> str:
    """Return the page that has mkdocstrings write a package's modules."""
    lines = [f"# {package}", "", f"::: {package}", "    options:", "      show_root_heading: false"]
    lines += ["      members: false", ""] if list(modules(package)) else [""]
    for module in modules(package):
        lines += [f"::: {module}", ""]
    return "\n".join(lines)


# ---------------------------------------------------------------- commands


def commands_page() -> str:
    """Return usage, help and options of every command, asked from the command line."""
    import typer

    from hdsmlm.cli.main import app

    root = typer.main.get_command(app)
    context = root.make_context("hdsmlm", ["--help-is-not-parsed"], resilient_parsing=True)
    lines = [
        "# Commands",
        "",
        "Written from the program itself. `hdsmlm COMMAND --help` shows the same text.",
        "",
    ]
    for name in root.list_commands(context):  # type: ignore[attr-defined]
        command = root.get_command(context, name)  # type: ignore[attr-defined]
        if command is None or command.hidden:
            continue
        lines += _command_section(name, command, context)
    return "\n".join(lines)


def _command_section(name: str, command: Any, parent: Any) -> list[str]:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    usage = " ".join(["hdsmlm", name, *command.collect_usage_pieces(context)])
    lines = [f"## hdsmlm {name}", "", inspect.cleandoc(command.help or ""), "", "```text"]
    lines += [usage, "```", "", "| Argument or option | Default | Meaning |", "|---|---|---|"]
    for parameter in command.get_params(context):
        if parameter.name == "help":
            continue
        if parameter.param_type_name == "argument":
            shown = " ".join(parameter.get_usage_pieces(context))
        else:
            record = parameter.get_help_record(context)
            if record is None:
                continue  # a hidden option
            shown = record[0]
        default = parameter.default
        if parameter.required:
            default_text = "required"
        elif default is None or default is False or callable(default) or default == ():
            default_text = ""
        else:
            default_text = f"`{getattr(default, 'value', default)}`"
        lines.append(f"| `{_cell(shown)}` | {default_text} | {_cell(parameter.help or '')} |")
    return [*lines, ""]


# ---------------------------------------------------------------- configuration


def sections() -> Iterator[tuple[str, ModuleType, type]]:
    """Yield (name, module, class) of every configuration section, in the order of definition."""
    import hdsmlm.config
    from hdsmlm.config.base import Section

    for info in pkgutil.iter_modules(hdsmlm.config.__path__):
        module = importlib.import_module(f"hdsmlm.config.{info.name}")
        for name, value in vars(module).items():
            if (
                inspect.isclass(value)
                and issubclass(value, Section)
                and value is not Section
                and value.__module__ == module.__name__
                and not name.startswith("_")
            ):
                yield name, module, value


def configuration_page() -> str:
    """Return a table of fields (type, default, bounds, sentence) for every section."""
    lines = [
        "# Configuration",
        "",
        "Written from the configuration classes. A file is YAML; a key that is not listed here",
        "is an error that names the nearest right one, and a value outside its bounds is an error",
        "that names the bound.",
        "",
    ]
    module_seen: ModuleType | None = None
    for name, module, section in sections():
        if module is not module_seen:
            summary = inspect.cleandoc(module.__doc__ or "")
            lines += [f"## {module.__name__.removeprefix('hdsmlm.')}", "", summary, ""]
            module_seen = module
        lines += [f"### {name}", "", inspect.cleandoc(section.__doc__ or ""), ""]
        lines += ["| Field | Type | Default | Bounds | Meaning |", "|---|---|---|---|---|"]
        for key, field in section.model_fields.items():  # type: ignore[attr-defined]
            lines.append(_field_row(key, field))
        lines.append("")
    return "\n".join(lines)


def _field_row(key: str, field: Any) -> str:
    from pydantic import BaseModel

    if field.is_required():
        default = "required"
    else:
        value = field.get_default(call_default_factory=True)
        nested = isinstance(value, BaseModel) or (
            isinstance(value, (tuple, list)) and any(isinstance(v, BaseModel) for v in value)
        )
        default = "the section's defaults" if nested else f"`{value!r}`"
    kind = getattr(field.annotation, "__name__", None)
    if kind is None or "[" in str(field.annotation) or "|" in str(field.annotation):
        kind = str(field.annotation).replace("typing.", "")
        kind = ".".join([kind]) if "hdsmlm" not in kind else _short(kind)
    return (
        f"| `{key}` | {_cell(kind)} | {_cell(default)} | {_bounds(field.metadata)} | "
        f"{_cell(field.description or '')} |"
    )


def _short(annotation: str) -> str:
    """Drop the module path of the project's own classes from a type's text."""
    import re

    return re.sub(r"hdsmlm\.[a-z_.]+\.(?=[A-Z])", "", annotation)


def _bounds(metadata: list[Any]) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥"}
    signs |= {"max_length": "length ≤", "multiple_of": "multiple of", "pattern": "pattern"}
    found = [
        f"{sign} {getattr(item, name)}"
        for item in metadata
        for name, sign in signs.items()
        if getattr(item, name, None) is not None
    ]
    return f"`{_cell(', '.join(found))}`" if found else ""


# ---------------------------------------------------------------- columns, errors


def columns_page() -> str:
    """Return the table of columns from the registry, with the name each has on disk."""
    from hdsmlm.io.tables.headers import native_header
    from hdsmlm.records.columns import COLUMNS, REQUIRED

    lines = [
        "# Table columns",
        "",
        "Written from the one registry of columns (`hdsmlm.records.columns`); the headers of",
        f"tables derive from it too. Every table has {', '.join(map('`{}`'.format, REQUIRED))}.",
        "",
        "| Name | Header in a csv | Type | Unit | Meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{column.name}` | `{native_header(column.name)}` | {column.dtype} | {column.unit} "
        f"| {_cell(column.meaning)} |"
        for column in COLUMNS.values()
    ]
    return "\n".join([*lines, ""])


def movies_page() -> str:
    """Return the movie formats from the registry of readers."""
    from hdsmlm.io.movies.registry import FORMATS

    lines = [
        "# Movie formats",
        "",
        "Written from the registry of readers (`hdsmlm.io.movies.registry`). A file is known by",
        "its first bytes where its format has a signature, else by its extension. A folder of TIFF",
        'files and a pattern such as `"frames_*.tif"` (in quotes) are one movie, in natural order.',
        "",
        "| Format | Extensions | Known by | Needs |",
        "|---|---|---|---|",
    ]
    for form in FORMATS:
        extensions = " ".join(f"`{extension}`" for extension in form.extensions)
        known_by = "extension" if form.sniff is None else "first bytes"
        vendor = form.open.__module__.endswith(".vendors")
        needs = "extra `io`" if vendor else ""
        lines.append(f"| {form.name} | {extensions} | {known_by} | {needs} |")
    return "\n".join([*lines, ""])


def tables_page() -> str:
    """Return the kinds of tables from their registry."""
    from hdsmlm.io.tables.port import WritableFormat
    from hdsmlm.io.tables.registry import FORMATS

    lines = [
        "# Table formats",
        "",
        "Written from the registry of tables (`hdsmlm.io.tables.registry`). The kind of a table",
        "that is read is known by its content, whatever its suffix; `--from` and `--to` of",
        "`hdsmlm convert` take the names. *Origin* is how positions and frames count in the file;",
        "inside the program positions are nm from the outer corner of the first pixel and frames",
        "count from 0. What is written is written in pieces, for movies of any length.",
        "",
        "| Name | Suffixes | Written | What | Origin |",
        "|---|---|---|---|---|",
    ]
    for form in FORMATS:
        suffixes = " ".join(f"`{suffix}`" for suffix in form.suffixes)
        written = "yes" if isinstance(form, WritableFormat) else ""
        cells = (f"`{form.name}`", suffixes, written, form.summary, form.origin)
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join([*lines, ""])


def errors_page() -> str:
    """Return every error class with its exit code."""
    from hdsmlm import errors

    lines = [
        "# Errors and exit codes",
        "",
        "Written from `hdsmlm.errors`. Exit code 0 is success; 1 is an error of the program",
        "itself, shown with its traceback; please report it.",
        "",
        "| Error | Exit code | When |",
        "|---|---|---|",
    ]
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, errors.HdsmlmError):
            summary = inspect.cleandoc(value.__doc__ or "").splitlines()[0]
            lines.append(f"| `{name}` | {value.exit_code} | {_cell(summary)} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    """Return text that fits into one cell of a Markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|")
