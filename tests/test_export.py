"""Pictures taken away: one page of several, files by their ending, the numbers of a figure, the other theme's colours."""

import csv
import io
import json
import re
import struct

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr
from views_walk import draws_a_figure, view_modules, view_of

from labkit.errors import LabError
from labkit.views.claims import claims
from labkit.views.heatmap import example as heatmap_example
from labkit.views.heatmap import heatmap
from labkit.views.specimen import grown
from labkit.views.theme import DARK, LIGHT, styled
from labkit.widgets.array_explorer import ArrayExplorer
from labkit.widgets.cursor import Cursor
from labkit.widgets.export import export_figure, export_page
from labkit.widgets.lite_figure import LiteFigure
from labkit.widgets.marked import provenance_of
from labkit.widgets.numbers_of import csv_text, numbers_of
from labkit.widgets.recolor import counterparts, every, exchanged, recolored


def scrubbed() -> xr.DataArray:
    """Load of the leaves of a trained tree by step, level and leaf."""
    run = grown(0)
    return xr.DataArray(run.load[:, None].repeat(2, 1), dims=("step", "row", "choice"), coords={"step": run.steps})


def rows_of(figure: go.Figure) -> list[dict]:
    return list(csv.DictReader(io.StringIO(csv_text(numbers_of(figure)))))


# Numbers


def test_a_heat_map_has_a_row_for_each_cell():
    data = heatmap_example()["data"]
    rows = rows_of(heatmap(data))
    assert len(rows) == data.size
    assert list(rows[0]) == ["trace", "x", "y", "value"]
    found = np.array([float(row["value"]) for row in rows]).reshape(data.shape)
    assert np.allclose(found, data.values, rtol=1e-6)
    assert (rows[62]["x"], rows[62]["y"]) == ("2", "1")


def test_a_figure_with_frames_has_all_of_them_with_their_labels():
    data = scrubbed()
    rows = rows_of(heatmap(data))
    steps = list(dict.fromkeys(row["frame"] for row in rows))
    assert len(steps) > 5
    assert {int(step.replace(",", "")) for step in steps} <= set(data.step.values.tolist())
    at = [float(row["value"]) for row in rows if row["frame"] == "300"]
    assert np.allclose(at, data.sel(step=300).values.ravel(), rtol=1e-6)


def test_lines_bars_flows_and_gaps_are_rows():
    figure = go.Figure(
        [
            go.Scatter(x=[1, 2], y=[0.1, None], name="a<br>b &amp; c"),
            go.Bar(y=np.array([3.0, np.nan], dtype=np.float32)),
            go.Sankey(node={"label": ["in", "out"]}, link={"source": [0], "target": [1], "value": [5]}),
        ]
    )
    assert numbers_of(figure)[1:] == [
        ["a b & c", 1, 0.1, None],
        ["a b & c", 2, None, None],
        ["trace 2", 0, 3.0, None],
        ["trace 2", 1, pytest.approx(np.nan, nan_ok=True), None],
        ["trace 3", "in", "out", 5],
    ]
    assert csv_text([["a,b", None, np.nan, 'say "x"']]) == '"a,b",,,"say ""x"""\n'


def test_numbers_of_32_bits_are_as_short_as_they_can_be():
    figure = go.Figure(go.Scatter(y=np.array([0.1], np.float32)))
    assert numbers_of(go.Figure(json.loads(figure.to_json())))[1][2] == 0.1


# The other theme


def test_every_colour_has_one_counterpart_and_comes_back():
    for dark in (False, True):
        old = LIGHT if dark else DARK
        twice = [one for one in every(old) if every(old).count(one) > 1]
        assert not twice, "two uses of one colour could not be told apart"
        for color in every(old):
            assert exchanged(exchanged(color, dark), not dark).upper() == color.upper()
    assert exchanged("rgba(0, 114, 178, 0.2)", True) == "rgba(86, 180, 233, 0.2)"
    assert exchanged("rgb(1, 2, 3)", True) == "rgb(1, 2, 3)"
    assert len(counterparts(True)) == len(every(LIGHT))


def colors_and_all(figure: go.Figure) -> dict:
    return json.loads((figure.to_json() or "").lower())


def test_an_exchanged_figure_is_the_one_that_the_view_draws():
    data = heatmap_example()["data"]
    light, dark = heatmap(data), heatmap(data, dark=True)
    assert colors_and_all(recolored(light, True)) == colors_and_all(dark)
    assert colors_and_all(recolored(dark, False)) == colors_and_all(light)
    assert recolored(light, False) is light
    foreign = go.Figure(go.Bar(y=[1]))
    assert recolored(foreign, True) is foreign


# One page


