"""The array explorer, the shared cursor and the exported page in a browser, without Jupyter and without a network.

Where a page stands for a notebook, Python is behind it: what the page asks, the widget answers, and the answer goes back.
"""

import base64
import csv
import io
import json
import re
import socket
import subprocess
import sys
import time

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

from labkit.views.claims import claims
from labkit.views.curves import curves
from labkit.views.curves import example as curves_example
from labkit.views.heatmap import heatmap
from labkit.views.specimen import digits, grown
from labkit.views.theme import look, styled
from labkit.widgets.array_explorer import SCRIPT, STYLE, ArrayExplorer
from labkit.widgets.cursor import Cursor
from labkit.widgets.export import export_page
from labkit.widgets.numbers_of import numbers_of
from labkit.widgets.source import page as page_of

pytestmark = pytest.mark.browser
SENT = (
    "setup",
    "first",
    "state",
    "cells",
    "seq",
    "acked",
    "wanted",
    "asked",
    "told",
    "numbers",
    "chosen",
    "cursor",
    "moved",
)
SENT += ("shelf", "pieces")
BRIDGE = """() => {
  const decode = (value) => value?.bytes === undefined ? value :
    new DataView(Uint8Array.from(atob(value.bytes), (one) => one.charCodeAt(0)).buffer);
  for (const name of ["wanted", "asked", "chosen", "moved", "acked"]) {
    labkitModel.on(`change:${name}`, async () => {
      const answer = await python(name, labkitModel.get(name));
      for (const [key, value] of Object.entries(answer)) labkitModel.set(key, decode(value));
    });
  }
}"""


def likeness(count: int = 60) -> xr.DataArray:
    """How alike digits are, as a softmax of their cosines at three temperatures: (head, query, key), with their labels."""
    pixels, labels = digits()
    flat = pixels[:count].reshape(count, -1)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    scores = np.stack([np.exp(flat @ flat.T * heat) for heat in (5, 20, 40)])
    weights = (scores / scores.sum(-1, keepdims=True)).astype(np.float32)
    text = [f"digit {label}" for label in labels[:count]]
    coords = {"key": np.arange(count), "text": ("key", text)}
    return xr.DataArray(weights, dims=("head", "query", "key"), coords=coords, attrs={"long_name": "likeness"})


def exact(value: xr.DataArray) -> str:
    return str(value.values[()])


def clean(page) -> None:
    assert page.errors == []
    assert page.outside == []


