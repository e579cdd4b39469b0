"""The site works from a file with the network off: its pictures are drawn, and what needs Python says so."""

import json

import nbformat
import pytest

from labkit.workshop.building import cells
from labkit.workshop.building import site as sites

FIRST = """
import ipywidgets, torch, xarray as xr
from labkit.views.curves import curves
from labkit.widgets.array_explorer import ArrayExplorer
from labkit.workshop.picture import picture

axes = {"arm": ["one", "two"], "step": range(5)}
values = xr.DataArray(torch.rand(2, 5), dims=("arm", "step"), coords=axes, attrs={"long_name": "loss"})
picture(curves, values)
"""
CELLS = {
    "a-figure": FIRST.strip(),
    "an-array": 'ArrayExplorer(xr.DataArray(torch.rand(3, 6, 8), dims=("layer", "row", "column"), name="noise"))',
    "a-study": 'from labkit import StudyView\n\nStudyView("fast_feedforward")',
    "a-control": "ipywidgets.VBox([ipywidgets.HTML('<b>said</b>'), ipywidgets.Button(description='Press')])",
    "a-slider": "ipywidgets.IntSlider()",
    "plain-plotly": "import plotly.graph_objects as go\n\ngo.Figure(go.Scatter(y=[1, 3, 2]))",
    "printed": 'print("x < y & z")',
    "an-error-text": "'<script>document.title = \"broken\"</script>'",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Two small notebooks as a site; one of them stops."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "01_first").mkdir()
    title = nbformat.v4.new_markdown_cell(
        "# First\n\nWhat it is about. More.\n\n$$y = \\sum_i x_i$$ Go to [the second](../02_second/two.ipynb).",
        id="title",
    )
    made = [title, *(nbformat.v4.new_code_cell(source, id=name) for name, source in CELLS.items())]
    made.append(nbformat.v4.new_code_cell("answer = 42", id="solution-one", metadata={"tags": ["solution"]}))
    made.append(nbformat.v4.new_markdown_cell("For the teacher", id="teach", metadata={"tags": ["instructor"]}))
    (folder / "01_first" / "one.ipynb").write_text(
        cells.written(nbformat.v4.new_notebook(cells=made)), encoding="utf-8"
    )
    (folder / "02_second").mkdir()
    stops = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Second", id="title"), nbformat.v4.new_code_cell("1 / 0", id="it-stops")]
    )
    (folder / "02_second" / "two.ipynb").write_text(cells.written(stops), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "notebooks_folder", lambda: folder)
        patch.setenv("LABKIT_HOME", str(tmp_path_factory.mktemp("home")))
        return sites.site(folder.parent / "out", scale="smoke", jobs=2)


@pytest.mark.browser
def test_every_picture_is_drawn_without_a_network(site, page):
    page.context.set_offline(True)
    page.goto(site.index.as_uri())
    assert page.get_by_role("link", name="First").is_visible()
    assert "What it is about." in page.inner_text("main")
    page.get_by_role("link", name="First").click()
    page.locator("#a-figure .main-svg").first.wait_for()
    page.locator("#an-array").scroll_into_view_if_needed()
    page.locator("#an-array canvas").first.wait_for()
    page.locator("#a-study .lab-claims").scroll_into_view_if_needed()
    page.locator("#a-study .leaf:not([hidden]) .main-svg").first.wait_for()
    page.locator("#plain-plotly").scroll_into_view_if_needed()
    page.locator("#plain-plotly .main-svg").first.wait_for()
    assert page.locator("math").count() >= 1
    assert page.errors == []
    assert page.outside == []


@pytest.mark.browser
def test_a_book_is_turned_and_the_page_goes_dark(site, page):
    page.goto((site.index.parent / "01_first" / "one.html").as_uri())
    page.locator("#a-study select").scroll_into_view_if_needed()
    page.locator("#a-study select").select_option(index=1)
    page.locator("#a-study .leaf:not([hidden]) .main-svg").first.wait_for()
    page.get_by_role("button", name="Show the page dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Hide the code").click()
    assert not page.locator("#a-figure .code").is_visible()
    assert page.errors == []


@pytest.mark.browser
def test_what_needs_python_says_so_and_text_stays_text(site, page):
    page.goto((site.index.parent / "01_first" / "one.html").as_uri())
    for name in ("a-control", "a-slider"):
        assert "need Python" in page.inner_text(f"#{name}"), name
    assert "said" in page.inner_text("#a-control")
    assert "x < y & z" in page.inner_text("#printed")
    assert page.title() == "First · labkit"
    assert "For the teacher" not in page.content()
    assert not page.get_by_text("answer = 42").is_visible()
    page.get_by_text("A solution").click()
    assert page.get_by_text("answer = 42").is_visible()


@pytest.mark.browser
def test_a_notebook_that_stops_is_shown_as_far_as_it_came(site, page):
    assert len(site.failed) == 1
    assert "it-stops stopped with ZeroDivisionError" in site.failed[0]
    page.goto((site.index.parent / "01_first" / "one.html").as_uri())
    page.get_by_role("link", name="the second").click()
    assert "made without its end" in page.inner_text("main")
    assert "ZeroDivisionError" in page.inner_text("pre.error")


def test_the_library_of_figures_is_there_once(site):
    files = {
        path.relative_to(site.index.parent).as_posix(): path.stat().st_size for path in site.index.parent.rglob("*.*")
    }
    assert files["assets/plotly.js"] > 3_000_000
    assert all(size < 2_000_000 for name, size in files.items() if name.endswith(".html"))
    assert json.dumps(site.rows)
