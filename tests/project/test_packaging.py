"""What the project says about itself must agree: versions, pins, targets, file sizes."""

from __future__ import annotations

import importlib.metadata
import os
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import hdsmlm

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
PINS = [line for line in CONSTRAINTS.splitlines() if line and not line.startswith("#")]
TARGETS = set(
    re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
)


def requirements() -> list[Requirement]:
    listed = list(PYPROJECT["dependencies"])
    for extra in PYPROJECT["optional-dependencies"].values():
        listed += extra
    parsed = [Requirement(text) for text in listed]
    return [one for one in parsed if one.name != "hdsmlm"]  # an extra that includes another


def test_installed_version_is_the_one_in_the_source() -> None:
    assert importlib.metadata.version("hdsmlm") == hdsmlm.__version__


def test_changelog_speaks_of_this_version_or_of_what_is_unreleased() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", text, re.M)
    assert headings[0] in {"Unreleased", hdsmlm.__version__}
    released = [Version(heading) for heading in headings if heading != "Unreleased"]
    assert released == sorted(released, reverse=True)
    assert all(version <= Version(hdsmlm.__version__) for version in released)


def test_constraints_are_bare_exact_pins() -> None:
    odd = [line for line in PINS if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)]
    assert odd == []


def test_torch_is_pinned_so_that_no_gpu_build_is_pulled_in() -> None:
    assert "torch==2.13.0" in PINS


def test_each_package_is_pinned_once() -> None:
    names = [line.split("==")[0] for line in PINS]
    assert names == sorted(set(names))


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_constraints_cover_every_dependency(requirement: Requirement) -> None:
    pins = dict(line.split("==") for line in PINS)
    name = canonicalize_name(requirement.name)
    assert name in pins, f"add {name} to constraints.txt"
    assert requirement.specifier.contains(pins[name], prereleases=True)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_documents_name_existing_make_targets(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)\b(?=[`\s]|$)", text))
    assert "test" in named
    in_code = set(re.findall(r"(?:^|`)\s*(?:exec )?make ([a-z-]+)", text, re.M))
    assert in_code <= TARGETS


def test_readme_gives_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text


def test_readme_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    local = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_every_target_in_the_makefile_explains_itself() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    targets = [line for line in lines if re.match(r"^[a-z-]+:(?!=)", line)]
    assert targets
    assert [line for line in targets if "## " not in line] == []


def test_ci_runs_the_developers_command() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert re.search(r"^(exec )?make test\b", text, re.M)


def test_no_file_grows_past_500_lines() -> None:
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("src", "tests", "benchmarks", "docs")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert sizes
    assert {name: n for name, n in sizes.items() if n > 500} == {}


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    banned = {"utils", "helpers", "common", "generic", "misc", "util", "helper"}
    stems = {path.stem for path in (ROOT / "src").rglob("*")}
    assert "hdsmlm" in stems
    assert not stems & banned