def plain(value):
    return {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


@pytest.fixture
def live(page, tmp_path):
    """Open an explorer in a page, with Python behind it; notes what was asked."""

    def open_page(explorer: ArrayExplorer):
        page.asked = []

        def python(name, value):
            page.asked.append((name, value))
            before = {key: getattr(explorer, key) for key in SENT}
            setattr(explorer, name, value)
            changed = {key: getattr(explorer, key) for key in SENT if getattr(explorer, key) is not before[key]}
            order = sorted(changed, key=lambda key: key in ("seq", "told"))  # what announces the others comes last
            return {key: plain(changed[key]) for key in order if key != name}

        page.expose_function("python", python)
        values = {key: getattr(explorer, key) for key in SENT}
        (tmp_path / "live.html").write_text(page_of(SCRIPT, STYLE, values, "Live"), encoding="utf-8")
        page.goto((tmp_path / "live.html").as_uri())
        page.evaluate(BRIDGE)
        drawn(page)
        return page

    return open_page


@pytest.fixture
def kept(page, tmp_path):
    """Open an exported page of an explorer."""

    def open_page(explorer: ArrayExplorer, **more):
        explorer.export_html(tmp_path / "kept.html", **more)
        page.goto((tmp_path / "kept.html").as_uri())
        page.wait_for_function(LABELLED)
        return page

    return open_page


LABELLED = "() => document.querySelector('canvas')?.getAttribute('aria-label')?.includes('mean is')"


def drawn(page) -> None:
    page.wait_for_function("() => labkitModel.get('acked') === labkitModel.get('seq')")
    page.wait_for_function(LABELLED)


def status(page, text: str) -> None:
    found = "(text) => document.querySelector('[role=status]')?.textContent.includes(text)"
    page.wait_for_function(found, arg=text)


def area(page) -> dict:
    """Where the cells lie on the screen: found by the frame's colours being those of the canvas' own box."""
    box = page.locator("canvas").bounding_box()
    found = page.evaluate(
        """() => {
          const canvas = document.querySelector("canvas");
          const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          const opaque = (x, y) => pixels[4 * (y * canvas.width + x) + 3] === 255;
          const row = Math.round(canvas.height * 0.4);
          let left = 0, best = [0, 0];
          for (let x = 0; x <= canvas.width; x++) {
            if (x < canvas.width && opaque(x, row)) continue;
            if (x - left > best[1] - best[0]) best = [left, x];
            left = x + 1;
          }
          let top = row, bottom = row;
          const middle = Math.round((best[0] + best[1]) / 2);
          while (top > 0 && opaque(middle, top - 1)) top--;
          while (bottom < canvas.height && opaque(middle, bottom)) bottom++;
          return { left: best[0], right: best[1], top, bottom };
        }"""
    )
    return {"x": box["x"] + found["left"], "y": box["y"] + found["top"]} | {
        "width": found["right"] - found["left"],
        "height": found["bottom"] - found["top"],
    }


def at(page, row: float, column: float, rows: int, columns: int) -> tuple[float, float]:
    found = area(page)
    return found["x"] + found["width"] * (column + 0.5) / columns, found["y"] + found["height"] * (row + 0.5) / rows


def color_at(page, x: float, y: float) -> list[int]:
    return page.evaluate(
        """([x, y]) => {
          const canvas = document.querySelector("canvas"), box = canvas.getBoundingClientRect();
          const place = [Math.round(x - box.left), Math.round(y - box.top)];
          return [...canvas.getContext("2d").getImageData(...place, 1, 1).data].slice(0, 3);
        }""",
        [x, y],
    )


# With Python behind it


def test_a_cell_has_the_colour_of_its_value(live):
    values = np.array([[0.0, 1.0], [0.5, np.nan]], np.float32).repeat(4, 0).repeat(4, 1)
    page = live(ArrayExplorer(values))
    scale = look(False).sequential
    for (row, column), color in {(1, 1): scale[0], (1, 6): scale[-1], (6, 1): scale[5]}.items():
        found = color_at(page, *at(page, row, column, 8, 8))
        assert all(abs(one - int(color[2 * k + 1 : 2 * k + 3], 16)) <= 3 for k, one in enumerate(found)), (row, column)
    shades = {tuple(color_at(page, at(page, 6, 6, 8, 8)[0] + dx, at(page, 6, 6, 8, 8)[1])) for dx in range(12)}
    assert (255, 255, 255) in shades, "where there is no value the surface shows, with stripes"
    assert len(shades) > 1
    clean(page)


def test_pointing_at_a_cell_tells_its_exact_value(live):
    data = likeness()
    page = live(ArrayExplorer(data))
    page.mouse.move(*at(page, 10, 20, 60, 60))
    status(page, f"query 10, key 20 “{data['text'].values[20]}”: {exact(data[0, 10, 20])}")
    assert page.locator(".labkit-array-bubble b").inner_text() == str(data.values[0, 10, 20])
    before = len([one for one in page.asked if one[0] == "asked"])
    for column in range(25, 55):
        page.mouse.move(*at(page, 10, column, 60, 60))
    status(page, "query 10, key 54")
    page.wait_for_function("() => document.querySelector('[role=status]')?.textContent.includes('“')")
    assert len([one for one in page.asked if one[0] == "asked"]) - before < 15, "it asks when the pointer rests"
    page.mouse.move(2, 2)
    status(page, "Point at a cell")
    clean(page)


def test_zooming_asks_for_the_single_values(live):
    data = xr.DataArray(
        np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32), dims=("input", "unit")
    )
    page = live(ArrayExplorer(data))
    page.get_by_text("Each cell shows the strongest value of").wait_for()
    for _ in range(4):
        page.get_by_role("button", name="Zoom in").click()
    page.get_by_text("Each cell is one value; 128 of 2048 rows and 128 of 2048 columns are visible").wait_for()
    drawn(page)
    wanted = json.loads([value for name, value in page.asked if name == "wanted"][-1])
    assert wanted["window"] == [960, 1088, 960, 1088]
    assert wanted["block"] == [1, 1]
    page.get_by_role("button", name="whole plane").click()
    page.get_by_text("Each cell shows the strongest value of").wait_for()
    clean(page)


