"""How fast the web page filters and draws a million localizations, in headless Chromium.

A synthetic table (filaments, log-normal photons) is put into the page's own columns; then a slider
is moved. Needs the extras ``service`` and ``browser`` and Chromium.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

N = 1_000_000
FILL = """(n) => {
  const { table, picture, filters } = globalThis.hdsmlm;
  let state = 7;
  const u = () => {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(u() + 1e-12)) * Math.cos(2 * Math.PI * u());
  const values = new Float32Array(n * 8);
  for (let i = 0; i < n; i++) {
    const line = Math.floor(u() * 40), along = u() * 25600;
    const y = line * 640 + 400 * Math.sin(along / 3000 + line) + 15 * normal();
    values.set([Math.floor(i / 100), along, y, 300 * Math.sin(along / 5000) + 30 * normal(),
      1000 * Math.exp(0.4 * normal()), 8 * Math.exp(0.5 * normal()), 10 + normal(),
      1 - 0.3 * u() ** 4], 8 * i);
  }
  table.clear();
  table.append(["frame", "x_nm", "y_nm", "z_nm", "photons", "uncertainty_xy_nm", "background",
    "probability"], values);
  document.getElementById("tab-picture").click();
  picture.setField(25600, 25600);
  const began = performance.now();
  filters.refresh();
  return performance.now() - began;
}"""
MOVE = """async (at) => {
  const { filters, picture } = globalThis.hdsmlm;
  const slider = document.querySelector('[aria-label="Photons, lowest"]');
  const frame = () => new Promise(requestAnimationFrame);
  slider.value = at;
  const began = performance.now();
  slider.dispatchEvent(new Event("input"));
  await frame(); await frame(); await frame();
  return { filter: filters.last_ms, draw: picture.last_ms, shown: filters.count,
    all: performance.now() - began };
}"""


def main() -> None:
    try:
        import uvicorn
        from playwright.sync_api import sync_playwright

        from hdsmlm.config.service import ServiceConfig
        from hdsmlm.service.app import create_app
        from hdsmlm.service.folders import require_data_folder
    except ImportError as missing:
        print(f"left out: {missing}")
        return
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("left out: Chromium is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        config = ServiceConfig(data=Path(folder))
        app = create_app(config, require_data_folder(config.data))
        server = uvicorn.Server(uvicorn.Config(app, port=8799, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            page.goto("http://127.0.0.1:8799/")
            page.wait_for_selector("#model option", state="attached")
            print(f"{N:,} localizations; take the table over: {page.evaluate(FILL, N):.0f} ms")
            for color in ("none", "uncertainty_xy_nm"):
                page.select_option("#color-by", color)
                moves = [page.evaluate(MOVE, at) for at in (20, 40, 60, 80, 60, 40, 20, 90, 70, 50)]
                parts = {
                    name: statistics.median(move[name] for move in moves)
                    for name in ("filter", "draw")
                }
                print(
                    f"colour {color}: filter and histograms {parts['filter']:.0f} ms, "
                    f"picture {parts['draw']:.0f} ms (medians of {len(moves)} moves)"
                )
            if len(sys.argv) > 1:
                page.screenshot(path=sys.argv[1])
            browser.close()
        server.should_exit = True
        thread.join(5)


if __name__ == "__main__":
    main()
