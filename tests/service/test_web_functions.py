"""The web page's pure functions, tested by node; its shape, by what must hold of every file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

import hdsmlm.service

WEB = Path(hdsmlm.service.__file__).parent / "web"
TESTS = Path(__file__).parent / "web"


def test_the_page_asks_for_no_file_that_is_not_there() -> None:
    html = (WEB / "index.html").read_text(encoding="utf-8")
    named = re.findall(r'(?:href|src)="/web/([^"]+)"', html)
    for script in WEB.glob("*.js"):
        named += re.findall(r'from "\./([^"]+)"', script.read_text(encoding="utf-8"))
    assert named
    assert {name for name in named if not (WEB / name).is_file()} == set()


def test_the_page_uses_only_what_it_has() -> None:
    html = (WEB / "index.html").read_text(encoding="utf-8")
    asked = set()
    for script in WEB.glob("*.js"):
        asked |= set(re.findall(r'\$\("([^"]+)"\)', script.read_text(encoding="utf-8")))
    assert asked - set(re.findall(r'id="([^"]+)"', html)) == set()


def test_modules_are_short() -> None:
    long = {
        path.name: n
        for path in WEB.glob("*.*")
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}


@pytest.fixture(scope="module")
def written_tiff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the tests in node; return the TIFF that one of them writes."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the page's functions are not tested")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.lstrip("v").partition(".")[0]) < 20:
        pytest.skip(f"node {version.stdout.strip()} is too old for its test runner; 20 is needed")
    folder = tmp_path_factory.mktemp("web")
    for path in (*WEB.iterdir(), *TESTS.iterdir()):
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    picture = folder / "picture.tif"
    ran = subprocess.run(
        [node, "--test", *sorted(path.name for path in folder.glob("*.test.mjs"))],
        cwd=folder,
        env={**os.environ, "HDSMLM_TIFF": str(picture)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert "# pass" in ran.stdout or "ℹ pass" in ran.stdout
    return picture


def test_pure_functions_in_node(written_tiff: Path) -> None:
    assert written_tiff.is_file()


def test_the_pages_tiff_is_read_as_it_was_meant(written_tiff: Path) -> None:
    with tifffile.TiffFile(written_tiff) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        np.testing.assert_array_equal(page.asarray(), [[0, 1, 2], [3, 4, 5]])
        numerator, denominator = page.tags["XResolution"].value
        assert numerator / denominator == 100.0  # pixels per µm of 10 nm each
        assert file.imagej_metadata is not None
        assert file.imagej_metadata["unit"] == "um"
        assert file.imagej_metadata["filter"] == "photons 1 2"
