"""One notebook as a page of the site: its text, its code, and its recorded views where the cells showed them."""

import base64
import html
import json
import posixpath
import re
import zlib
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from labkit.workshop.building.cells import INSTRUCTOR, SOLUTION, Notebook, tags, title
from labkit.workshop.building.shown import Block, figure, note
from labkit.workshop.building.typeset import page

VIEW, PLOTLY = "application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json"
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s]+?)\.ipynb(#[^)\s]*)?\)")


class Page:
    """Collects the parts of one page; `carried` are the values of its views, packed, by their number."""

    def __init__(self, name: str, here: set[str], kept: Path):
        self.name, self.here, self.kept = name, here, kept
        self.carried: list[str] = []
        self.pictures = 0

    def body(self, notebook: Notebook) -> str:
        return "\n".join(filter(None, map(self._cell, notebook.cells)))

    def whole(self, notebook: Notebook, around: dict[str, str]) -> str:
        """The page as HTML; `around` says where it stands: the fields ROOT, BEFORE, AFTER and NOTE."""
        body = self.body(notebook)
        views = "\n".join(
            f'<script type="application/octet-stream" id="values{at}">{packed}</script>'
            for at, packed in enumerate(self.carried)
        )
        formulas = f'<script src="{around["ROOT"]}assets/formulas.js"></script>' if "$" in body else ""
        return page(
            "site_page.html", TITLE=html.escape(title(notebook)), BODY=body, VIEWS=views, FORMULAS=formulas, **around
        )

    def _cell(self, cell: Any) -> str:
        if INSTRUCTOR in tags(cell):
            return ""
        name = html.escape(cell.id, quote=True)
        if cell.cell_type == "markdown":
            return f'<div class="text" id="{name}">{self._markdown(cell.source)}</div>'
        if cell.cell_type != "code":
            return ""
        code = f'<div class="code">{highlighted(cell.source)}</div>'
        if SOLUTION in tags(cell):
            return f'<details class="solution" id="{name}"><summary>A solution</summary>{code}</details>'
        return f'<div class="cell" id="{name}">{code}{"".join(map(self._output, cell.outputs))}</div>'

    def _markdown(self, source: str) -> str:
        from nbconvert.filters import markdown2html

        return str(markdown2html(LINK.sub(self._link, source)))

    def _link(self, found: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(self.name), found[1]))
        return f"]({found[1]}.html{found[2] or ''})" if f"{target}.ipynb" in self.here else "](#)"

    def _output(self, output: Any) -> str:
        from nbconvert.filters import ansi2html

        if output.output_type == "stream":
            return f"<pre>{ansi2html(output.text)}</pre>" if output.name == "stdout" else ""
        if output.output_type == "error":
            return f'<pre class="error">{html.escape(output.ename)}: {html.escape(output.evalue)}</pre>'
        data = output.data
        if VIEW in data:
            path = self.kept / f"{data[VIEW]['model_id']}.json"
            blocks = (
                json.loads(path.read_text(encoding="utf-8")) if path.is_file() else [note("This view was not kept.")]
            )
            return "".join(map(self._block, blocks))
        if PLOTLY in data:
            drawn = go.Figure({key: data[PLOTLY][key] for key in ("data", "layout", "frames") if key in data[PLOTLY]})
            return self._block(figure(drawn))
        for kind in ("text/html", "image/svg+xml"):
            if kind in data:
                return f'<div class="shown">{data[kind]}</div>'
        for kind in ("image/png", "image/jpeg"):
            if kind in data:
                return f'<img alt="" src="data:{kind};base64,{data[kind]}">'
        if "text/markdown" in data:
            return f'<div class="text">{self._markdown(data["text/markdown"])}</div>'
        return f"<pre>{html.escape(str(data.get('text/plain', '')))}</pre>"

    def _block(self, block: Block) -> str:
        kind = block["kind"]
        if kind == "note":
            return f'<p class="note">{html.escape(block["says"])}</p>'
        if kind == "html":
            return f'<div class="shown">{block["html"]}</div>'
        if kind == "book":
            return self._book(block["pages"])
        self.pictures += 1
        at, values = len(self.carried), block["values"]
        raw = json.dumps(values, default=_packed).encode()
        self.carried.append(base64.b64encode(zlib.compress(raw, 9)).decode())
        says = html.escape(str(values.get("alt") or values.get("name") or "A view of an array"), quote=True)
        return (
            f'<section data-kind="{kind}" data-values="values{at}" aria-label="{says}">'
            f'<div class="place"></div><div class="tools"></div><noscript><p class="note">{says}</p></noscript></section>'
        )

    def _book(self, pages: list[Block]) -> str:
        options = "".join(f"<option>{html.escape(one['name'])}</option>" for one in pages)
        choice = f"<label>View <select>{options}</select></label>" if len(pages) > 1 else ""
        leaves = ""
        for at, one in enumerate(pages):
            says = f'<p class="says">{html.escape(one["says"])}</p>'
            leaves += f'<div class="leaf"{" hidden" if at else ""}>{says}{self._block(one["block"])}</div>'
        return f'<div class="book">{choice}{leaves}</div>'


def highlighted(source: str) -> str:
    from nbconvert.filters.highlight import Highlight2HTML

    return Highlight2HTML(pygments_lexer="python")(source)


def introduction(notebook: Notebook) -> str:
    """The first sentences below the title, for the index."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            told = [part for part in cell.source.split("\n\n") if part.strip() and not part.startswith("#")]
            if told:
                plain = re.sub(r"\s+", " ", re.sub(r"[*`_$]|\[([^\]]*)\]\([^)]*\)", r"\1", told[0])).strip()
                return " ".join(re.split(r"(?<=[.?!]) ", plain)[:2])
    return ""


def _packed(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} cannot be written to a page")
