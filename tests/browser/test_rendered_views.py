"""The pictures themselves, drawn by a browser: no text is cut off, and no two texts lie on each other."""

import json
from pathlib import Path

import numpy as np
import plotly
import pytest
import xarray as xr
from views_walk import draws_a_figure, view_modules, view_of

from labkit.views.curves import curves
from labkit.views.tree import tree

pytestmark = pytest.mark.browser
FAULTS = """() => {
  const frame = document.querySelector('.main-svg').getBoundingClientRect();
  const texts = [...document.querySelectorAll('.main-svg text')].map(t => [t.textContent.trim(), t.getBoundingClientRect()])
    .filter(([text, box]) => text && box.width > 0);
  const faults = texts.filter(([text, box]) => box.left < frame.left - 1 || box.right > frame.right + 1 ||
    box.top < frame.top - 1 || box.bottom > frame.bottom + 1).map(([text]) => 'cut off: ' + text);
  texts.forEach(([one, a], i) => texts.slice(i + 1).forEach(([other, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 2 && high > 3) faults.push('on each other: ' + one + ' | ' + other);
  }));
  return faults;
}"""


@pytest.fixture(scope="module")
def drawing(browser):
    """A page with plotly and an empty place."""
    opened = browser.new_page()
    opened.set_content('<body style="margin:0"><div id="plot"></div></body>')
    opened.add_script_tag(content=(Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text())
    yield opened
    opened.close()


def many_arms():
    random = np.random.default_rng(0)
    arms = [f"a mixture with a rather long name, {place} experts" for place in range(8)]
    level = np.linspace(0.5, 0.9, 8)[:, None, None]
    values = level * (1 - np.exp(-np.arange(60) / 9)) + random.normal(0, 0.01, (8, 4, 60))
    attrs = {"long_name": "accuracy on the held-out part of the data", "units": "fraction"}
    return curves(xr.DataArray(values, dims=("arm", "seed", "step"), coords={"arm": arms}, attrs=attrs))


def few_arms():
    random = np.random.default_rng(0)
    values = np.array([0.3, 0.6, 0.9])[:, None, None] + random.normal(0, 0.01, (3, 4, 60)).cumsum(-1) / 9
    arms = ["dense", "mixture of thirty-two experts, two chosen", "tree & <leaf>"]
    return curves(xr.DataArray(values, dims=("arm", "seed", "step"), coords={"arm": arms}), dark=True)


def deep_tree():
    random = np.random.default_rng(0)
    entropy, load = random.random((4, 2**9 - 1)), random.dirichlet(np.full(2**9, 0.2), 4)
    return tree(xr.DataArray(entropy, dims=("step", "node")), xr.DataArray(load, dims=("step", "choice")))


def of_example(module):
    """A view of its own example; every second one in the dark version."""

    def draw():
        name = module.__name__.rsplit(".", 1)[-1]
        return view_of(module)(**module.example(0), dark=len(name) % 2 == 1)

    return draw


PICTURES = {
    "curves of many arms": many_arms,
    "curves of few arms": few_arms,
    "deep tree": deep_tree,
    **{name: of_example(module) for name, module in view_modules().items() if draws_a_figure(module)},
}


@pytest.mark.parametrize("name", PICTURES)
def test_no_text_is_cut_off_or_on_top_of_another(drawing, name):
    figure = PICTURES[name]()
    for width in (900, 600):
        drawing.set_viewport_size({"width": width, "height": int(figure.layout.height)})
        drawing.evaluate("([data]) => Plotly.newPlot('plot', data)", [json.loads(figure.to_json())])
        assert drawing.evaluate(FAULTS) == [], f"at {width} pixels"
