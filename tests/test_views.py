"""What every view promises, checked on each module of labkit/views that has an `example`."""

import importlib
import json
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache

import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest
import xarray as xr
from views_walk import draws_a_figure, view_modules, view_of

from labkit.errors import LabError
from labkit.views import theme
from labkit.views.alternative import table
from labkit.views.theme import BUDGET, FONT, alt_text, look, payload

VIEWS = {name: (view_of(module), module.example) for name, module in view_modules().items()}
FIGURES = [name for name, module in view_modules().items() if draws_a_figure(module)]
COLOR = re.compile(r"#[0-9A-Fa-f]{6}\b|rgba?\([^)]*\)")


@cache
def drawn(name: str, dark: bool = False, seed: int = 0) -> go.Figure:
    """The view of its example; shared by the tests, which only read it."""
    view, example = VIEWS[name]
    return view(**example(seed), dark=dark)


def walk(node: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Every value of a figure's JSON with the key it stands under."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from walk(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value, key)
    else:
        yield key, node


def huge(name: str) -> dict:
    """As much data as anybody will record, from tests/huge/; broadcast where the content does not matter."""
    return importlib.import_module(f"huge.{name}").huge()


def test_the_walk_finds_the_views():
    assert {"curves", "tree", "usage", "hardening", "latency", "images", "heatmap", "claims", "show"} <= set(VIEWS)
    assert "claims" not in FIGURES


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_leaves_its_input_alone_and_says_the_same_twice(name):
    view, example = VIEWS[name]
    given = example(0)
    kept = deepcopy(given)
    first, second = view(**given), view(**given)
    assert as_text(first) == as_text(second)
    for key, value in given.items():
        if isinstance(value, xr.DataArray):
            xr.testing.assert_identical(value, kept[key])
        else:
            assert value == kept[key]


def as_text(result: go.Figure | str) -> str:
    return result if isinstance(result, str) else str(result.to_json())


@pytest.mark.parametrize("name", FIGURES)
def test_the_alt_text_is_made_of_the_numbers(name):
    text = alt_text(drawn(name))
    assert len(text) > 40
    assert re.search(r"\d", text)
    assert text != alt_text(drawn(name, seed=1)), "other data must give another text"
    assert "nan" not in text.lower().split()
    assert alt_text(drawn(name, dark=True)) == text


@pytest.mark.parametrize("name", FIGURES)
def test_however_large_the_recording_the_figure_stays_in_its_budget(name):
    figure = VIEWS[name][0](**huge(name))
    assert payload(figure) <= BUDGET
    assert payload(figure) == len(figure.to_json().encode())


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", FIGURES)
def test_all_colors_are_of_the_theme(name, dark):
    colors = look(dark)
    known = {
        colors.surface,
        colors.ink,
        colors.muted,
        colors.grid,
        *colors.series,
        *colors.sequential,
        *colors.diverging,
    }
    known |= {"#000000", "#FFFFFF"} if name == "images" else set()  # grey images are shown as they are
    clear = {re.sub(r", [\d.]+\)$", "", theme.faded(color, 0.5)) for color in known} | {"rgba(0, 0, 0"}
    for _, value in walk(json.loads(drawn(name, dark).to_json())):
        for color in COLOR.findall(value) if isinstance(value, str) else []:
            base = re.sub(r", [\d.]+\)$", "", color)
            assert color in known or base in clear, f"{color} is not of the theme"


@pytest.mark.parametrize("name", FIGURES)
def test_light_and_dark_differ_in_color_only(name):
    light, dark = (json.loads(drawn(name, dark).to_json()) for dark in (False, True))
    assert light["layout"]["template"]["layout"]["paper_bgcolor"] == theme.LIGHT.surface
    assert dark["layout"]["template"]["layout"]["paper_bgcolor"] == theme.DARK.surface

    def without(node):
        return [(key, value) for key, value in walk(node) if not (isinstance(value, str) and COLOR.fullmatch(value))]

    assert without(light) == without(dark)


@pytest.mark.parametrize("name", FIGURES)
def test_one_font_in_sizes_that_a_projector_shows(name):
    values = list(walk(json.loads(drawn(name).to_json())))
    assert {value for key, value in values if key == "family"} == {FONT}
    sizes = fonts(json.loads(drawn(name).to_json()))
    assert sizes
    assert min(sizes) >= 12


def fonts(node: object, key: str = "") -> list[float]:
    if isinstance(node, list):
        return [size for value in node for size in fonts(value, key)]
    if not isinstance(node, dict):
        return []
    own = [node["size"]] if key.endswith("font") and isinstance(node.get("size"), int | float) else []
    return own + [size for name, value in node.items() for size in fonts(value, name)]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_survives_the_way_through_json(name):
    figure = drawn(name)
    back = plotly.io.from_json(figure.to_json())
    assert json.loads(back.to_json()) == json.loads(figure.to_json())
    assert alt_text(back) == alt_text(figure)
    assert table(back) == table(figure)


@pytest.mark.parametrize("name", FIGURES)
def test_labels_have_room(name):
    """What can be seen without a browser; tests/views/test_rendered.py draws them."""
    layout = json.loads(drawn(name).to_json())["layout"]
    assert layout["template"]["layout"]["xaxis"]["automargin"]
    assert layout["template"]["layout"]["yaxis"]["automargin"]
    assert not any(value.get("automargin") is False for key, value in layout.items() if key[1:5] == "axis")
    title = layout["title"]
    assert max(map(len, title["text"].split("<br>"))) <= 50
    assert max(map(len, title["subtitle"]["text"].split("<br>"))) <= 76
    lines = title["text"].count("<br>") + title["subtitle"]["text"].count("<br>") + 2
    assert layout["margin"]["t"] >= 19 * lines


@pytest.mark.parametrize("name", FIGURES)
def test_the_numbers_are_there_as_a_table(name):
    text = table(drawn(name))
    assert text.startswith('<table class="lab-numbers"><caption>')
    if name != "images":
        assert text.count("<td>") >= 4


def wrong_inputs() -> Iterator[tuple[str, str, str]]:
    for name in FIGURES:
        given = VIEWS[name][1](0)
        for key, value in given.items():
            if isinstance(value, xr.DataArray) and name != "show":
                yield name, key, "other axes"
                yield name, key, "not an array"
                if name != "images":  # one side of a node may be empty, and bytes know no missing value
                    yield name, key, "empty"
                    yield name, key, "missing"


@pytest.mark.parametrize(("name", "key", "fault"), list(wrong_inputs()))
def test_wrong_input_is_refused_in_a_sentence(name, key, fault):
    view, example = VIEWS[name]
    given = example(0)
    good = given[key]
    given[key] = {
        "other axes": lambda: good.rename({dim: f"odd_{place}" for place, dim in enumerate(good.dims)}).expand_dims(
            more=2, odder=3
        ),
        "not an array": lambda: [1, 2, 3],
        "empty": lambda: good.isel({good.dims[-1]: slice(0)}),
        "missing": lambda: good * np.nan,
    }[fault]()
    with pytest.raises(LabError) as caught:
        view(**given)
    text = str(caught.value)
    assert text.startswith(view.__name__)
    assert text.endswith(".")
    if fault == "other axes":
        assert "odd_0" in text
        assert any(str(dim) in text for dim in good.dims) or name == "heatmap"
    if fault == "not an array":
        assert "list" in text
