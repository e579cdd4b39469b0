"""The views of activations in a real browser: sliders move what they say, painted text speaks by keyboard."""

import json
from pathlib import Path

import plotly
import pytest

from labkit.views import active_fraction, painted_text, tradeoff, unit_map

pytestmark = pytest.mark.browser


@pytest.fixture
def plot(page):
    """Draws a figure in a page 900 pixels wide."""
    page.set_content('<body style="margin:0"><div id="plot"></div></body>')
    page.add_script_tag(content=(Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text())

    def draw(figure):
        page.set_viewport_size({"width": 900, "height": int(figure.layout.height)})
        page.evaluate("([data]) => Plotly.newPlot('plot', data)", [json.loads(figure.to_json())])
        return page

    return draw


def slide(page, share: float) -> None:
    """Press the slider's rail at this share of its length."""
    box = page.locator(".slider-rail-touch-rect").bounding_box()
    page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
    page.wait_for_timeout(200)


def test_the_threshold_moves_the_map_and_the_bars_together(plot):
    given = active_fraction.example(0)
    page = plot(active_fraction.active_fraction(**given))
    slide(page, 1.0)
    bars = page.evaluate("() => Array.from(document.getElementById('plot')._fullData[1].x)")
    assert bars == pytest.approx((100 * given["data"].values[-1].mean(1)).tolist(), rel=1e-5)
    assert page.locator(".slider-label").first.text_content() == "active above 3"
    assert page.errors == []


def test_the_handle_moves_the_line_and_the_table_to_a_measured_level(plot):
    given = tradeoff.example(0)
    page = plot(tradeoff.tradeoff(**given))
    slide(page, 0.0)
    now = page.evaluate("() => document.getElementById('plot').data.find(one => one.name === 'numbers').text")
    whole = float(given["tradeoff"].sel({"method": "magnitude", "level": 0.0, "quantity": "accuracy"}))
    assert f"{100 * whole:.1f}\u00a0%" in now
    assert "silenced 0" in page.locator(".slider-label").first.text_content()
    assert page.errors == []


def test_the_rows_of_the_unit_map_count_their_silent_units_at_every_step(plot):
    page = plot(unit_map.unit_map(**unit_map.example(0)))
    last = page.locator(".ytick").all_text_contents()
    slide(page, 0.0)
    assert page.locator(".ytick").all_text_contents() != last
    assert all("silent" in one for one in page.locator(".ytick").all_text_contents())


def test_the_tab_key_shows_the_value_of_a_token(page):
    page.set_content(painted_text.painted_text(**painted_text.example(0)))
    page.keyboard.press("Tab")
    shown = page.evaluate("() => getComputedStyle(document.activeElement, '::after').content")
    title = page.evaluate("() => document.activeElement.title")
    assert title
    assert shown == f'"{title}"'


@pytest.mark.parametrize("dark", [False, True])
def test_painted_text_is_readable_as_it_is_rendered(page, dark):
    page.set_content(painted_text.painted_text(**painted_text.example(0), dark=dark))
    pairs = page.evaluate("""() => [...document.querySelectorAll('.lab-text .t')].map(one => {
      const style = getComputedStyle(one), ground = getComputedStyle(document.querySelector('.lab-text')).backgroundColor;
      return [style.color, style.backgroundColor === 'rgba(0, 0, 0, 0)' ? ground : style.backgroundColor];
    })""")
    assert len({tuple(pair) for pair in pairs}) > 4
    assert min(contrast_of(*pair) for pair in pairs) >= 4.5


def contrast_of(one: str, other: str) -> float:
    def bright(color: str) -> float:
        parts = [int(part) / 255 for part in color[4:-1].split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((bright(one), bright(other)))
    return (high + 0.05) / (low + 0.05)


def test_painted_text_follows_the_theme_of_the_page(page):
    text = painted_text.painted_text(**painted_text.example(0))
    page.set_content(f'<div data-jp-theme-light="false">{text}</div>')
    assert (
        page.evaluate("() => getComputedStyle(document.querySelector('.lab-text')).backgroundColor")
        == "rgb(20, 23, 28)"
    )