def test_the_wheel_scrolls_the_page_until_the_picture_has_the_focus(live):
    page = live(ArrayExplorer(likeness()))
    page.mouse.move(*at(page, 30, 30, 60, 60))
    page.mouse.wheel(0, -300)
    page.evaluate("() => new Promise((done) => setTimeout(done, 100))")
    assert page.locator(".labkit-array-note").inner_text() == "Each cell is one value."
    page.locator("canvas").focus()
    page.mouse.wheel(0, -300)
    page.get_by_text("rows and").wait_for()
    clean(page)


def test_dragging_moves_the_window_and_chooses_nothing(live):
    explorer = ArrayExplorer(likeness())
    page = live(explorer)
    for _ in range(2):
        page.get_by_role("button", name="Zoom in").click()
    page.mouse.move(*at(page, 30, 30, 60, 60))
    page.mouse.down()
    page.mouse.move(*at(page, 60, 30, 60, 60), steps=5)
    page.mouse.up()
    page.mouse.move(*at(page, 0, 0, 60, 60))
    status(page, "query 15, key 22")
    assert explorer.selected is None
    clean(page)


def test_sliders_choose_the_plane_and_say_its_name(live):
    data = likeness()
    page = live(ArrayExplorer(data))
    slider = page.get_by_role("slider", name="Head")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('canvas').getAttribute('aria-label').includes('at head 1')")
    assert slider.get_attribute("aria-valuetext") == "1"
    drawn(page)
    clean(page)


def test_other_axes_can_be_drawn(live):
    page = live(ArrayExplorer(likeness()))
    page.get_by_label("Down").select_option("head")
    page.wait_for_function(
        "() => document.querySelector('canvas').getAttribute('aria-label').includes('3 by 60 (head by key)')"
    )
    assert page.get_by_role("slider", name="Query").is_visible()
    clean(page)


def test_the_keyboard_reads_zooms_and_chooses(live):
    data, heard = likeness(), []
    explorer = ArrayExplorer(data)
    explorer.on_cell(lambda place, value: heard.append((place, value)))
    page = live(explorer)
    canvas = page.locator("canvas")
    assert canvas.get_attribute("data-lm-suppress-shortcuts") == "true", "else JupyterLab takes the keys"
    canvas.focus()
    for key, cell in (
        ("ArrowRight", (30, 30)),
        ("ArrowRight", (30, 31)),
        ("ArrowDown", (31, 31)),
        ("Home", (31, 0)),
        ("Control+End", (59, 59)),
        ("Shift+ArrowLeft", (59, 49)),
        ("ArrowUp", (58, 49)),
    ):
        page.keyboard.press(key)
        text = data["text"].values[cell[1]]
        status(page, f"query {cell[0]}, key {cell[1]} “{text}”: {exact(data[0, cell[0], cell[1]])}")
    page.keyboard.press("+")
    page.get_by_text("30 of 60 rows").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_function("() => labkitModel.get('chosen')")
    page.wait_for_timeout(50)
    assert heard == [({"head": 0, "query": 58, "key": 49}, pytest.approx(float(data.values[0, 58, 49])))]
    page.keyboard.press("0")
    page.get_by_text("30 of 60 rows").wait_for(state="detached")
    page.keyboard.press("Escape")
    status(page, "Chosen: query 58, key 49")
    clean(page)


