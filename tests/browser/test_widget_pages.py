"""The widgets' JavaScript in a plain page with a small stand-in for the model: no Jupyter, no kernel, no network."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from labkit.views.tree import example, tree
from labkit.widgets.array_explorer import ArrayExplorer
from labkit.widgets.export import page_script
from labkit.widgets.lite_figure import SCRIPT as FIGURE
from labkit.widgets.lite_figure import LiteFigure, PlotlyOnce, library
from labkit.widgets.live_curve import Curve, Labels, LiveCurve, packed
from labkit.widgets.live_deck import LiveDeck
from labkit.widgets.live_picture import LivePicture
from labkit.widgets.predict import Predict
from labkit.widgets.presenter import Follower, Presenter
from labkit.widgets.source import FOLDER
from labkit.widgets.source import page as page_of

pytestmark = pytest.mark.browser

LABELS = Labels("Accuracy", x="Training step", y="Test accuracy", limits=(0, 1))
LINES = [
    Curve("tree, seed 0", [0, 10, 20], [0.1, 0.5, 0.9], 0, faint=True),
    Curve("tree", [0, 10, 20], [0.12345, 0.5, 0.875], 0),
    Curve("dense", [0, 10], [0.25, 0.625], 1),
]


@pytest.fixture
def curve_page(page, tmp_path):
    """The exported page of two growing curves."""
    curve = LiveCurve(LABELS)
    curve.show(LINES, fraction=0.4, status="step 20 of 50")
    curve.export_html(tmp_path / "curve.html")
    page.goto((tmp_path / "curve.html").as_uri())
    acknowledged(page, 1)
    return page


def acknowledged(page, seq: int) -> None:
    page.wait_for_function("(seq) => labkitModel.get('acked') === seq", arg=seq)


def show(page, lines: list[Curve], fraction: float | None = None, status: str = "", labels: Labels = LABELS) -> None:
    """Hand the page a new picture, as Python does, and wait until it has drawn it."""
    sent = packed(lines, labels, fraction, status, "")
    seq = page.evaluate("labkitModel.get('seq')") + 1
    page.evaluate(
        """([state, points, seq]) => {
            labkitModel.set("state", state);
            labkitModel.set("points", new DataView(Uint8Array.from(points).buffer));
            labkitModel.set("seq", seq);
        }""",
        [sent["state"], list(sent["points"]), seq],
    )
    acknowledged(page, seq)


def painted(page, color: str) -> int:
    """How many opaque pixels of the canvas have this colour, or almost."""
    return page.evaluate(
        """(color) => {
            const canvas = document.querySelector("canvas");
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            const wanted = [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
            let count = 0;
            for (let at = 0; at < data.length; at += 4)
                count += data[at + 3] > 200 && wanted.every((value, one) => Math.abs(data[at + one] - value) < 24);
            return count;
        }""",
        color,
    )


def colors(name: str) -> dict:
    state = json.loads(packed(LINES, LABELS, None, "", "")["state"])
    return next(line for line in state["series"] if line["name"] == name)


def clean(page) -> None:
    assert page.errors == []
    assert page.outside == []


def readout(page):
    return page.locator(".labkit-curve-readout")


def test_curves_are_drawn_in_their_colours(curve_page):
    assert painted(curve_page, colors("tree")["light"]) > 300
    assert painted(curve_page, colors("dense")["light"]) > 100
    clean(curve_page)


def test_the_legend_says_the_last_value_of_each_named_curve(curve_page):
    entries = curve_page.locator(".labkit-curve-entry").all_inner_texts()
    assert [" ".join(entry.split()) for entry in entries] == ["tree 0.875", "dense 0.625"]


def test_progress_is_a_bar_and_a_text(curve_page):
    bar = curve_page.get_by_role("progressbar")
    assert bar.get_attribute("aria-valuenow") == "40"
    assert "step 20 of 50" in bar.get_attribute("aria-valuetext")
    assert curve_page.get_by_text("step 20 of 50").is_visible()
    show(curve_page, LINES)
    assert not bar.is_visible()


def test_hovering_reads_the_exact_values(curve_page):
    box = curve_page.locator("canvas").bounding_box()
    assert not readout(curve_page).is_visible()
    curve_page.mouse.move(box["x"] + 60, box["y"] + 150)
    readout(curve_page).wait_for()
    assert readout(curve_page).inner_text().split("\n")[0] == "Training step 0"
    assert "tree: 0.12345" in readout(curve_page).inner_text()
    assert "dense: 0.25" in readout(curve_page).inner_text()
    curve_page.mouse.move(box["x"] + box["width"] - 30, box["y"] + 150)
    curve_page.get_by_text("Training step 20").wait_for()
    assert "dense" not in readout(curve_page).inner_text(), "dense has no value at step 20"
    curve_page.mouse.move(box["x"] + 60, box["y"] + box["height"] + 200)
    readout(curve_page).wait_for(state="hidden")
    clean(curve_page)


def test_arrow_keys_move_the_cursor_and_a_screen_reader_hears_the_values(curve_page):
    canvas = curve_page.locator("canvas")
    assert canvas.get_attribute("data-lm-suppress-shortcuts") == "true", "else JupyterLab takes the keys"
    assert readout(curve_page).get_attribute("aria-live") == "polite"
    canvas.focus()
    for key, step in (
        ("ArrowRight", 0),
        ("ArrowRight", 10),
        ("ArrowLeft", 0),
        ("End", 20),
        ("Home", 0),
        ("ArrowLeft", 0),
    ):
        curve_page.keyboard.press(key)
        curve_page.wait_for_function(
            "(head) => document.querySelector('.labkit-curve-readout strong')?.textContent === head",
            arg=f"Training step {step}",
        )
    assert "tree: 0.12345" in readout(curve_page).inner_text()
    curve_page.keyboard.press("Escape")
    readout(curve_page).wait_for(state="hidden")


def test_the_canvas_says_in_words_what_it_shows(curve_page):
    label = curve_page.locator("canvas[role=img]").get_attribute("aria-label")
    assert "tree is at 0.875 at Training step 20; dense is at 0.625 at Training step 10" in label
    assert "seed 0" not in label


def test_a_name_in_the_legend_switches_its_curve_off_and_on(curve_page):
    button = curve_page.get_by_role("button", name="tree")
    before = painted(curve_page, colors("tree")["light"])
    button.focus()
    curve_page.keyboard.press("Enter")
    curve_page.wait_for_selector("[aria-pressed=false]")
    curve_page.wait_for_function("document.querySelector('canvas').getAttribute('aria-label').includes('against')")
    assert painted(curve_page, colors("tree")["light"]) < before / 20
    assert curve_page.evaluate("document.activeElement.textContent").startswith("tree")
    curve_page.keyboard.press("Enter")
    curve_page.wait_for_selector("[aria-pressed=false]", state="detached")
    assert painted(curve_page, colors("tree")["light"]) == before


def test_new_points_are_drawn_and_acknowledged(curve_page):
    grown = [*LINES[:2], Curve("dense", [0, 10, 20, 30], [0.25, 0.625, 0.7, 0.75], 1)]
    show(curve_page, grown, 0.6, "step 30 of 50")
    assert "dense 0.750" in " ".join(curve_page.locator(".labkit-curve-legend").inner_text().split())
    show(curve_page, [])
    assert curve_page.locator(".labkit-curve-entry").count() == 0
    clean(curve_page)


def test_gaps_constants_and_single_points_are_drawn_without_an_error(curve_page):
    show(curve_page, [Curve("gap", [0, 1, 2, 3], [0.2, np.nan, np.nan, 0.4]), Curve("flat", [0, 3], [0.3, 0.3], 1)])
    show(curve_page, [Curve("one point", [7], [0.5])])
    assert painted(curve_page, colors("tree")["light"]) > 10
    huge = Labels(x="step", y="loss")
    show(curve_page, [Curve("huge", [0, 1e6], [1e-9, 3e9])], labels=huge)
    show(curve_page, [Curve("nothing but gaps", [0, 1], [np.nan, np.nan])], labels=huge)
    clean(curve_page)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_canvas_is_as_sharp_as_the_screen(browser, tmp_path, scale):
    LiveCurve(LABELS).export_html(tmp_path / "curve.html")
    context = browser.new_context(device_scale_factor=scale, viewport={"width": 800, "height": 600})
    page = context.new_page()
    page.goto((tmp_path / "curve.html").as_uri())
    acknowledged(page, 1)
    size = page.evaluate("(() => { const c = document.querySelector('canvas'); return [c.width, c.clientWidth]; })()")
    assert size[0] == scale * size[1]
    context.close()


def test_the_canvas_follows_the_width_of_the_page(curve_page):
    curve_page.set_viewport_size({"width": 500, "height": 700})
    curve_page.wait_for_function(
        "document.querySelector('canvas').width === document.querySelector('canvas').clientWidth"
    )
    assert curve_page.evaluate("document.querySelector('canvas').clientWidth") < 500
    assert painted(curve_page, colors("tree")["light"]) > 100
    assert curve_page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_colours_follow_the_theme(curve_page):
    dark = colors("tree")["dark"]
    assert painted(curve_page, dark) < 100
    curve_page.emulate_media(color_scheme="dark")
    curve_page.wait_for_selector(".labkit-curve-root[data-dark=true]")
    assert painted(curve_page, dark) > 300
    clean(curve_page)


def test_the_theme_is_read_from_the_page_and_not_from_the_system(curve_page):
    curve_page.evaluate("document.body.style.background = '#111'; document.body.dataset.jpThemeLight = 'false'")
    curve_page.wait_for_selector(".labkit-curve-root[data-dark=true]")
    curve_page.evaluate("document.body.style.background = '#fff'; document.body.dataset.jpThemeLight = 'true'")
    curve_page.wait_for_selector(".labkit-curve-root[data-dark=false]")


def test_nothing_is_acknowledged_while_nothing_can_be_seen(curve_page):
    curve_page.evaluate("document.getElementById('here').style.display = 'none'")
    curve_page.evaluate("labkitModel.set('seq', 2)")
    curve_page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert curve_page.evaluate("labkitModel.get('acked')") == 1
    curve_page.evaluate("document.getElementById('here').style.display = ''")
    acknowledged(curve_page, 2)


PANEL_PAGE = """
import panel as pn
from labkit.widgets.live_curve import Curve, Labels
from labkit.widgets.panel_live_curve import PanelLiveCurve

curve = PanelLiveCurve(Labels("In Panel", x="Training step"))
curve.show([Curve("tree", [0, 1], [0.25, 0.5])])

def grow():
    if not curve.busy and curve.seq < 6:
        curve.show([Curve("tree", [0, 1], [0.25, curve.acked])], status=f"{curve.acked} acknowledged")

pn.state.add_periodic_callback(grow, period=50)
curve.servable()
"""


@pytest.fixture
def panel_address(tmp_path):
    """The address of a Panel server with one page that shows growing curves."""
    (tmp_path / "growing.py").write_text(PANEL_PAGE, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "panel", "serve", str(tmp_path / "growing.py"), "--port", str(port)]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            while "running at" not in (tmp_path / "log").read_text():
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/growing"
        finally:
            server.terminate()


def test_panel_draws_the_same_curves_and_hears_the_acknowledgement(page, panel_address):
    page.goto(panel_address)
    page.get_by_text("5 acknowledged").wait_for()
    page.locator("canvas.labkit-curve-canvas").focus()
    page.keyboard.press("End")
    readout(page).wait_for()
    assert "tree: 5" in readout(page).inner_text()
    clean(page)


# A plotly figure


def figure_page(page, tmp_path: Path, figure: go.Figure, **more) -> None:
    """A page with the hidden widget that brings plotly, and one figure."""
    once = PlotlyOnce._esm if isinstance(PlotlyOnce._esm, str) else str(PlotlyOnce._esm)
    script = once.replace("export default {", "globalThis.once = {", 1) + FIGURE
    lite = LiteFigure(figure)
    names = ("spec", "alt", "adapts", "drawn_dark", "dark", "clicked", "seq", "acked")
    values = {name: getattr(lite, name) for name in names} | {"text": library().text} | more
    (tmp_path / "figure.html").write_text(page_of(script, "", values, "Figure"), encoding="utf-8")
    page.goto((tmp_path / "figure.html").as_uri())
    page.evaluate("once.initialize({ model: labkitModel })")
    acknowledged(page, 1)


def test_a_figure_is_drawn_with_its_alt_text_and_its_slider(page, tmp_path):
    figure = tree(**example())
    figure_page(page, tmp_path, figure)
    shown = page.locator(".labkit-figure[role=img]")
    assert shown.get_attribute("aria-label") == figure.layout.meta["alt"]
    assert page.locator(".labkit-figure .main-svg").first.is_visible()
    first = page.locator(".barlayer").first.inner_html()
    page.locator(".slider-group").scroll_into_view_if_needed()
    box = page.locator(".slider-rail-touch-rect").bounding_box()
    page.mouse.click(box["x"] + 5, box["y"] + box["height"] / 2)
    page.wait_for_function("(before) => document.querySelector('.barlayer').innerHTML !== before", arg=first)
    clean(page)


def test_a_click_on_a_node_tells_its_number(page, tmp_path):
    whole = example()
    figure_page(page, tmp_path, tree(whole["entropy"].isel(step=-1), whole["load"].isel(step=-1)))
    point = page.locator(".scatterlayer .points path.point").last.bounding_box()
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_selector(".hoverlayer .hovertext")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_function("labkitModel.get('clicked').count === 1")
    clicked = page.evaluate("labkitModel.get('clicked')")
    assert clicked["trace"] == "decisions"
    assert clicked["customdata"][0] == 6
    clean(page)


def test_a_new_figure_takes_the_place_of_the_old_one(page, tmp_path):
    figure_page(page, tmp_path, go.Figure(go.Bar(y=[1, 2, 3])))
    assert page.locator(".bars .point").count() == 3
    other = go.Figure(go.Bar(y=[1, 2]), layout={"meta": {"alt": "Two bars"}})
    page.evaluate(
        """(text) => {
            labkitModel.set("spec", new DataView(new TextEncoder().encode(text).buffer));
            labkitModel.set("alt", "Two bars");
            labkitModel.set("seq", 2);
        }""",
        other.to_json(),
    )
    acknowledged(page, 2)
    assert page.locator(".bars .point").count() == 2
    assert page.locator(".labkit-figure").count() == 1
    assert page.locator(".labkit-figure[role=img]").get_attribute("aria-label") == "Two bars"
    clean(page)


def test_a_figure_asks_python_for_the_theme_of_the_page(page, tmp_path):
    page.emulate_media(color_scheme="dark")
    figure_page(page, tmp_path, tree(**example()), adapts=True)
    assert page.evaluate("labkitModel.get('dark')") is True
    page.emulate_media(color_scheme="light")
    page.wait_for_function("labkitModel.get('dark') === false")


def test_a_figure_fits_the_width_of_the_page(page, tmp_path):
    figure_page(page, tmp_path, go.Figure(go.Bar(y=[1, 2, 3])))
    page.set_viewport_size({"width": 520, "height": 700})
    page.wait_for_function("document.querySelector('.main-svg').clientWidth < 520")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    clean(page)


def test_no_button_sends_a_figure_away(page, tmp_path):
    figure_page(page, tmp_path, go.Figure(go.Bar(y=[1])))
    titles = [one.get_attribute("data-title") or "" for one in page.locator(".modebar-btn").all()]
    assert titles
    assert not [title for title in titles if "Share" in title or "loud" in title]


def test_a_broken_figure_is_an_error_in_the_console_and_the_next_one_is_drawn(page, tmp_path):
    figure_page(page, tmp_path, go.Figure(go.Bar(y=[1])), spec=b'{"data": [{"type": "bar", "y": [1]}], "layout": 3}')
    assert "could not be drawn" in page.errors[0]
    page.evaluate(
        """(text) => {
            labkitModel.set("spec", new DataView(new TextEncoder().encode(text).buffer));
            labkitModel.set("seq", 2);
        }""",
        go.Figure(go.Bar(y=[1, 2])).to_json(),
    )
    acknowledged(page, 2)
    assert page.locator(".bars .point").count() == 2


def test_every_script_of_the_folder_is_used_by_a_widget():
    used = LiveCurve._esm, LiteFigure._esm, PlotlyOnce._esm, ArrayExplorer._esm, page_script().replace("<\\/", "</")
    used = *used, LiveDeck._esm, LivePicture._esm, Predict._esm, Presenter._esm, Follower._esm
    scripts = "\n".join(map(str, used))
    assert [path.name for path in FOLDER.glob("*.js") if path.read_text(encoding="utf-8").strip() not in scripts] == []
