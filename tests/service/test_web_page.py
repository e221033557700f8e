"""The web page in headless Chromium: the whole path from upload to download.

The page's security policy forbids `eval`, which Playwright's ``wait_for_function`` needs; so
waiting is by :func:`until`.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml

from hdsmlm.io.tables import read_table

playwright = pytest.importorskip("playwright.sync_api", reason="the extra browser is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

CAMERA = {
    "camera": {"kind": "ideal"},
    "psf": {"kind": "gaussian", "sigma_px": 1.3},
    "pixel_size_nm": 100.0,
}
Page = Site = Program = Any


def until(condition: Callable[[], Any], limit_s: float = 30.0) -> Any:
    end_s = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield started
        started.close()


def opened(browser: Any, site: Site, **options: Any) -> Page:
    """Open the page; what the browser complains about is kept in ``page.complaints``."""
    context = browser.new_context(viewport={"width": 1366, "height": 768}, **options)
    page = context.new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on(
        "console",
        lambda said: page.complaints.append(said.text) if said.type == "error" else None,
    )
    page.goto(f"http://127.0.0.1:{site.port}/")
    if site.token is None:
        until(lambda: page.locator("#model option").count() > 0)
    return page


def shown_rows(page: Page) -> tuple[int, int]:
    found = re.match(r"([\d,]+) of ([\d,]+)", page.inner_text("#selected"))
    return (0, 0) if found is None else tuple(int(n.replace(",", "")) for n in found.groups())  # type: ignore[return-value]


def lit_pixels(page: Page, canvas: str) -> int:
    return int(
        page.evaluate(
            """(id) => { const c = document.getElementById(id);
            const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            let n = 0; for (let i = 0; i < d.length; i += 4) n += d[i] > 120; return n; }""",
            canvas,
        )
    )


def saved(page: Page, button: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.click(button)
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


@pytest.mark.slow
def test_from_upload_to_download(
    browser: Any, program: Program, movie_file: Path, tmp_path: Path
) -> None:
    page = opened(browser, program.site)
    # 1: the movie
    assert page.is_disabled("#go")
    page.set_input_files("#file", movie_file)
    until(lambda: page.is_enabled("#go"))
    assert "48 × 32 × 32" in page.inner_text("#movies option:checked")
    until(lambda: lit_pixels(page, "frame") > 100)
    page.focus("#frame")
    page.keyboard.press("End")
    until(lambda: page.inner_text("#frame-number") == "47 / 47")
    page.keyboard.press("Home")
    # 2: localize it
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump(CAMERA))
    page.set_input_files("#camera-file", tmp_path / "camera.yaml")
    until(lambda: page.input_value("#camera") == "file")
    page.fill("#pixel", "100")
    page.click("#go")
    until(lambda: "done" in page.inner_text("#job-state"), 240)
    job = program.site.client.jobs()[0]
    assert job["state"] == "done"
    n = job["summary"]["localizations"]
    until(lambda: shown_rows(page) == (n, n))
    assert n > 20
    assert page.get_attribute("#tab-picture", "aria-selected") == "true"
    until(lambda: lit_pixels(page, "picture") > 20)
    # 3: filter by keyboard; the picture's TIFF holds just what is shown
    page.focus('[aria-label="Photons, lowest"]')
    for _ in range(100):
        page.keyboard.press("ArrowRight")
    until(lambda: 0 < shown_rows(page)[0] < n)
    kept = shown_rows(page)[0]
    picture = tifffile.imread(saved(page, "#save-tiff", tmp_path))
    assert picture.dtype == np.float32
    assert abs(picture.sum() - kept) <= 2  # fits may lie a little outside the field
    assert saved(page, "#save-png", tmp_path).read_bytes().startswith(b"\x89PNG")
    page.click("#reset-filters")
    until(lambda: shown_rows(page) == (n, n))
    # 4: the tables
    for number in range(page.locator("#tables button").count()):
        path = saved(page, f"#tables button >> nth={number}", tmp_path)
        assert path.stat().st_size > 0
        assert len(read_table(path, pixel_size_nm=100.0)) == n, path.name
    # 5: the truth
    page.click("#tab-movie")
    page.set_input_files("#truth-file", movie_file.parent / "truth.csv")
    until(lambda: "correct" in page.inner_text("#legend"))
    truth = read_table(movie_file.parent / "truth.csv", pixel_size_nm=100.0)
    correct, missed, false = map(int, re.findall(r"(\d+) ", page.inner_text("#legend") + " "))
    assert correct + missed == int((truth["frame"] == 0).sum())
    found = read_table(saved(page, "#tables button >> nth=0", tmp_path), pixel_size_nm=100.0)
    assert correct + false == int((found["frame"] == 0).sum())
    # 6: a page that is opened later shows the same
    again = opened(browser, program.site)
    again.click(".history .open")
    until(lambda: shown_rows(again) == (n, n))
    assert page.complaints + again.complaints == []


def test_errors_are_told_and_closed(browser: Any, site: Site, tmp_path: Path) -> None:
    page = opened(browser, site)
    (tmp_path / "notes.tif").write_text("no movie " * 50)
    page.set_input_files("#file", tmp_path / "notes.tif")
    until(lambda: "notes.tif" in page.inner_text("#alert"))
    assert page.inner_text("#upload-text") == "notes.tif was not taken."
    page.keyboard.press("Escape")
    assert not page.is_visible("#alert-box")
    (tmp_path / "empty.tif").touch()
    page.set_input_files("#file", tmp_path / "empty.tif")
    until(lambda: "empty" in page.inner_text("#alert"))


def test_an_upload_survives_lost_connections(
    browser: Any, make_site: Callable[..., Site], tmp_path: Path
) -> None:
    site = make_site(limits={"chunk_bytes": 65_536})
    page = opened(browser, site)
    frames = np.random.default_rng(1).integers(90, 130, (30, 64, 64), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "noise.tif", frames, photometric="minisblack")
    sent: list[str] = []

    def break_some(route: Any) -> None:
        if route.request.method != "PATCH":
            route.continue_()
            return
        sent.append(route.request.headers["upload-offset"])
        if len(sent) in (2, 3):
            route.abort()
        else:
            route.continue_()

    page.route("**/api/v1/uploads/*", break_some)
    page.set_input_files("#file", tmp_path / "noise.tif")
    until(lambda: page.is_enabled("#go"))
    assert sent[:4] == ["0", "65536", "65536", "65536"]
    movie = site.client.movies()[0]
    assert movie["size_bytes"] == (tmp_path / "noise.tif").stat().st_size
    answer = site.ask("GET", f"/api/v1/movies/{movie['movie_id']}/frames/7")
    np.testing.assert_array_equal(np.frombuffer(answer.body, "<u2").reshape(64, 64), frames[7])


def test_a_token_is_asked_for_once(browser: Any, make_site: Callable[..., Site]) -> None:
    site = make_site(token="a-secret-of-the-test-0123456789")
    page = opened(browser, site)
    page.wait_for_selector("#token-dialog[open]")
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    until(lambda: "not the right one" in page.inner_text("#token-text"))
    page.fill("#token", site.token or "")
    page.keyboard.press("Enter")
    until(lambda: page.locator("#model option").count() > 0)
    page.reload()
    until(lambda: page.locator("#model option").count() > 0)
    assert not page.is_visible("#token-dialog")


def test_colours_follow_the_system_until_chosen(browser: Any, site: Site) -> None:
    page = opened(browser, site, color_scheme="dark")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    page.click("#theme")
    assert page.evaluate(ground) != dark
    page.reload()
    assert page.evaluate("() => document.documentElement.dataset.theme") == "light"


def test_keyboard_reaches_everything(browser: Any, site: Site) -> None:
    page = opened(browser, site)
    page.focus("#tab-movie")
    views = []
    for _ in range(5):
        page.keyboard.press("ArrowRight")
        views.append(page.evaluate("() => document.activeElement.id"))
    assert views == ["tab-picture", "tab-density", "tab-titration", "tab-results", "tab-movie"]
    page.evaluate("() => document.activeElement.blur()")
    reached, outlined = set(), set()
    for _ in range(60):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            """() => { const e = document.activeElement;
            const shown = e.matches(".file") ? e.closest("label") ?? e : e;
            return [e.id || e.className, getComputedStyle(shown).outlineStyle]; }"""
        )
        reached.add(name)
        if outline != "none":
            outlined.add(name)
    wanted = {"file", "movies", "kind", "model", "camera", "pixel", "tab-movie", "frame", "theme"}
    assert wanted <= reached
    assert wanted <= outlined


def test_every_control_has_a_name(browser: Any, site: Site) -> None:
    page = opened(browser, site)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas, progress")]
        .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby")
            || e.labels?.length || e.textContent.trim() || e.getAttribute("aria-hidden")))
        .map((e) => e.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("size", [(1366, 768), (1440, 900)])
def test_nothing_is_cut_off_on_a_laptop(browser: Any, site: Site, size: tuple[int, int]) -> None:
    page = opened(browser, site)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    overflow = page.evaluate(
        """() => { const r = document.documentElement;
        const low = [...document.querySelectorAll("#tables button, #go, .bar, #history")]
          .filter((e) => e.offsetParent && e.getBoundingClientRect().bottom > innerHeight);
        return [r.scrollWidth > r.clientWidth, r.scrollHeight > r.clientHeight,
          low.map((e) => e.id)]; }"""
    )
    assert overflow == [False, False, []]


@pytest.mark.parametrize("size", [(1280, 600), (1100, 700), (1024, 700), (911, 512), (420, 800)])
def test_nothing_lies_over_another_in_small_windows(
    browser: Any, site: Site, size: tuple[int, int]
) -> None:
    page = opened(browser, site)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    over = page.evaluate(
        """() => {
          const cards = [...document.querySelectorAll(".side > .card, .stage")];
          const boxes = cards.map((card) => card.getBoundingClientRect());
          const found = [];
          boxes.forEach((a, i) => boxes.forEach((b, k) => {
            const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (i < k && wide > 1 && high > 1) found.push([i, k, wide, high]);
          }));
          const reset = document.getElementById("reset-filters").getBoundingClientRect();
          const filters = document.getElementById("filters").getBoundingClientRect();
          if (filters.bottom > reset.top + 1) found.push("filters lie over their button");
          if (document.documentElement.scrollWidth > innerWidth) found.push("too wide");
          return found; }"""
    )
    assert over == []


def test_options_belong_to_the_task(browser: Any, site: Site, movie_file: Path) -> None:
    page = opened(browser, site)
    page.set_input_files("#file", movie_file)
    until(lambda: page.is_enabled("#go"))
    asked: list[dict[str, Any]] = []

    def hear(route: Any) -> None:
        if route.request.method == "POST":
            asked.append(route.request.post_data_json)
            route.fulfill(status=422, json={"error": {"code": "x", "message": "see --sigma-px"}})
        else:
            route.continue_()

    page.route("**/api/v1/jobs", hear)
    page.fill("#pixel", "100")
    page.click("#options summary")
    page.fill("#option-first", "4")
    page.fill("#option-last", "9")
    page.fill("#option-sigma", "1.4")
    page.select_option("#option-fit", "frame")
    page.click("#go")
    until(lambda: asked)
    assert asked[0]["options"] == {
        "fit": "frame", "first_frame": 4, "last_frame": 10, "sigma_px": 1.4,
    }  # fmt: skip
    until(lambda: "“PSF width” under Options" in page.inner_text("#alert"))
    page.select_option("#kind", "titrate")
    assert not page.is_visible("#option-first")
    page.fill("#option-factors", "1, 4; 8")
    page.fill("#option-f1", "0.9")
    until(lambda: page.is_enabled("#go"))
    page.click("#go")
    until(lambda: len(asked) == 2)
    assert asked[1]["options"] == {"sigma_px": 1.4, "reliable_f1": 0.9, "factors": [1, 4, 8]}
    page.fill("#option-factors", "many")
    page.click("#go")
    until(lambda: "no numbers of frames" in page.inner_text("#alert"))


@pytest.mark.slow
def test_a_folder_of_the_server_is_opened_and_followed_live(
    browser: Any, program: Program, movie_file: Path, tmp_path: Path
) -> None:
    frames = tifffile.imread(movie_file)
    folder = program.allowed / "acquisition"
    folder.mkdir()
    tifffile.imwrite(folder / "part0.tif", frames[:32], photometric="minisblack")
    page = opened(browser, program.site)
    page.focus("#server-files")
    page.keyboard.press("Enter")
    until(lambda: page.is_visible("#folder-dialog"))
    focused = "document.activeElement.textContent"
    until(lambda: page.evaluate(focused) == f"{program.allowed} /")
    page.keyboard.press("Enter")
    until(lambda: page.evaluate(focused) == "acquisition /")
    page.keyboard.press("Enter")
    until(lambda: page.evaluate(focused) == "part0.tif")
    page.click("#folder-up")
    page.click("text=acquisition /")
    until(lambda: "part0.tif" in page.inner_text("#folder-list"))
    page.click("text=part0.tif")
    page.click("#folder-take")
    until(lambda: "part0.tif (32 × 32 × 32)" in page.inner_text("#movies option:checked"))
    page.fill("#pixel", "100")
    page.click("#options summary")
    page.fill("#option-sigma", "1.3")
    page.select_option("#camera", "ideal")
    page.click("#server-files")
    until(lambda: page.is_enabled("#folder-watch"))
    page.click("#folder-watch")
    until(lambda: page.is_visible("#gauge"))
    part = folder / ".part1"
    tifffile.imwrite(part, frames[32:], photometric="minisblack")
    part.rename(folder / "part1.tif")
    until(lambda: re.search(r"frame \d\d", page.inner_text("#gauge-text")), 120)
    assert float(page.inner_text("#gauge-now")) > 0
    until(lambda: shown_rows(page)[0] > 0)
    page.click("#cancel")
    until(lambda: "was stopped" in page.inner_text("#job-state"), 60)
    assert not page.is_visible("#gauge")
    until(lambda: page.is_enabled("#tables button >> nth=0"))  # stopping loses nothing
    table = saved(page, "#tables button >> nth=0", tmp_path)
    assert table.name == "acquisition.csv"
    assert len(read_table(table, pixel_size_nm=100.0)) == shown_rows(page)[1]
    assert page.complaints == []