def test_a_click_tells_python_and_moves_the_cursor(live):
    cursor, heard = Cursor(), []
    explorer = ArrayExplorer(likeness(), cursor=cursor)
    explorer.on_cell(lambda place, value: heard.append(place))
    page = live(explorer)
    page.mouse.click(*at(page, 10, 20, 60, 60))
    page.wait_for_function("() => labkitModel.get('cursor').token === 10")
    assert cursor.places == {"head": 0, "token": 10, "key": 20}
    assert heard == [{"head": 0, "query": 10, "key": 20}]
    cursor.move(token=3, head=2)
    page.evaluate("(cursor) => labkitModel.set('cursor', cursor)", explorer.cursor)
    page.wait_for_function("() => document.querySelector('canvas').getAttribute('aria-label').includes('at head 2')")
    status(page, "")
    moves = [value for name, value in page.asked if name == "moved"]
    assert len(moves) == 1, "what the page is told it does not say again"
    clean(page)


def test_a_busy_python_is_said_and_the_last_wish_counts(page, tmp_path):
    explorer = ArrayExplorer(xr.DataArray(np.random.default_rng(0).random((2000, 2000)), dims=("input", "unit")))
    values = {key: getattr(explorer, key) for key in SENT}
    (tmp_path / "busy.html").write_text(page_of(SCRIPT, STYLE, values, "Busy"), encoding="utf-8")
    page.goto((tmp_path / "busy.html").as_uri())
    page.wait_for_function(LABELLED)
    page.evaluate(
        "() => { globalThis.asked = []; labkitModel.on('change:wanted', () => asked.push(labkitModel.get('wanted'))); }"
    )
    for _ in range(5):
        page.get_by_role("button", name="Zoom in").click()
    status(page, "Python is busy")
    assert page.evaluate("asked.length") == 1
    explorer.wanted = page.evaluate("asked[0]")
    answer = {"state": explorer.state, "cells": plain(explorer.cells), "seq": explorer.seq}
    page.evaluate(
        """(answer) => { labkitModel.set("state", answer.state);
        labkitModel.set("cells", new DataView(Uint8Array.from(atob(answer.cells.bytes), (one) => one.charCodeAt(0)).buffer));
        labkitModel.set("seq", answer.seq); }""",
        answer,
    )
    page.wait_for_function("() => asked.length === 2")
    last = json.loads(page.evaluate("asked[1]"))
    assert last["window"][1] - last["window"][0] <= 64
    clean(page)


def test_an_array_that_cannot_be_read_is_said(live):
    explorer = ArrayExplorer(likeness())
    page = live(explorer)

    def broken(*_):
        raise OSError("the file is gone")

    explorer.reading.blocks = broken
    page.get_by_role("slider", name="Head").focus()
    page.keyboard.press("ArrowRight")
    status(page, "The array cannot be read: OSError: the file is gone")
    clean(page)


