"""Looking into models in a real JupyterLab: every tab is opened, every picture drawn, a unit, a slider and a token moved."""

import json

import pytest
from lab_server import CONNECTED, ERRORS, READY, RUN_ALL, SHUT_DOWN

pytestmark = pytest.mark.browser
PREPARED = """
import torch
from torch import nn
torch.set_num_threads(1)
torch.manual_seed(0)
from labkit import HistoryView, ModelView, load, pretrained, watch

class Mixture(nn.Module):
    def __init__(self, width, experts=4, top_k=2):
        super().__init__()
        self.top_k, self.gate = top_k, nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, width)) for _ in range(experts)
        )

    def forward(self, x):
        weights, chosen = self.gate(x).softmax(-1).topk(self.top_k, -1)
        every = torch.stack([expert(x) for expert in self.experts], -2)
        return x + (every.gather(-2, chosen[..., None].expand(*chosen.shape, x.shape[-1])) * weights[..., None]).sum(-2)

digits, reader, alice = load("digits"), pretrained("digits CNN"), pretrained("Alice")
x, labels = digits.test_x.flatten(1)[:120], digits.test_y[:120]
mine = nn.Sequential(nn.Linear(64, 24), nn.ReLU(), Mixture(24), Mixture(24), nn.Linear(24, 10))
optimizer = torch.optim.Adam(mine.parameters(), 1e-2)
with watch(mine, optimizer=optimizer, probe=x[:40], every=2) as watching:
    for _ in range(24):
        nn.functional.cross_entropy(mine(x), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
"""
CELLS = (
    PREPARED,
    "cnn = ModelView(reader.model, tuple(part[:60] for part in reader.batch), images=reader.images[:60]); cnn",
    "text = ModelView(alice.model, tuple(part[:4] for part in alice.batch), texts=alice.texts[:4]); text",
    "mixture = ModelView(mine, (x, labels), images=digits.images(range(120))); mixture",
    "past = HistoryView(watching.history); past",
)
HEARD = "([plot, before]) => plot.getAttribute('aria-label') !== before"


