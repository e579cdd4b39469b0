"""How many pictures a second a browser draws, with acknowledgement: cells of several sizes, in headless Chromium.

The page is an exported one; Python hands it one message after the other, as the widget's channel does, each as soon as
the last one is acknowledged. "Python" is the time of `LivePicture.show` alone, "browser" that from setting the values to
the acknowledgement (a browser draws at most 60 pictures a second, so 17 ms is the least). The last column is how much the
browser's memory has grown over 1,000 pictures, after its garbage was collected.
"""

import base64
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr
from playwright.sync_api import sync_playwright
from side_by_side import table

from labkit.widgets.live_picture import LivePicture
from labkit.widgets.picture_frames import Words

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
FRAMES, LONG = 60, 1000
RUN = """async ([frames, count]) => {
  const decode = (text) => new DataView(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
  const ready = frames.map(([state, cells]) => [state, decode(cells)]), times = [];
  for (let at = 0; at < count; at++) {
    const [state, cells] = ready[at % ready.length], begun = performance.now();
    const drawn = new Promise((done) => {
      const heard = () => { labkitModel.off("change:acked", heard); done(); };
      labkitModel.on("change:acked", heard);
    });
    labkitModel.set("state", state);
    labkitModel.set("cells", cells);
    labkitModel.set("seq", labkitModel.get("seq") + 1);
    await drawn;
    times.push(performance.now() - begun);
  }
  return times;
}"""


def arrays() -> dict[str, list[xr.DataArray | np.ndarray]]:
    """Arrays as lenses give them; each contestant has eight that follow each other."""
    draw = np.random.default_rng(0)
    cells = {
        size: [draw.standard_normal(size).astype(np.float32) for _ in range(8)] for size in ((256, 512), (64, 128))
    }
    loads = [xr.DataArray(draw.dirichlet(np.ones(16)), dims="choice") for _ in range(8)]
    return {"cells 256 x 512": [*cells[256, 512]], "cells 64 x 128": [*cells[64, 128]], "bars 16": [*loads]}


def main() -> None:
    found = os.environ.get("LABKIT_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    rows = []
    with sync_playwright() as play, tempfile.TemporaryDirectory() as folder:
        browser = play.chromium.launch(executable_path=found, headless=True, args=FLAGS)
        for name, some in arrays().items():
            picture, frames, python = LivePicture(Words(name, "A picture.")), [], []
            for turn in range(FRAMES):
                begun = time.perf_counter()
                picture.show(some[turn % len(some)], step=turn)
                python.append(time.perf_counter() - begun)
                if turn < len(some):
                    frames.append([picture.state, base64.b64encode(picture.cells).decode()])
            picture.export_html(Path(folder) / "picture.html")
            page = browser.new_page(viewport={"width": 1000, "height": 800})
            page.goto((Path(folder) / "picture.html").as_uri())
            client = page.context.new_cdp_session(page)
            page.evaluate(RUN, [frames, FRAMES])
            client.send("HeapProfiler.collectGarbage")
            before = client.send("Runtime.getHeapUsage")["usedSize"]
            begun = time.perf_counter()
            times = page.evaluate(RUN, [frames, LONG])
            passed = time.perf_counter() - begun
            client.send("HeapProfiler.collectGarbage")
            grown = client.send("Runtime.getHeapUsage")["usedSize"] - before
            kilobytes = (len(picture.state) + len(picture.cells)) / 1000
            rows.append(
                [
                    name,
                    f"{kilobytes:.0f} kB",
                    f"{1000 * statistics.median(python):.1f} ms",
                    f"{statistics.median(times):.1f} ms ({sorted(times)[int(0.95 * len(times))]:.1f})",
                    f"{LONG / passed:.0f}",
                    f"{grown / 1000:+.0f} kB",
                ]
            )
            page.close()
        browser.close()
    columns = ["", "a message", "Python", "browser, median (95 %)", "pictures/s", "memory after 1,000"]
    table("Pictures one after the other, each acknowledged", columns, rows)


if __name__ == "__main__":
    sys.exit(main())
