"""What a person does with curves: another x axis, an event, a name in the legend, a zoom. No kernel is there."""

import json
from pathlib import Path

import numpy as np
import plotly
import pytest
import xarray as xr

from labkit.views.curves import curves

pytestmark = pytest.mark.browser
SHOWN = """() => {
  const plot = document.getElementById('plot');
  return plot._fullData.map((trace) => ({
    name: trace.name, meta: trace.meta, visible: trace.visible, group: trace.legendgroup, x: Array.from(trace.x ?? []),
  }));
}"""


def recorded(arms: int) -> xr.DataArray:
    random = np.random.default_rng(0)
    steps = np.arange(0, 600, 10)
    ends = np.linspace(0.4, 0.9, arms)[:, None, None]
    values = ends * (1 - np.exp(-steps / 90)) + random.normal(0, 0.01, (arms, 3, len(steps)))
    coords = {
        "arm": [f"arm {place}" for place in range(arms)],
        "step": steps,
        "examples": ("step", 64 * steps),
        "seconds": (("arm", "step"), np.outer(np.arange(1, arms + 1) / 100, steps)),
    }
    return xr.DataArray(values, dims=("arm", "seed", "step"), coords=coords, attrs={"long_name": "accuracy"})


EVENTS = [
    {"step": 120, "says": "units died", "kind": "units die", "where": "layers.0"},
    {"step": 480, "says": "the end"},
]


@pytest.fixture
def drawn(page):
    """Draws a figure and gives the page; afterwards nothing may have gone wrong in it."""
    page.set_content('<body style="margin:0"><div id="plot"></div></body>')
    page.add_script_tag(content=(Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text())

    def draw(figure):
        page.set_viewport_size({"width": 900, "height": int(figure.layout.height)})
        page.evaluate("([data]) => Plotly.newPlot('plot', data)", [json.loads(figure.to_json())])
        page.evaluate(
            "() => document.getElementById('plot').on('plotly_click', (found) => { window.clicked = found; })"
        )
        return page

    yield draw
    assert page.errors == []


SPOT = """([trace, point]) => {
  const plot = document.getElementById('plot'), full = plot._fullLayout, data = plot._fullData[trace];
  const x = full.xaxis, y = full[data.yaxis === 'y2' ? 'yaxis2' : 'yaxis'], box = plot.getBoundingClientRect();
  return [box.left + x._offset + x.d2p(data.x[point]), box.top + y._offset + y.d2p(data.y[point])];
}"""


def spot(page, kind: str, point: int) -> list[float]:
    """Where on the screen a point of the first trace of this kind lies."""
    place = [trace["meta"] for trace in page.evaluate(SHOWN)].index(kind)
    return page.evaluate(SPOT, [place, point])


def press(page, label: str):
    page.locator(".updatemenu-button", has_text=label).click()
    page.wait_for_timeout(100)


def test_the_buttons_put_every_curve_and_event_onto_another_axis_and_back(drawn):
    page = drawn(curves(recorded(3), events=EVENTS, reference={"says": "paper: 0.95", "value": 0.95}))
    before = page.evaluate(SHOWN)
    press(page, "seconds")
    for trace in page.evaluate(SHOWN):
        if trace["group"]:
            expected = np.arange(0, 600, 10) * (int(trace["group"]) + 1) / 100
            np.testing.assert_allclose(trace["x"], expected, rtol=1e-6)
        if trace["meta"] == "events":
            np.testing.assert_allclose(trace["x"], [2.4, 9.6], rtol=1e-6)
        if trace["meta"] == "reference":
            np.testing.assert_allclose(trace["x"], [0, 17.7], rtol=1e-6)
    layout = "() => { const l = document.getElementById('plot').layout; return [l.xaxis.title.text, l.meta.axes.x]; }"
    assert page.evaluate(layout) == ["Seconds of training", "seconds"]
    low, high = page.evaluate("() => document.getElementById('plot')._fullLayout.xaxis.range")
    assert -3 < low <= 0
    assert 17.7 <= high < 21
    press(page, "steps")
    assert page.evaluate(SHOWN) == before
    assert page.evaluate(layout) == ["Training step", "step"]


def test_a_click_on_an_event_says_its_step(drawn):
    page = drawn(curves(recorded(3), events=EVENTS))
    page.mouse.move(*spot(page, "events", 0))
    page.wait_for_timeout(200)
    assert "layers.0: units died, step 120" in page.locator(".hoverlayer").text_content()
    page.mouse.click(*spot(page, "events", 0))
    page.wait_for_timeout(500)
    assert page.evaluate("() => window.clicked.points[0].customdata") == {"step": 120, "event": 0}
    assert page.evaluate("() => document.getElementById('plot').layout.meta.events[0].says") == "units died"


def test_hover_names_the_axis_that_is_shown(drawn):
    page = drawn(curves(recorded(1)))
    press(page, "examples")
    page.mouse.move(*spot(page, "mean", 30))
    page.wait_for_timeout(200)
    assert "Training examples seen: 19,200" in page.locator(".hoverlayer").text_content()


def test_a_click_on_a_name_shows_that_arm_alone_and_another_click_all_again(drawn):
    page = drawn(curves(recorded(11), events=EVENTS))
    page.locator(".legendtoggle").nth(4).click()
    page.wait_for_timeout(600)
    shown = [trace for trace in page.evaluate(SHOWN) if trace["visible"] is True]
    assert {trace["name"] for trace in shown if trace["group"]} == {"arm 6"}
    assert [trace["meta"] for trace in shown if not trace["group"]].count("events") == 1
    page.locator(".legendtoggle").nth(4).click()
    page.wait_for_timeout(600)
    assert all(trace["visible"] is True for trace in page.evaluate(SHOWN))


def test_a_hundred_thousand_points_are_drawn_within_half_a_second_and_a_zoom_shows_the_spike(drawn):
    values = np.random.default_rng(0).normal(0, 0.3, 100_000) + np.sin(np.arange(100_000) / 9_000)
    values[54_321] = 9
    page = drawn(curves(xr.DataArray(values, dims="step"), smooth=301))
    again = "() => { const s = performance.now(); return Plotly.redraw('plot').then(() => performance.now() - s); }"
    assert min(page.evaluate(again) for _ in range(3)) < 500
    page.evaluate("() => Plotly.relayout('plot', {'xaxis.range': [54300, 54340]})")
    inside = [
        (x, y)
        for trace in page.evaluate(
            "() => document.getElementById('plot')._fullData.map(t => [Array.from(t.x), Array.from(t.y)])"
        )
        for x, y in zip(*trace)
        if 54_300 <= x <= 54_340
    ]
    assert (54_321, 9) in inside