def test_a_page_holds_everything_and_asks_for_nothing(tmp_path):
    data = heatmap_example()["data"]
    cursor = Cursor(step=3)
    pictures = {
        "Drawn for both": lambda dark: heatmap(data, dark=dark),
        "A figure <b>": heatmap(data),
        "Linked": LiteFigure(heatmap(data), cursor=cursor),
        "Text": lambda dark: claims(
            [{"says": "A", "rule": "B", "measured": "1", "verdict": "shown", "seeds": 2}], dark=dark
        ),
        "Array": ArrayExplorer(data),
        "Just numbers": data,
    }
    path = tmp_path / "page.html"
    text = export_page(pictures, path, title="A & B", says="Six.", provenance={"commit": "abc"})
    assert path.read_text(encoding="utf-8") == text
    assert text.count("<section data-kind=") == 6
    assert text.count('id="plotly"') == 1, "the drawing library is there once"
    assert "A figure &lt;b&gt;" in text
    assert "<title>A &amp; B</title>" in text
    assert not re.search(r'(src|href)="(https?:)?//', text)
    assert '"step": 3' in text
    assert provenance_of(path) == {"commit": "abc"}
    assert len(text) < 2_700_000


def test_a_page_of_arrays_does_not_carry_the_drawing_library():
    assert 'id="plotly"' not in export_page([ArrayExplorer(np.eye(5))])


def test_without_scripts_a_page_still_has_words_and_numbers():
    data = heatmap_example()["data"]
    text = export_page([heatmap(data)])
    inside = text.split("<noscript>")[1].split("</noscript>")[0]
    assert "<caption>Heat map of" in inside
    assert "lab-numbers" in inside


@pytest.mark.parametrize(
    ("pictures", "says"), [([], "at least one picture"), ([3], "not int"), ([lambda dark: 3], "not int")]
)
def test_what_is_no_picture_is_refused_in_a_sentence(pictures, says):
    with pytest.raises(LabError, match=says):
        export_page(pictures)


# One file


def test_the_ending_chooses_the_format(tmp_path):
    figure = heatmap(**heatmap_example())
    assert export_figure(figure, tmp_path / "a.csv").read_text().startswith("trace,x,y,value\n")
    assert "<section" in export_figure(figure, tmp_path / "a.HTML").read_text()
    with pytest.raises(LabError, match=r"one of \.png, \.svg, \.html, \.csv, and not as 'a\.pdf'"):
        export_figure(figure, tmp_path / "a.pdf")
    with pytest.raises(LabError, match="saves a plotly figure, and got str"):
        export_figure("<p>", tmp_path / "a.csv")
    with pytest.raises(LabError, match="could not be written"):
        export_figure(figure, tmp_path / "nowhere" / "a.csv")


@pytest.mark.browser
def test_png_and_svg_are_drawn_and_say_where_they_come_from(tmp_path):
    figure = styled(go.Figure(go.Bar(y=[1, 2])), alt="Two bars", title="Bars", height=300)
    facts = {"commit": "abc", "seeds": [0, 1]}
    png = export_figure(lambda dark: figure, tmp_path / "a.png", width=400, provenance=facts)
    assert struct.unpack(">II", png.read_bytes()[16:24]) == (800, 600)
    assert provenance_of(png) == {"title": "Bars", "alt": "Two bars", **facts}
    from PIL import Image

    with Image.open(png) as picture:
        picture.load()
        assert picture.getpixel((5, 5))[:3] == (255, 255, 255)
    svg = export_figure(figure, tmp_path / "a.svg", dark=True, provenance=facts)
    assert provenance_of(svg)["alt"] == "Two bars"
    assert "rgb(20, 23, 28)" in svg.read_text(), "the dark version has the dark surface"


def test_without_a_browser_a_sentence_says_what_to_do(tmp_path, monkeypatch):
    import kaleido

    class ChromeNotFoundError(RuntimeError):
        pass

    def missing(*_args, **_more):
        raise ChromeNotFoundError("no browser")

    monkeypatch.setattr(kaleido, "calc_fig_sync", missing)
    with pytest.raises(LabError, match=r"none was found: install Chromium or Chrome, or save as \.html\."):
        export_figure(go.Figure(), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_says_nothing_is_a_sentence(tmp_path):
    (tmp_path / "a.svg").write_text("<svg></svg>")
    with pytest.raises(LabError, match="does not say where it comes from"):
        provenance_of(tmp_path / "a.svg")
    with pytest.raises(LabError, match="could not be read"):
        provenance_of(tmp_path / "b.png")


@pytest.mark.parametrize("name", [name for name, module in view_modules().items() if draws_a_figure(module)])
def test_the_numbers_of_every_view_come_out(name):
    module = view_modules()[name]
    figure = view_of(module)(**module.example(0))
    rows = numbers_of(figure)
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}
    assert csv_text(rows)
