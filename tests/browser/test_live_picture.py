"""Moving pictures in a browser: what is drawn, pointed at, chosen and said, from exported pages and without a network."""

import base64
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

from labkit.views.theme import look
from labkit.widgets.live_picture import LivePicture
from labkit.widgets.picture_frames import Words

pytestmark = pytest.mark.browser
WORDS = Words("units: activity", "How strongly each hidden unit answers.")
GIVEN = ("setup", "state", "cells", "seq", "told")
BRIDGE = """() => {
  globalThis.decode = (value) => value?.bytes === undefined ? value :
    new DataView(Uint8Array.from(atob(value.bytes), (one) => one.charCodeAt(0)).buffer);
  for (const name of ["asked", "chosen"]) {
    labkitModel.on(`change:${name}`, async () => {
      const answer = await python(name, labkitModel.get(name));
      for (const [key, value] of Object.entries(answer)) labkitModel.set(key, decode(value));
    });
  }
}"""


def activity(layers: int = 4, units: int = 12, seed: int = 0) -> xr.DataArray:
    values = np.random.default_rng(seed).random((layers, units)).astype(np.float32)
    names = [f"layers.{place}.mlp" for place in range(layers)]
    coords = {"layer": names, "unit": np.arange(units)}
    return xr.DataArray(values, dims=("layer", "unit"), coords=coords, attrs={"long_name": "mean absolute activation"})


def load(values) -> xr.DataArray:
    coords = {"layer": ["slot.gate"], "choice": ("choice", np.arange(len(values)), {"long_name": "expert"})}
    attrs = {"long_name": "share of inputs", "units": "fraction", "even_share": 1 / len(values)}
    return xr.DataArray(np.array([values], np.float32), dims=("layer", "choice"), coords=coords, attrs=attrs)


