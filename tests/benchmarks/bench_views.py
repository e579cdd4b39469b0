"""What pictures weigh and when they are seen: ours against bertviz, circuitsvis, treescope and plotly on the same arrays.

Usage: python tests/benchmarks/bench_views.py [--peers PYTHON] [--views]. PYTHON is one that has the other packages (an
environment of its own, as they pin old ones); without it they are left out, and that is said. Bytes are what travels for the
first picture beyond the drawing library that a page loads once. Painted is the time in Chromium from opening the page until
the picture is drawn, its library read from this machine on the way; a page that needs a network stays blank and says so.
"""

import argparse
import importlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import plotly
import xarray as xr
from side_by_side import table

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "browser"), str(TESTS)]

from conftest import FLAGS, NAMES  # noqa: E402
from views_walk import draws_a_figure, view_modules, view_of  # noqa: E402

from labkit.views.heatmap import heatmap  # noqa: E402
from labkit.views.theme import payload  # noqa: E402
from labkit.widgets.array_explorer import SCRIPT, STYLE, ArrayExplorer  # noqa: E402
from labkit.widgets.source import page as page_of  # noqa: E402

ATTENTION = ("layer", "head", "query", "key")
CASES = {
    "attention 12x12x64x64": ((12, 12, 64, 64), ATTENTION, ("bertviz", "circuitsvis", "plotly")),
    "attention 12x12x128x128": ((12, 12, 128, 128), ATTENTION, ("bertviz", "circuitsvis", "plotly")),
    "attention 12x12x512x512": ((12, 12, 512, 512), ATTENTION, ("bertviz", "circuitsvis", "plotly")),
    "activations 128x6x512": ((128, 6, 512), ("token", "layer", "unit"), ("circuitsvis", "treescope", "plotly")),
    "array 64x128x512": ((64, 128, 512), ("input", "layer", "unit"), ("treescope", "plotly")),
    "heat map 512x512": ((512, 512), ("row", "column"), ("treescope", "plotly")),
    "matrix 4096x4096": ((4096, 4096), ("row", "column"), ("treescope",)),
}
SENT = ("setup", "first", "state", "cells")
LIMIT, PATIENCE = 80e6, 240
DRAWN = "() => globalThis.labkitModel?.get('acked') >= 1 && performance.now()"
SEEN = """() => {
    const inside = (one) => (one.shadowRoot ? every(one.shadowRoot) : []);
    const every = (root) => [...root.querySelectorAll("*")].flatMap((one) => [one, ...inside(one)]);
    const drawn = (one) => ["svg", "canvas"].includes(one.tagName.toLowerCase()) && one.getBoundingClientRect().height > 40;
    return every(document).some(drawn) && performance.now();
}"""
DRAW = """async (text) => {
    const start = performance.now();
    await Plotly.newPlot("plot", JSON.parse(text));
    return performance.now() - start;
}"""


def numbers(sizes: tuple[int, ...]) -> np.ndarray:
    """Attention as a model makes it, each row summing to 1; other arrays normally distributed."""
    values = np.random.default_rng(0).standard_normal(sizes, dtype=np.float32)
    if len(sizes) < 4:
        return values
    weights = np.exp(2 * values)
    return weights / weights.sum(-1, keepdims=True)


def painted(browser: Any, page_file: Path, script: str, patience: float = 10) -> str:
    """Milliseconds from opening a page until it shows its picture, or why it never does."""
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    outside = []
    page.route(
        "**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else refuse(route, outside)
    )
    try:
        page.goto(page_file.as_uri(), wait_until="commit")
        return f"{page.wait_for_function(script, timeout=1000 * patience).json_value():.0f} ms"
    except Exception as error:
        return (
            f"blank: needs {outside[0].split('/')[2]}"
            if outside
            else f"not within {patience:.0f} s ({type(error).__name__})"
        )
    finally:
        page.close()


def refuse(route: Any, outside: list[str]) -> None:
    outside.append(route.request.url)
    route.abort()


