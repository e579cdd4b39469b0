"""Shows a file that the catalogue links to: a module as its text, a notebook as its cells."""

import json
from html import escape
from pathlib import Path
from typing import Any

import panel as pn

from labkit.catalogue.evidence import PACKAGE, evidence
from labkit.dashboard.layout import Session, card, heading, html
from labkit.errors import LabError

ROOT = PACKAGE.parent


def known() -> set[str]:
    """The files that may be shown: those that a paper's page links to, and no others."""
    found = evidence()
    tables = (found.modules, found.studies, found.notebooks)
    return {place for table in tables for places in table.values() for place in places}


def cells(path: Path) -> list[Any]:
    """The cells of a notebook, in order."""
    shown = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            shown.append(pn.pane.Markdown(source, sizing_mode="stretch_width", margin=(0, 0, 8, 0)))
        else:
            shown.append(html(f'<pre tabindex="0"><code>{escape(source)}</code></pre>', margin=(0, 0, 12, 0)))
    return shown


def build(session: Session) -> list[Any]:
    """The contents of the page of the file in the address, `?file=labkit/...`."""
    place = session.arguments.get("file", "")
    if place not in known():
        raise LabError(f'The catalogue links to no file "{place}"; open the file from the page of its paper.')
    path = ROOT / place
    if path.suffix == ".ipynb":
        lead = (
            "The cells of this notebook. To run it, start JupyterLab with <code>./lab</code> and open the file there."
        )
        return [heading(place, lead, '<a href="./papers">Papers</a> / notebook'), card(*cells(path))]
    lines = path.read_text(encoding="utf-8").splitlines()
    numbered = "\n".join(
        f'<span class="line">{number:>4}</span>  {escape(line)}' for number, line in enumerate(lines, 1)
    )
    body = html(f'<pre tabindex="0"><code>{numbered}</code></pre>')
    lead = f"{len(lines)} lines of this checkout, as they are now."
    return [heading(place, lead, '<a href="./papers">Papers</a> / code'), card(body)]


def title(session: Session) -> str:
    """The name of the page in the browser's tab."""
    return session.arguments.get("file", "A file").rsplit("/", 1)[-1]