def plain(value):
    return {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


@pytest.fixture
def live(page, tmp_path):
    """Open a picture in a page, with Python behind it."""

    def open_page(picture: LivePicture):
        def python(name, value):
            before = {key: getattr(picture, key) for key in GIVEN}
            setattr(picture, name, value)
            return {key: plain(getattr(picture, key)) for key in GIVEN if getattr(picture, key) is not before[key]}

        page.expose_function("python", python)
        picture.export_html(tmp_path / "picture.html")
        page.goto((tmp_path / "picture.html").as_uri())
        page.evaluate(BRIDGE)
        drawn(page)
        return page

    return open_page


def drawn(page) -> None:
    page.wait_for_function("() => labkitModel.get('acked') === labkitModel.get('seq')")


def send(page, picture: LivePicture) -> None:
    """Hand the page what the picture shows now, as the widget's own channel does, and wait until it is drawn."""
    page.evaluate(
        """([state, cells]) => {
            labkitModel.set("state", state);
            labkitModel.set("cells", decode(cells));
            labkitModel.set("seq", labkitModel.get("seq") + 1);
        }""",
        [picture.state, plain(picture.cells)],
    )
    drawn(page)


def clean(page) -> None:
    assert page.errors == []
    assert page.outside == []


FRAME = """() => {
  const canvas = document.querySelector("canvas"), box = canvas.getBoundingClientRect();
  return { x: box.x, y: box.y, width: box.width, height: box.height };
}"""


def area(page) -> dict:
    """Where the cells lie on the screen, found as the largest stretch of opaque pixels across and down."""
    box = page.evaluate(FRAME)
    found = page.evaluate(
        """() => {
          const canvas = document.querySelector("canvas");
          const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          const opaque = (x, y) => pixels[4 * (y * canvas.width + x) + 3] === 255;
          const longest = (size, at) => {
            let start = 0, best = [0, 0];
            for (let place = 0; place <= size; place++) {
              if (place < size && at(place)) continue;
              if (place - start > best[1] - best[0]) best = [start, place];
              start = place + 1;
            }
            return best;
          };
          const row = 14, across = longest(canvas.width, (x) => opaque(x, row));
          const middle = Math.round((across[0] + across[1]) / 2), down = longest(canvas.height, (y) => opaque(middle, y));
          return { left: across[0], right: across[1], top: down[0], bottom: down[1] };
        }"""
    )
    return {
        "x": box["x"] + found["left"],
        "y": box["y"] + found["top"],
        "width": found["right"] - found["left"],
        "height": found["bottom"] - found["top"],
    }


def at(page, row: int, column: int, rows: int, columns: int) -> tuple[float, float]:
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


def near(found: list[int], color: str) -> bool:
    return all(abs(one - int(color[2 * k + 1 : 2 * k + 3], 16)) <= 3 for k, one in enumerate(found))


def said(page) -> str:
    return page.locator(".labkit-picture-spoken").inner_text()


def line(page) -> str:
    return page.locator(".labkit-picture-line").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_cell_has_the_colour_of_its_value(live, page, scheme):
    page.emulate_media(color_scheme=scheme)
    data = activity(4, 6)
    data.values[:] = 0
    data[1, 2], data[2, 4] = 1.0, 0.5
    picture = LivePicture(WORDS)
    picture.show(data)
    live(picture)
    scale = look(scheme == "dark").sequential
    for (row, column), color in {(0, 0): scale[0], (1, 2): scale[-1], (2, 4): scale[5]}.items():
        assert near(color_at(page, *at(page, row, column, 4, 6)), color), (row, column)
    clean(page)


def test_zero_is_pale_where_values_have_both_signs(live, page):
    picture = LivePicture(WORDS)
    picture.show(np.array([[-2.0, 0.0], [0.0, 2.0]]))
    live(picture)
    scale = look(False).diverging
    for (row, column), color in {(0, 0): scale[0], (0, 1): scale[5], (1, 1): scale[-1]}.items():
        assert near(color_at(page, *at(page, row, column, 2, 2)), color)
    assert page.locator(".labkit-picture-end").all_inner_texts() == ["−2", "2"]


def test_pointing_at_a_cell_tells_its_value_at_once(live, page):
    data = activity()
    picture = LivePicture(WORDS)
    picture.show(data)
    live(picture)
    page.mouse.move(*at(page, 2, 7, 4, 12))
    bubble = page.locator(".labkit-picture-bubble")
    bubble.wait_for()
    assert float(bubble.locator("b").inner_text()) == pytest.approx(float(data[2, 7]), abs=0.001)
    assert "layer layers.2.mlp, unit 7" in bubble.inner_text()
    picture.show(data * 0.5)
    send(page, picture)
    assert float(bubble.locator("b").inner_text()) == pytest.approx(float(data[2, 7]) / 2, abs=0.001)
    page.mouse.move(2, 2)
    bubble.wait_for(state="hidden")
    clean(page)


def test_of_a_large_picture_python_tells_the_value(live, page):
    values = np.random.default_rng(0).random((256, 512))
    picture = LivePicture(WORDS)
    picture.show(values)
    live(picture)
    page.locator("canvas").focus()
    page.keyboard.press("Control+End")
    exact = f"{np.float32(values[255, 511]):.6g}"
    page.wait_for_function(
        "(text) => document.querySelector('.labkit-picture-bubble b')?.textContent === text", arg=exact
    )
    assert said(page) == f"row 255, column 511: {exact}"
    clean(page)


def test_a_click_chooses_and_python_knows_the_coordinates(live, page):
    heard = []
    picture = LivePicture(WORDS)
    picture.on_pick(heard.append)
    picture.show(activity())
    live(picture)
    page.mouse.click(*at(page, 3, 5, 4, 12))
    page.wait_for_function("() => labkitModel.get('chosen') !== ''")
    page.wait_for_timeout(50)
    assert heard == [{"layer": "layers.3.mlp", "unit": 5}]
    assert line(page).startswith("Chosen: layer layers.3.mlp, unit 5, 0.")
    picture.show(activity(seed=1), step=3)
    send(page, picture)
    assert line(page).startswith("Chosen: layer layers.3.mlp, unit 5, 0.")
    assert page.locator(".labkit-picture-step").inner_text() == "step 3"
    clean(page)


def test_a_picture_sent_before_the_click_arrived_does_not_take_the_choice_back(live, page):
    picture = LivePicture(WORDS)
    picture.show(activity())
    live(picture)
    old = picture.state
    page.mouse.click(*at(page, 1, 1, 4, 12))
    page.wait_for_timeout(50)
    page.evaluate(
        "(state) => { labkitModel.set('state', state); labkitModel.set('seq', labkitModel.get('seq') + 1); }", old
    )
    drawn(page)
    assert line(page).startswith("Chosen: layer layers.1.mlp, unit 1")


def test_the_keyboard_reads_and_chooses(live, page):
    data, heard = activity(), []
    picture = LivePicture(WORDS)
    picture.on_pick(heard.append)
    picture.show(data, marks=[{"layer": "layers.1.mlp", "unit": 1, "says": "Unit 1 is set to zero."}])
    live(picture)
    canvas = page.locator("canvas")
    assert canvas.get_attribute("data-lm-suppress-shortcuts") == "true", "else JupyterLab takes the keys"
    canvas.focus()
    for key, cell in (
        ("ArrowRight", (0, 0)),
        ("ArrowRight", (0, 1)),
        ("ArrowDown", (1, 1)),
        ("End", (1, 11)),
        ("Shift+ArrowLeft", (1, 1)),
        ("Control+End", (3, 11)),
        ("ArrowDown", (3, 11)),
        ("Control+Home", (0, 0)),
    ):
        page.keyboard.press(key)
        page.wait_for_timeout(30)
        head, _, value = said(page).partition(": ")
        assert head == f"layer layers.{cell[0]}.mlp, unit {cell[1]}", key
        assert float(value.split(". ")[0]) == pytest.approx(float(data[cell]), abs=0.001)
        assert value.endswith("Unit 1 is set to zero.") == (cell == (1, 1))
    page.keyboard.press("Enter")
    page.wait_for_function("() => labkitModel.get('chosen') !== ''")
    page.wait_for_timeout(50)
    assert heard == [{"layer": "layers.0.mlp", "unit": 0}]
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.wait_for_function("() => JSON.parse(labkitModel.get('chosen')).row === null")
    page.wait_for_timeout(50)
    assert heard[-1] is None
    assert "The arrow keys move through the cells" in canvas.get_attribute("aria-label")
    assert "the highest is" in canvas.get_attribute("aria-label")
    clean(page)


def test_what_was_switched_off_is_crossed_and_says_so(live, page):
    data = activity(4, 6)
    data.values[:] = 0
    picture = LivePicture(WORDS)
    picture.show(data, marks=[{"layer": "layers.1.mlp", "unit": 2, "says": "Unit 2 is set to zero."}])
    live(picture)
    assert near(color_at(page, *at(page, 1, 2, 4, 6)), look(False).ink)
    assert near(color_at(page, *at(page, 1, 3, 4, 6)), look(False).sequential[0])
    page.mouse.move(*at(page, 1, 2, 4, 6))
    page.get_by_text("Unit 2 is set to zero.").first.wait_for()
    assert "changed by hand" in page.locator(".labkit-picture-legend").inner_text()


def test_bars_are_as_high_as_their_values_and_show_the_even_share(live, page):
    picture = LivePicture(Words("experts: load"))
    picture.show(load((0.5, 0.25, 0.25, 0.0)), marks=[{"layer": "slot.gate", "choice": 3, "says": "Off."}])
    live(picture)
    heights = page.evaluate(
        """(color) => {
          const canvas = document.querySelector("canvas"), wanted = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
          const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data, counts = [];
          for (let x = 0; x < canvas.width; x++) {
            let count = 0;
            for (let y = 0; y < canvas.height; y++) {
              const from = 4 * (y * canvas.width + x);
              if (wanted.every((one, k) => Math.abs(data[from + k] - one) < 3) && data[from + 3] === 255) count++;
            }
            counts.push(count);
          }
          return counts;
        }""",
        look(False).series[0],
    )
    shown = [height for height in heights if height > 20]
    assert max(shown) == pytest.approx(2 * np.median(sorted(shown)[: len(shown) // 2]), rel=0.08)
    assert "an even share would be 25\u00a0%" in page.locator(".labkit-picture-legend").inner_text()
    page.locator("canvas").focus()
    page.keyboard.press("End")
    page.wait_for_timeout(30)
    assert said(page) == "layer slot.gate, expert 3: 0\u00a0%. Off."
    clean(page)


def test_shapes_may_change_between_two_pictures(live, page):
    picture = LivePicture(WORDS)
    picture.show(activity())
    live(picture)
    page.locator("canvas").focus()
    page.keyboard.press("Control+End")
    for data in (
        activity(2, 3),
        np.full((5, 7), np.nan),
        np.zeros((1, 1)),
        load((0.5, 0.5)),
        np.zeros((0, 3)),
        np.ones((256, 512)),
        np.arange(600.0),
        activity(1, 4),
        None,
        activity(),
    ):
        picture.show(data)
        send(page, picture)
    clean(page)


def test_no_value_shows_stripes_and_nothing_says_so(live, page):
    data = activity(4, 6)
    data[1, 2] = np.nan
    picture = LivePicture(WORDS)
    picture.show(data)
    live(picture)
    x, y = at(page, 1, 2, 4, 6)
    shades = {tuple(color_at(page, x + shift, y)) for shift in range(-12, 12)}
    assert (255, 255, 255) in shades
    assert len(shades) > 1
    assert "no value" in page.locator(".labkit-picture-legend").inner_text()
    page.mouse.move(x, y)
    page.locator(".labkit-picture-bubble").get_by_text("no value").wait_for()
    picture.show(data[:0])
    send(page, picture)
    page.wait_for_function("() => document.querySelector('canvas').ariaLabel?.includes('no entry along layer')")
    assert not page.locator(".labkit-picture-bubble").is_visible()
    clean(page)


@pytest.mark.parametrize("width", [900, 420])
def test_no_label_is_cut_off_or_lies_on_another(live, page, width):
    page.set_viewport_size({"width": width, "height": 700})
    page.add_init_script(
        """globalThis.written = [];
        const { fillText, clearRect } = CanvasRenderingContext2D.prototype;
        CanvasRenderingContext2D.prototype.clearRect = function (...box) {
          if (this.canvas.isConnected) written.length = 0;
          clearRect.apply(this, box);
        };
        CanvasRenderingContext2D.prototype.fillText = function (words, x, y) {
          const { width } = this.measureText(words), turned = this.getTransform(), align = this.textAlign;
          const left = align === "center" ? -width / 2 : align === "right" ? -width : 0;
          const corners = [[left, -6], [left + width, 6]].map(([dx, dy]) => turned.transformPoint(new DOMPoint(x + dx, y + dy)));
          const [xs, ys] = [corners.map((one) => one.x), corners.map((one) => one.y)];
          written.push({ words, x: Math.min(...xs), right: Math.max(...xs), y: Math.min(...ys), bottom: Math.max(...ys) });
          fillText.call(this, words, x, y);
        };"""
    )
    names = [f"transformer.encoder.blocks.{place}.feed_forward.activation" for place in range(40)]
    words = ["ankle boot", "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag"]
    pictures = (
        xr.DataArray(np.random.default_rng(0).random((40, 300)), dims=("layer", "unit"), coords={"layer": names}),
        xr.DataArray(np.eye(10), dims=("expert", "class"), coords={"class": words}),
        load(np.full(64, 1 / 64)),
        load(np.linspace(0, 0.4, 7)),
        xr.DataArray(np.arange(10.0) * 1e6, dims="class", coords={"class": words}),
        np.random.default_rng(0).standard_normal((256, 512)),
    )
    picture = LivePicture(WORDS)
    live(picture)
    for data in pictures:
        picture.show(data)
        send(page, picture)
        size = page.evaluate(
            "() => { const { width, height } = document.querySelector('canvas'); return [width, height]; }"
        )
        boxes = page.evaluate("written")
        assert len(boxes) >= 4
        for box in boxes:
            inside = (
                box["x"] >= -0.5
                and box["y"] >= -0.5
                and box["right"] <= size[0] + 0.5
                and box["bottom"] <= size[1] + 0.5
            )
            assert inside, (box, size)
        for place, one in enumerate(boxes):
            for other in boxes[:place]:
                apart = (
                    one["right"] <= other["x"]
                    or other["right"] <= one["x"]
                    or one["bottom"] <= other["y"]
                    or other["bottom"] <= one["y"]
                )
                assert apart, (one, other)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    clean(page)


def test_the_memory_does_not_grow_over_hundreds_of_pictures(live, page):
    picture = LivePicture(WORDS)
    frames = []
    for seed in range(2):
        picture.show(np.random.default_rng(seed).random((64, 128)))
        frames.append([picture.state, plain(picture.cells)])
    live(picture)
    client = page.context.new_cdp_session(page)

    def used() -> int:
        client.send("HeapProfiler.collectGarbage")
        return client.send("Runtime.getHeapUsage")["usedSize"]

    run = """async ([frames, count]) => {
      for (let at = 0; at < count; at++) {
        const [state, cells] = frames[at % 2];
        labkitModel.set("state", state);
        labkitModel.set("cells", decode(cells));
        labkitModel.set("seq", labkitModel.get("seq") + 1);
        await new Promise(requestAnimationFrame);
      }
    }"""
    page.evaluate(run, [frames, 50])
    before = used()
    page.evaluate(run, [frames, 300])
    drawn(page)
    assert used() - before < 600_000, "less than 2 kB a picture, of which each weighs 25 kB"
    assert page.evaluate("document.querySelectorAll('canvas').length") == 1
    clean(page)


PANEL_PAGE = """
import numpy as np
import panel as pn
import xarray as xr
from labkit.widgets.panel_live_picture import PanelLivePicture
from labkit.widgets.picture_frames import Words

said, turn = pn.pane.Str("nothing chosen"), [0]
picture = PanelLivePicture(Words("units: activity"))
picture.on_pick(lambda place: setattr(said, "object", f"chosen {place}"))

def paint():
    if not picture.busy and turn[0] < 9:
        turn[0] += 1
        coords = {"layer": list("abc"), "unit": range(4)}
        data = xr.DataArray(np.full((3, 4), float(turn[0])), dims=("layer", "unit"), coords=coords)
        picture.show(data, step=turn[0])

pn.state.onload(lambda: pn.state.add_periodic_callback(paint, 40))
pn.Column(picture, said).servable()
"""


def test_panel_paints_and_hears_the_same(page, tmp_path):
    (tmp_path / "moving.py").write_text(PANEL_PAGE, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "panel", "serve", str(tmp_path / "moving.py"), "--port", str(port)]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            while "running at" not in (tmp_path / "log").read_text():
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
            page.goto(f"http://127.0.0.1:{port}/moving")
            page.get_by_text("step 9", exact=True).wait_for()
            page.locator("canvas.labkit-picture-canvas").focus()
            page.keyboard.press("Control+End")
            page.keyboard.press("Enter")
            page.get_by_text("chosen {'layer': 'c', 'unit': 3}").wait_for()
            page.get_by_text("Chosen: layer c, unit 3").first.wait_for()
            clean(page)
        finally:
            server.terminate()