def test_the_table_and_the_file_hold_what_is_visible(live):
    data = likeness(8)
    page = live(ArrayExplorer(data))
    page.get_by_role("button", name="as a table").click()
    page.locator(".labkit-array-table tbody tr").first.wait_for()
    assert page.locator(".labkit-array-table caption").inner_text().startswith("Likeness, 8 by 8")
    assert float(page.locator(".labkit-array-table td").first.inner_text()) == pytest.approx(
        data.values[0, 0, 0], rel=0.01
    )
    with page.expect_download() as saved:
        page.get_by_role("button", name="as CSV").click()
    rows = list(csv.DictReader(io.StringIO(saved.value.path().read_text(encoding="utf-8"))))
    assert saved.value.suggested_filename == "likeness.csv"
    assert len(rows) == 64
    assert [float(row["value"]) for row in rows] == pytest.approx(data.values[0].ravel().tolist())
    assert rows[1]["key"] == f"1 “{data['text'].values[1]}”"
    for ending, head in (("PNG", b"\x89PNG"), ("SVG", b"<svg ")):
        with page.expect_download() as saved:
            page.get_by_role("button", name=f"as {ending}").click()
        assert saved.value.path().read_bytes().startswith(head)
    clean(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_theme(live, page, scheme):
    page.emulate_media(color_scheme=scheme)
    live(ArrayExplorer(np.zeros((6, 6), np.float32)))
    page.wait_for_selector(f".labkit-array-root[data-dark={str(scheme == 'dark').lower()}]")
    wanted = look(scheme == "dark").sequential[0]
    found = color_at(page, *at(page, 2, 2, 6, 6))
    assert all(abs(one - int(wanted[2 * k + 1 : 2 * k + 3], 16)) <= 3 for k, one in enumerate(found))


@pytest.mark.parametrize("width", [600, 360])
def test_nothing_runs_over_the_side(live, page, width):
    page.set_viewport_size({"width": width, "height": 900})
    live(ArrayExplorer(likeness()))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    clean(page)


def test_the_first_picture_is_there_in_half_a_second(live, page):
    explorer = ArrayExplorer(np.random.default_rng(0).random((12, 12, 512, 512), dtype=np.float32))
    live(explorer)
    times = page.evaluate("() => { const [one] = performance.getEntriesByType('paint'); return one?.startTime ?? 0; }")
    assert times < 1500, "a page of its own, on a machine that does other work"


# In Panel

PANEL_PAGE = """
import numpy as np
import panel as pn
import xarray as xr
from labkit.widgets.cursor import Cursor
from labkit.widgets.panel_array_explorer import PanelArrayExplorer

values = np.random.default_rng(0).standard_normal((3, 700, 900)).astype("float32")
cursor, said = Cursor(), pn.pane.Str("nothing chosen")
explorer = PanelArrayExplorer(xr.DataArray(values, dims=("layer", "input", "unit")), cursor=cursor)
explorer.on_cell(lambda place, value: setattr(said, "object", f"{place} {value == values[1, 0, 0]} {cursor.places}"))
pn.Column(explorer, said).servable()
"""


def test_panel_answers_and_hears_the_same(page, tmp_path):
    (tmp_path / "exploring.py").write_text(PANEL_PAGE, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "panel", "serve", str(tmp_path / "exploring.py"), "--port", str(port)]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            while "running at" not in (tmp_path / "log").read_text():
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
            page.goto(f"http://127.0.0.1:{port}/exploring")
            page.get_by_text("Each cell shows the strongest value of 2 x 2 values").wait_for()
            page.get_by_role("slider", name="Layer").focus()
            page.keyboard.press("ArrowRight")
            page.get_by_role("img", name="at layer 1:").wait_for()
            canvas = page.locator("canvas.labkit-array-canvas")
            canvas.focus()
            for _ in range(3):
                page.keyboard.press("+")
            page.get_by_text("Each cell is one value; 88 of 700 rows").wait_for()
            page.keyboard.press("Control+Home")
            page.get_by_role("status").get_by_text("input 0, unit 0: ").wait_for()
            page.keyboard.press("Enter")
            page.get_by_text("{'layer': 1, 'input': 0, 'unit': 0} True {'layer': 1, 'unit': 0, 'input': 0}").wait_for()
            clean(page)
        finally:
            server.terminate()


# Without Python: the exported page


def test_a_page_without_python_gives_the_same_cells_as_python(kept):
    data = likeness()
    page = kept(ArrayExplorer(data))
    explorer = ArrayExplorer(data)
    inside = SCRIPT.rpartition("export default")[0] + "; globalThis.labkitLocal = localArray(labkitModel);"
    page.evaluate("(code) => new Function(code)()", inside)
    for changes in (
        {"window": [0, 60, 0, 60], "block": [1, 1]},
        {"window": [4, 30, 7, 60], "block": [3, 4], "how": "mean"},
        {"window": [0, 60, 0, 60], "block": [7, 7], "how": "strongest", "root": True, "index": {"head": 2}},
        {"window": [0, 60, 0, 60], "block": [5, 1], "how": "lowest", "scale": "visible"},
        {"window": [10, 20, 10, 20], "block": [1, 1], "scale": "all", "index": {"head": 1}},
    ):
        wanted = {**json.loads(explorer.first), **changes}
        state, cells = explorer.reading._answer(wanted)
        found = page.evaluate(
            """async (wanted) => {
              const { state, codes } = await globalThis.labkitLocal.picture(wanted);
              return { state, codes: [...codes] };
            }""",
            wanted,
        )
        difference = np.abs(np.array(found["codes"]) - np.frombuffer(cells, np.uint8))
        assert difference.max() <= 1, changes
        for key in ("limits", "signed", "window", "block", "shape", "alt", "ticks"):
            assert (
                found["state"][key] == pytest.approx(state[key])
                if key == "limits"
                else found["state"][key] == state[key]
            ), key
    clean(page)


def test_a_page_without_python_tells_exact_values_and_what_it_has_not(kept):
    data = likeness(120)
    page = kept(ArrayExplorer(data), limit=120_000)
    page.get_by_text("This page holds 1 of 3 planes in full and 1 in coarse blocks.").wait_for()
    page.mouse.move(*at(page, 10, 20, 120, 120))
    status(page, f"key 20 “{data['text'].values[20]}”: {exact(data[0, 10, 20])}")
    page.get_by_role("slider", name="Head").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("the single values of this plane are not in this page").wait_for()
    page.mouse.move(*at(page, 50, 50, 120, 120))
    status(page, "each of them is not in this page")
    page.get_by_role("slider", name="Head").focus()
    page.keyboard.press("End")
    status(page, "This plane is not in this page, which holds 2 of 3, those nearest to head 0.")
    clean(page)


# The cursor on figures, and the page of several pictures


def loads() -> xr.DataArray:
    run = grown(0)
    return xr.DataArray(run.load, dims=("step", "choice"), coords={"step": run.steps}, attrs={"long_name": "load"})


def stepped(dark: bool) -> go.Figure:
    data = xr.DataArray(
        np.stack([grown(0).load, grown(1).load], 1), dims=("step", "layer", "choice"), coords={"step": grown(0).steps}
    )
    figure = heatmap(data.assign_coords(layer=["layers.0", "layers.1"]), dark=dark)
    figure.update_layout(meta={**figure.layout.meta, "axes": {"x": "choice", "y": "layer"}})
    return figure


def leaves(dark: bool) -> go.Figure:
    data = loads()
    figure = go.Figure(
        go.Heatmap(z=data.values, x=[str(one) for one in data.choice.values], y=data.step.values.tolist())
    )
    return styled(figure, alt="Leaves", dark=dark, axes={"x": "choice", "y": "step"})


@pytest.fixture(scope="module")
def book_file(tmp_path_factory):
    """A page with curves over steps, a heat map with a slider, a map of steps by leaves, and an array, all linked."""
    pictures = {
        "Curves": lambda dark: curves(**curves_example(), dark=dark),
        "Heat map": stepped,
        "Leaves": leaves,
        "Array": ArrayExplorer(loads()),
        "Text": lambda dark: claims(
            [{"says": "A", "rule": "B", "measured": "1", "verdict": "shown", "seeds": 2}], dark=dark
        ),
    }
    path = tmp_path_factory.mktemp("book") / "book.html"
    export_page(pictures, path, title="Linked pictures")
    return path


def all_drawn(page) -> None:
    page.wait_for_function(
        "() => globalThis.labkitModels?.length === 4 && labkitModels.every((one) => one.get('acked') === one.get('seq'))"
    )


@pytest.fixture
def book(page, book_file):
    """That page, opened and drawn."""
    page.goto(book_file.as_uri())
    all_drawn(page)
    return page


CURSOR_X = """(place) => {
  const figure = document.querySelectorAll(".labkit-figure")[place];
  const overlay = figure.parentElement.querySelector(".labkit-figure-cursor");
  const line = [...overlay.querySelectorAll("line")].find((one) => one.getAttribute("x1") === one.getAttribute("x2"));
  const axis = figure._fullLayout.xaxis;
  return line ? axis.p2d(Number(line.getAttribute("x1")) - axis._offset) : null;
}"""


def click_at(page, place: int, across: float, up: float) -> None:
    """Click on a figure at this share of its plot."""
    figure = page.locator(".labkit-figure").nth(place)
    figure.scroll_into_view_if_needed()
    box = figure.evaluate(
        """(one, [across, up]) => {
          const { xaxis, yaxis } = one._fullLayout, box = one.getBoundingClientRect();
          return [box.left + xaxis._offset + across * xaxis._length, box.top + yaxis._offset + up * yaxis._length];
        }""",
        [across, up],
    )
    page.mouse.move(*box)
    page.mouse.click(*box)


def shared(page) -> str:
    return page.locator("#cursor").inner_text()


def test_a_click_in_one_picture_moves_all_others(book):
    click_at(book, 0, 0.5, 0.5)
    book.wait_for_function("() => document.getElementById('cursor')?.textContent.includes('step')")
    step = int(re.search(r"step (\d+)", shared(book))[1])
    assert step in grown(0).steps, "the cursor stands where there is data"
    assert abs(book.evaluate(CURSOR_X, 0) - step) < 2
    book.wait_for_function(
        """(step) => { const { sliders: [slider] } = document.querySelectorAll(".labkit-figure")[1]._fullLayout;
        return slider.steps[slider.active].label === String(step); }""",
        arg=step,
    )
    marks = "() => document.querySelectorAll('.labkit-figure-cursor')[2].childElementCount"
    assert book.evaluate(marks) > 0
    status_of_array = book.locator("section[data-kind=array] [role=status]")
    assert status_of_array.is_visible()
    clean(book)


def test_the_frames_of_a_picture_move_the_others(book):
    figure = book.locator(".labkit-figure").nth(1)
    figure.scroll_into_view_if_needed()
    rail = figure.locator(".slider-rail-touch-rect").bounding_box()
    book.mouse.click(rail["x"] + rail["width"] * 0.3, rail["y"] + rail["height"] / 2)
    book.wait_for_function("() => document.getElementById('cursor')?.textContent.includes('step')")
    step = int(re.search(r"step (\d+)", shared(book))[1])
    book.wait_for_timeout(300)
    assert abs(book.evaluate(CURSOR_X, 0) - step) < 2
    assert int(re.search(r"step (\d+)", shared(book))[1]) == step, "and nothing pushes it on"
    clean(book)


def test_the_arrow_keys_move_the_cursor_through_the_data(book):
    steps = sorted(int(step) for step in grown(0).steps)
    figure = book.locator(".labkit-figure").nth(0)
    figure.focus()
    for key, step in (
        ("Home", steps[0]),
        ("ArrowRight", steps[1]),
        ("ArrowRight", steps[2]),
        ("ArrowLeft", steps[1]),
        ("End", steps[-1]),
    ):
        book.keyboard.press(key)
        book.wait_for_function(
            "(text) => document.getElementById('cursor')?.textContent === text", arg=f"Cursor: step {step}"
        )
    assert (
        figure.locator("xpath=ancestor::*[contains(@class, 'labkit-figure-root')]")
        .locator("[role=status]")
        .inner_text()
    )
    book.keyboard.press("Escape")
    book.wait_for_function("() => document.getElementById('cursor')?.textContent === ''")
    assert book.evaluate(CURSOR_X, 0) is None
    clean(book)


def test_up_is_up_whichever_way_the_axis_runs(book):
    figure = book.locator(".labkit-figure").nth(2)
    click_at(book, 2, 0.5, 0.5)
    before = int(re.search(r"step (\d+)", shared(book))[1])
    figure.focus()
    book.keyboard.press("ArrowUp")
    book.wait_for_timeout(100)
    assert int(re.search(r"step (\d+)", shared(book))[1]) > before, "this axis grows upwards"
    clean(book)


def test_a_cell_of_the_array_is_a_place_in_the_figures(book):
    canvas = book.locator("canvas")
    canvas.scroll_into_view_if_needed()
    book.mouse.click(*at(book, 3, 2, len(grown(0).steps), 8))
    book.wait_for_function("() => document.getElementById('cursor')?.textContent.includes('choice 2')")
    assert f"step {grown(0).steps[3]}" in shared(book)
    book.get_by_role("button", name="Clear the cursor").click()
    book.wait_for_function("() => document.getElementById('cursor')?.textContent === ''")
    clean(book)


def test_a_drag_zooms_and_does_not_move_the_cursor(book):
    figure = book.locator(".labkit-figure").nth(0)
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    book.mouse.move(box["x"] + 250, box["y"] + 300)
    book.mouse.down()
    book.mouse.move(box["x"] + 500, box["y"] + 420, steps=6)
    book.mouse.up()
    book.wait_for_timeout(200)
    assert shared(book) == ""
    clean(book)


def test_the_theme_button_redraws_every_picture(book):
    surface = "() => [...document.querySelectorAll('.labkit-figure')].map((one) => one._fullLayout.paper_bgcolor)"
    assert set(book.evaluate(surface)) == {"#FFFFFF"}
    click_at(book, 0, 0.5, 0.5)
    before = shared(book)
    book.get_by_role("button", name="Show the page dark").click()
    book.wait_for_function(f"() => ({surface})().every((one) => one === '#14171C')")
    book.wait_for_selector(".labkit-array-root[data-dark=true]")
    assert book.locator("section[data-kind=painted] .place").evaluate(
        "(one) => one.shadowRoot.querySelector('.lab-dark') !== null"
    )
    step = re.search(r"step (\d+)", before)[1]
    assert shared(book) == before
    book.wait_for_function(
        """(step) => { const { sliders: [slider] } = document.querySelectorAll(".labkit-figure")[1]._fullLayout;
        return slider.steps[slider.active].label === step; }""",
        arg=step,
    )
    book.get_by_role("button", name="Show the page light").click()
    book.wait_for_function(f"() => ({surface})().every((one) => one === '#FFFFFF')")
    clean(book)


def test_every_picture_of_the_page_is_saved(book):
    for place in range(book.locator("section[data-kind]").count()):
        book.reload()  # Chromium lets one visit of a page save ten files in a row
        all_drawn(book)
        section = book.locator("section[data-kind]").nth(place)
        section.scroll_into_view_if_needed()
        for ending, head in (("PNG", b"\x89PNG"), ("SVG", b"<svg"), ("CSV", b"")):
            with book.expect_download(timeout=60_000) as saved:
                section.get_by_role("button", name=f"as {ending}").click()
            content = saved.value.path().read_bytes()
            assert content.startswith(head), (place, ending)
            assert len(content) > 30, (place, ending)
    clean(book)


def test_the_browser_writes_the_same_numbers_as_python(page, tmp_path):
    figures = [curves(**curves_example()), stepped(False), heatmap(xr.DataArray(np.array([[0.1, np.nan]], np.float32)))]
    figures.append(
        go.Figure(go.Sankey(node={"label": ["a", "b &amp; c"]}, link={"source": [0], "target": [1], "value": [3]}))
    )
    export_page(figures, tmp_path / "page.html")
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_function(
        "() => globalThis.labkitModels?.length === 4 && labkitModels.every((one) => one.get('acked') === one.get('seq'))"
    )
    for place, figure in enumerate(figures):
        with page.expect_download() as saved:
            page.locator("section").nth(place).get_by_role("button", name="as CSV").click()
        there = list(csv.reader(io.StringIO(saved.value.path().read_text(encoding="utf-8"))))
        here = [["" if value is None or value != value else value for value in row] for row in numbers_of(figure)]
        assert len(there) == len(here)
        for one, other in zip(there, here):
            assert [same(mine, theirs) for mine, theirs in zip(one, other)] == [True] * len(other), (one, other)
    clean(page)


def same(text: str, value) -> bool:
    return float(text) == float(value) if isinstance(value, int | float) and value != "" else text == str(value)


def test_the_table_of_a_figure_opens(book):
    section = book.locator("section").nth(0)
    button = section.get_by_role("button", name="as a table")
    assert button.get_attribute("aria-expanded") == "false"
    button.click()
    assert section.locator("table.lab-numbers caption").is_visible()
    assert button.get_attribute("aria-expanded") == "true"


def test_a_page_draws_everything_without_being_asked(page, tmp_path):
    export_page({"Curves": curves(**curves_example()), "Array": ArrayExplorer(likeness())}, tmp_path / "page.html")
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_function(
        "() => globalThis.labkitModels?.length === 2 && labkitModels.every((one) => one.get('acked') === one.get('seq'))"
    )
    clean(page)