def ours(browser: Any, data: xr.DataArray, folder: Path) -> list[list[str]]:
    """The explorer as a notebook shows it first, and as an exported page."""
    ArrayExplorer(data)
    start = time.perf_counter()
    explorer = ArrayExplorer(data)
    made = time.perf_counter() - start
    values = {name: getattr(explorer, name) for name in SENT}
    weight = sum(len(value) for value in values.values())
    rest = {"seq": 1, "acked": 0, "cursor": {}, "moved": {}, "chosen": "", "wanted": ""}
    (folder / "live.html").write_text(page_of(SCRIPT, STYLE, values | rest, "Live"), encoding="utf-8")
    rows = [["labkit explorer", size(weight), f"{1000 * made:.0f} ms", painted(browser, folder / "live.html", DRAWN)]]
    start = time.perf_counter()
    explorer.export_html(folder / "page.html")
    made = time.perf_counter() - start
    told = [size((folder / "page.html").stat().st_size), f"{1000 * made:.0f} ms"]
    return [*rows, ["labkit page, offline", *told, painted(browser, folder / "page.html", DRAWN)]]


def peer(browser: Any, python: str, package: str, array: Path, folder: Path) -> list[str]:
    command = [python, str(Path(__file__).with_name("peer_views.py")), package, str(array), str(folder / "peer.html")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return [package, "-", f"over {PATIENCE} s", "-"]
    if done.returncode:
        return [package, "-", (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:60], "-"]
    weight = (folder / "peer.html").stat().st_size
    seen = painted(browser, folder / "peer.html", SEEN) if weight < LIMIT else "not opened: too large"
    return [package, size(weight), f"{1000 * float(done.stdout.split()[-1]):.0f} ms", seen]


def size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def arrays(browser: Any, python: str | None, folder: Path) -> None:
    for name, (sizes, dims, packages) in CASES.items():
        values = numbers(sizes)
        rows = ours(browser, xr.DataArray(values, dims=dims), folder)
        if len(sizes) == 2 and max(sizes) <= 512:
            start = time.perf_counter()
            figure = heatmap(xr.DataArray(values, dims=dims))
            rows.append(
                [
                    "labkit heatmap",
                    size(payload(figure)),
                    f"{1000 * (time.perf_counter() - start):.0f} ms",
                    drawn(browser, figure),
                ]
            )
        np.save(folder / "array.npy", values)
        rows += [peer(browser, python, package, folder / "array.npy", folder) for package in packages if python]
        table(name, ["picture", "bytes", "made in", "painted"], rows)


def drawn(browser: Any, figure: Any) -> str:
    """Milliseconds that plotly takes to draw a figure on a page where it is loaded."""
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.set_content('<div id="plot"></div>')
    page.add_script_tag(
        content=(Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    )
    took = page.evaluate(DRAW, figure.to_json())
    page.close()
    return f"{took:.0f} ms"


def views(browser: Any) -> None:
    """Every view with its example and with as much as anybody will give it."""
    rows = []
    for name, module in view_modules().items():
        inputs = {"example": module.example(0)}
        if importlib.util.find_spec(f"huge.{name}"):
            inputs["huge"] = importlib.import_module(f"huge.{name}").huge()
        for kind, arguments in inputs.items():
            start = time.perf_counter()
            made = view_of(module)(**arguments)
            took = f"{1000 * (time.perf_counter() - start):.0f} ms"
            if draws_a_figure(module):
                rows.append([name, kind, size(payload(made)), took, drawn(browser, made)])
            else:
                rows.append([name, kind, size(len(made.encode())), took, "-"])
    table("Every view", ["view", "of", "bytes", "made in", "painted"], rows)


def main() -> None:
    from playwright.sync_api import sync_playwright

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--peers", help="a Python with bertviz, circuitsvis, treescope and plotly")
    options.add_argument("--views", action="store_true", help="only our own views")
    given = options.parse_args()
    found = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as play, tempfile.TemporaryDirectory() as folder:
        shutil.copy(Path(plotly.__file__).parent / "package_data" / "plotly.min.js", folder)  # for plotly's own pages
        browser = play.chromium.launch(executable_path=found, headless=True, args=FLAGS)
        if not given.views:
            if not given.peers:
                print(
                    "Other packages are left out: say --peers PYTHON, one that has bertviz, circuitsvis, treescope and plotly."
                )
            arrays(browser, given.peers, Path(folder))
        views(browser)
        print(json.dumps({"explorer's own code, once a page": size(len(SCRIPT) + len(STYLE))}))
        browser.close()


if __name__ == "__main__":
    main()
