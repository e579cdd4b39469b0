"""The first ten minutes of a newcomer, in a real JupyterLab: run all cells, move the slider, click a node."""

import json
import time

import pytest
from lab_server import CONNECTED, ERRORS, KERNEL_SAYS, READY, RUN_ALL, SHUT_DOWN

pytestmark = pytest.mark.browser
DRAWN = "plot => JSON.stringify(plot.data.map(trace => [trace.name, trace.marker?.size, trace.marker?.color]))"
PICTURES = "plot => [...plot.querySelectorAll('.hm image')].map(image => image.href.baseVal).filter(Boolean)"
CHANGED = f"([plot, before]) => ({DRAWN})(plot) !== before"


def test_a_newcomer_runs_the_first_notebook_moves_the_slider_and_clicks_a_node(lab, page):
    page.goto(f"{lab}/lab/tree/notebooks/00_start_here.ipynb?reset", wait_until="domcontentloaded")
    page.wait_for_function(READY)
    page.evaluate(CONNECTED)
    try:
        page.evaluate(RUN_ALL)
        assert page.evaluate(ERRORS) == []

        cell = page.locator(".jp-CodeCell", has_text="TreeExplorer(")
        cell.scroll_into_view_if_needed()
        plots = cell.locator(".js-plotly-plot")
        tree = plots.first
        tree.wait_for()
        tree.locator(".main-svg").first.wait_for()

        before = tree.evaluate(DRAWN)
        handle = cell.locator(".noUi-handle").first
        handle.focus()
        for _ in range(5):
            handle.press("ArrowLeft")
        page.wait_for_function(CHANGED, arg=[tree.element_handle(), before], timeout=10_000)

        images = plots.nth(1)
        images.wait_for()
        at_the_root = images.get_attribute("aria-label") or images.inner_text()
        assert "ode 0 sends" in at_the_root
        first = images.evaluate(PICTURES)
        assert first
        click_node(page, tree, 2)
        page.wait_for_function(
            "plot => plot.textContent.includes('Node 2 ')", arg=images.element_handle(), timeout=10_000
        )
        seen = images.evaluate(PICTURES)
        assert seen
        assert seen != first
        assert page.errors == []
        assert page.outside == []
    finally:
        page.evaluate(SHUT_DOWN)


def click_node(page, tree, node: int) -> None:
    """Click where this node is drawn."""
    place = tree.evaluate(
        """(plot, node) => {
            const frame = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;
            for (const trace of plot._fullData) {
                for (let at = 0; at < (trace.customdata?.length ?? 0); at++) {
                    const own = trace.customdata[at];
                    if (own?.length && own[0] === node) return {
                        x: frame.left + xaxis._offset + xaxis.d2p(trace.x[at]),
                        y: frame.top + yaxis._offset + yaxis.d2p(trace.y[at])};
                }
            }
            return null;
        }""",
        node,
    )
    assert place, f"node {node} is not drawn"
    page.mouse.move(place["x"], place["y"])
    page.mouse.click(place["x"], place["y"])


LINKED = """
import numpy as np, xarray as xr
from IPython.display import display
from labkit.views.heatmap import heatmap
from labkit.views.specimen import grown
from labkit.views.theme import styled
from labkit.widgets.array_explorer import ArrayExplorer
from labkit.widgets.cursor import Cursor
from labkit.widgets.lite_figure import LiteFigure

run = grown(0)
data = xr.DataArray(run.load, dims=("step", "choice"), coords={"step": run.steps}, attrs={"long_name": "load"})
cursor, heard = Cursor(), []
def draw(dark):
    figure = heatmap(data.rename(step="time"), dark=dark)
    return figure.update_layout(meta={**figure.layout.meta, "axes": {"x": "choice", "y": "step"}})
explorer = ArrayExplorer(data, cursor=cursor)
explorer.on_cell(lambda place, value: heard.append((place, value)))
display(explorer, LiteFigure(draw, cursor=cursor))
"""


def test_an_array_and_a_figure_share_a_cursor_through_the_kernel(lab, page, tmp_path):
    cell = {
        "cell_type": "code",
        "id": "linked",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
        "source": LINKED,
    }
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    book = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "work" / "linked.ipynb").write_text(json.dumps(book), encoding="utf-8")
    page.goto(f"{lab}/lab/tree/linked.ipynb?reset", wait_until="domcontentloaded")
    page.wait_for_function(READY)
    page.evaluate(CONNECTED)
    try:
        page.evaluate(RUN_ALL)
        assert page.evaluate(ERRORS) == []
        canvas = page.locator("canvas.labkit-array-canvas")
        page.wait_for_function(
            "() => document.querySelector('canvas')?.getAttribute('aria-label')?.includes('mean is')"
        )
        page.locator(".labkit-figure .main-svg").first.wait_for()
        canvas.focus()
        page.keyboard.press("Control+Home")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Home")
        page.wait_for_function("() => /: [0-9]/.test(document.querySelector('.labkit-array-status')?.textContent)")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('.labkit-figure-cursor')?.childElementCount > 0")
        told = "print(cursor.places, len(heard), bool(heard) and heard[0][1] == float(data[0, 0]))"
        assert says(page, told, "{'step': 0, 'choice': 0} 1 True")
        figure = page.locator(".labkit-figure")
        figure.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("() => document.querySelector('.labkit-array-status')?.textContent.includes('leaf 1')")
        assert says(page, "print(cursor.places)", "{'step': 0, 'choice': 1}")
        assert page.errors == []
        assert page.outside == []
    finally:
        page.evaluate(SHUT_DOWN)


def says(page, code: str, expected: str, seconds: float = 10) -> bool:
    """Whether the kernel comes to say this: what the browser tells it arrives a moment later."""
    end = time.monotonic() + seconds
    while (said := page.evaluate(KERNEL_SAYS, code)) != expected and time.monotonic() < end:
        time.sleep(0.1)
    return said == expected
