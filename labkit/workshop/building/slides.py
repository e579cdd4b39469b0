"""Slides of a notebook as one HTML file without a network: nbconvert chooses the cells, reveal.js turns the pages.

nbconvert's own template loads reveal.js, RequireJS, jQuery, Mermaid and MathJax from CDNs. Here the same cells go into a page
that carries what it needs: reveal.js and KaTeX as Panel brings them. A notebook says by its slide types what is a slide; a
cell without one is not shown.
"""

import copy
import html
import re
from typing import Any

from labkit.workshop.building.cells import INSTRUCTOR, SOLUTION, Notebook, tags, title
from labkit.workshop.building.typeset import formulas_script, from_panel, in_script, page

TYPES = ("slide", "subslide", "fragment", "-", "notes")
LIVE = "application/vnd.jupyter.widget-view+json"
ALIVE = '<p class="live">A live picture: open the notebook and run this cell.</p>'
TEMPLATE = """{% extends 'reveal/base.html.j2' %}
{% block input_group %}<div class="code">{{ cell.source | highlight_code(metadata=cell.metadata) }}</div>{% endblock %}
{% block body_header %}{% endblock %}{% block body_footer %}{% endblock %}
{% block header %}{% endblock %}{% block footer %}{% endblock %}"""


def slides(notebook: Notebook) -> str:
    """The slides as one HTML page. A notebook without slide types gives a slide for every heading with what follows it."""
    from jinja2 import DictLoader
    from nbconvert import SlidesExporter

    exporter = SlidesExporter(
        extra_loaders=[DictLoader({"labkit_slides.html.j2": TEMPLATE})], template_file="labkit_slides.html.j2"
    )
    chosen = on_slides(notebook)
    body, _ = exporter.from_notebook_node(chosen)
    theme = from_panel("reveal.js@*/dist/theme/white.css")
    return page(
        "slides.html",
        TITLE=html.escape(title(notebook)),
        REVEAL=from_panel("reveal.js@*/dist/reveal.min.css"),
        THEME=re.sub(r"@import[^;]+;", "", theme),
        SLIDES=body,
        SCRIPT=in_script(from_panel("reveal.js@*/dist/reveal.min.js")),
        FORMULAS=in_script(formulas_script()) if "$" in body else "",
    )


def on_slides(notebook: Notebook) -> Notebook:
    """The notebook with the cells that are shown, each with its slide type and with nothing that needs a kernel."""
    made = copy.deepcopy(notebook)
    made.cells = [cell for cell in made.cells if not {SOLUTION, INSTRUCTOR} & set(tags(cell))]
    if not any(slide_type(cell) for cell in made.cells):
        for cell in made.cells:
            heads = cell.cell_type == "markdown" and cell.source.lstrip().startswith("#")
            cell.metadata["slideshow"] = {"slide_type": "slide" if heads else "-"}
    made.cells = [cell for cell in made.cells if slide_type(cell) in TYPES]
    for cell in made.cells:
        cell.source = (
            re.sub(r"(?s)<details[^>]*>.*?</details>\s*", "", cell.source)
            if cell.cell_type == "markdown"
            else cell.source
        )
        if cell.cell_type == "code":
            cell.outputs = [one for output in cell.outputs for one in _still(output)]
    return made


def slide_type(cell: Any) -> str:
    return str(cell.metadata.get("slideshow", {}).get("slide_type", ""))


def _still(output: Any) -> list[Any]:
    """An output that a page can hold; a sentence in the place of one that needs a kernel or much room."""
    if output.output_type == "stream":
        return [output] if output.name == "stdout" else []
    if output.output_type == "error":
        return []
    data = output.data
    if LIVE in data or "application/vnd.plotly.v1+json" in data:
        output.data = type(data)({"text/html": ALIVE})
    return [output]