def notebook() -> str:
    cells = [
        {"cell_type": "code", "id": f"c{at}", "metadata": {}, "outputs": [], "execution_count": None, "source": source}
        for at, source in enumerate(CELLS)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


def seen(page, cell):
    """The open part of a cell, where tabs hide the others."""
    tabs = cell.locator(".widget-tab-contents > .lm-Widget:not(.lm-mod-hidden)")
    return tabs.first if tabs.count() else cell


def turn_through(page, cell) -> list[str]:
    """Turn to every picture of a book and wait until each is drawn; the names."""
    names, place = [], seen(page, cell)
    chapters, view = place.locator(".widget-toggle-buttons").first.locator("button"), place.locator("select").first
    for chapter in range(chapters.count()):
        before, options = alt(place), view.inner_text()
        chapters.nth(chapter).click()
        if chapter:
            changed = "([select, before]) => select.innerText !== before"
            page.wait_for_function(changed, arg=[view.element_handle(), options], timeout=10_000)
            heard(page, place, before)
        for number, name in enumerate(view.locator("option").all_inner_texts()):
            before = alt(place)
            if number:
                view.select_option(label=name)
                heard(page, place, before)
            plot(place).locator(".main-svg").first.wait_for()
            assert place.locator("[role=alert]").count() == 0, name
            assert len(alt(place)) > 20, name
            names.append(name.replace("\xa0", " "))
    return names


def heard(page, place, before: str) -> None:
    """Wait until another picture is drawn than the one with these words."""
    page.wait_for_function(HEARD, arg=[plot(place).element_handle(), before], timeout=10_000)


def plot(place):
    return place.locator(".js-plotly-plot:visible").first


def alt(place) -> str:
    return plot(place).get_attribute("aria-label") or ""


def turn_to(page, cell, name: str):
    cell.get_by_role("tab", name=name).click()
    place = seen(page, cell)
    place.locator("select, .js-plotly-plot").first.wait_for()
    assert place.locator("[role=alert]").count() == 0, name
    return place


def test_models_are_looked_into_tab_by_tab_and_picture_by_picture(lab, page, tmp_path):
    (tmp_path / "work" / "looking.ipynb").write_text(notebook(), encoding="utf-8")
    page.goto(f"{lab}/lab/tree/looking.ipynb?reset", wait_until="domcontentloaded")
    page.wait_for_function(READY)
    page.evaluate(CONNECTED)
    try:
        page.evaluate(RUN_ALL)
        assert page.evaluate(ERRORS) == []
        cnn, text, mixture, past = (page.locator(".jp-CodeCell").nth(at) for at in (1, 2, 3, 4))

        cnn.scroll_into_view_if_needed()
        plot(cnn).wait_for()
        assert {"Map of units", "Idle units", "Active fraction", "Active together"} <= set(turn_through(page, cnn))
        place = turn_to(page, cnn, "Units")
        before = alt(place)
        place.get_by_role("button", name="weaker").click()
        heard(page, place, before)
        place = turn_to(page, cnn, "Thresholds")
        place.get_by_role("button", name="Measure").click()
        plot(place).wait_for(timeout=40_000)
        plot(place).locator(".main-svg").first.wait_for()
        handle = place.locator(".noUi-handle, .slider-grip-rect").first
        handle.scroll_into_view_if_needed()
        shown = plot(place).evaluate("plot => JSON.stringify(plot.layout.sliders?.[0]?.active ?? 0)")
        grip = handle.bounding_box()
        page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
        page.mouse.down()
        page.mouse.move(grip["x"] + 260, grip["y"] + grip["height"] / 2, steps=6)
        page.mouse.up()
        page.wait_for_function(
            "([plot, before]) => JSON.stringify(plot.layout.sliders?.[0]?.active ?? 0) !== before",
            arg=[plot(place).element_handle(), shown],
            timeout=10_000,
        )
        place = turn_to(page, cnn, "Weights")
        place.locator("canvas").first.wait_for()
        place.get_by_role("button", name="zeros").click()
        plot(place).locator(".main-svg").first.wait_for()

        text.scroll_into_view_if_needed()
        assert "Distribution" in turn_through(page, text)
        place = turn_to(page, text, "Units")
        place.get_by_text("Where it answers most").wait_for()
        place.get_by_role("button", name="weaker").click()
        place = turn_to(page, text, "Attention")
        place.locator("canvas").first.wait_for()

        mixture.scroll_into_view_if_needed()
        assert {"Tokens", "Load", "Balance", "Specialisation", "Flow between layers"} <= set(
            turn_through(page, mixture)
        )
        place = turn_to(page, mixture, "What if")
        place.get_by_text("Token 0 in 2.gate").wait_for()
        place.locator(".js-plotly-plot").nth(1).wait_for()
        click_token(page, plot(place), 7, 1)
        place.get_by_text("Token 7 in 3.gate").wait_for(timeout=10_000)

        past.scroll_into_view_if_needed()
        assert {"Distribution", "Load", "Routers", "Gradients", "Updates"} <= set(turn_through(page, past))
        assert page.errors == []
        assert page.outside == []
    finally:
        page.evaluate(SHUT_DOWN)


def click_token(page, strip, token: int, row: int) -> None:
    """Click the cell of a token in a row of the strip."""
    strip.scroll_into_view_if_needed()
    place = strip.evaluate(
        """(plot, [token, row]) => {
            const frame = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;
            return {x: frame.left + xaxis._offset + xaxis.d2p(token), y: frame.top + yaxis._offset + yaxis.r2p(row)};
        }""",
        [token, row],
    )
    page.mouse.move(place["x"], place["y"])
    page.mouse.click(place["x"], place["y"])
