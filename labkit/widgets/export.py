"""Take pictures away: several as one HTML page that stays interactive without a network, or one as PNG, SVG, HTML or CSV."""

import base64
import html
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import xarray as xr
from plotly.offline import get_plotlyjs

from labkit.errors import LabError
from labkit.views.alternative import table
from labkit.views.theme import alt_text
from labkit.widgets import array_explorer, lite_figure
from labkit.widgets.array_explorer import ArrayExplorer
from labkit.widgets.lite_figure import LiteFigure
from labkit.widgets.marked import marked
from labkit.widgets.numbers_of import csv_text, numbers_of
from labkit.widgets.recolor import recolored
from labkit.widgets.source import source, write

Picture = go.Figure | str | LiteFigure | ArrayExplorer | xr.DataArray | Callable[[bool], go.Figure | str]
SUFFIXES = (".png", ".svg", ".html", ".csv")
WIDTH = 900
NO_BROWSER = (
    "PNG and SVG files are drawn by a browser, and none was found: install Chromium or Chrome, or save as .html"
)
PAGE = source("export_page.html")


def export_page(
    pictures: Mapping[str, Picture] | Sequence[Picture],
    path: Path | str | None = None,
    *,
    title: str = "Pictures",
    says: str = "",
    limit: int = 3_000_000,
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """Several pictures as one HTML page, also written to `path` where one is given; it needs no kernel and no network.

    A picture is a figure or a view's HTML, better a function `draw(dark)` that returns either, so that the page has both
    versions; a `LiteFigure`; an `ArrayExplorer` or an array, of which the page holds about `limit` bytes and says what is not
    in it. A mapping gives each a heading. All pictures share one cursor, and each has its words, its numbers as a table, and
    buttons for PNG, SVG and CSV. `provenance` (commit, seeds, versions) travels with the page.
    Raises: LabError when there is no picture, one is of another kind, or the file cannot be written.
    """
    named = dict(pictures) if isinstance(pictures, Mapping) else {f"#{at}": one for at, one in enumerate(pictures)}
    if not named:
        raise LabError("A page needs at least one picture: export_page({'Activations': figure}, 'page.html').")
    parts = [_part(one, limit) for one in named.values()]
    heads = [name if isinstance(pictures, Mapping) else "" for name in named]
    sections = [_section(head, kind, values) for head, (kind, values, _) in zip(heads, parts)]
    carried = [
        _carried(f"values{at}", json.dumps(_jsonable(values)).encode()) for at, (_, values, _) in enumerate(parts)
    ]
    if any(kind == "figure" for kind, _, _ in parts):
        carried.append(_carried("plotly", get_plotlyjs().encode()))
    text = PAGE.format(
        title=html.escape(title),
        says=f"<p>{html.escape(says)}</p>" if says else "",
        css=lite_figure.STYLE + array_explorer.STYLE,
        sections="\n".join(sections),
        plain="".join(plain for _, _, plain in parts),
        carried="\n".join(carried),
        shared=_safe(_shared(named.values())),
        provenance=_safe(dict(provenance or {})),
        script=page_script(),
    )
    if path is not None:
        write(text, path)
    return text


def page_script() -> str:
    """The page's own module: the widgets, each in a scope of its own, and what ties them together."""
    body = {"figure": lite_figure.SCRIPT, "array": array_explorer.SCRIPT}
    inner = {name: script.replace("export default { render };", "return { render };") for name, script in body.items()}
    parts = [f"const {name}Widget = (() => {{\n{script}\n}})();" for name, script in inner.items()]
    parts.append(source("plotly_once.js").replace("export default {", "const once = {", 1))
    parts.append("const widgets = { figure: figureWidget, array: arrayWidget, once };")
    whole = "\n".join([source("plotly_slot.js"), *parts, source("files.js", "export_page.js")])
    return whole.replace("</", "<\\/")


def _part(picture: Any, limit: int) -> tuple[str, dict[str, Any], str]:
    """The kind of a picture, what its place on the page must hold, and its words and numbers for a page without scripts."""
    if isinstance(picture, xr.DataArray):
        picture = ArrayExplorer(picture)
    if isinstance(picture, ArrayExplorer):
        return "array", picture.page_values(limit), f"<p>{html.escape(json.loads(picture.state).get('alt', ''))}</p>"
    drawing = picture.source if isinstance(picture, LiteFigure) else picture
    if callable(drawing) and not isinstance(drawing, go.Figure):
        light, dark = drawing(False), drawing(True)
    elif isinstance(drawing, go.Figure):
        light, dark = recolored(drawing, False), recolored(drawing, True)
    else:
        light = dark = drawing
    if isinstance(light, str) and isinstance(dark, str):
        return "painted", {"light": light, "dark": dark, "name": _called(light)}, light
    if not isinstance(light, go.Figure) or not isinstance(dark, go.Figure):
        raise LabError(
            f"A page shows figures, HTML, array explorers, arrays, or functions draw(dark) of a figure or HTML, "
            f"and not {type(light).__name__}."
        )
    return "figure", figure_values(light, dark), table(light)


def figure_values(light: go.Figure, dark: go.Figure) -> dict[str, Any]:
    """What the page's stand-in for the model of a `LiteFigure` holds."""
    spec = (light.to_json() or "{}").encode()
    both = {"light": spec, "dark_spec": (dark.to_json() or "{}").encode(), "spec": spec, "alt": alt_text(light)}
    state = {
        "adapts": True,
        "drawn_dark": False,
        "dark": None,
        "clicked": {},
        "linked": True,
        "cursor": {},
        "moved": {},
    }
    return both | state | {"table": table(light), "tabled": False, "seq": 1, "acked": 0}


def _section(head: str, kind: str, values: Mapping[str, Any]) -> str:
    name = html.escape(head or values.get("alt") or values.get("name") or "Picture", quote=True)
    title = f"<h2>{html.escape(head)}</h2>" if head else ""
    words = f'<p class="words">{html.escape(values["alt"])}</p>' if values.get("alt") else ""
    tools = '<div class="tools"></div>' if kind == "painted" else ""
    return f'<section data-kind="{kind}" aria-label="{name}">{title}<div class="place"></div>{tools}{words}</section>'


def _called(markup: str) -> str:
    """What a view of text is called: its label for screen readers, or the caption of its table."""
    found = re.search(r'aria-label="([^"]+)"', markup) or re.search(r"<caption[^>]*>(.*?)</caption>", markup, re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", "", found[1])).strip()[:120] if found else "Picture"


def _shared(pictures: Any) -> dict[str, Any]:
    """Where the cursor of these pictures stands."""
    places: dict[str, Any] = {}
    for one in pictures:
        places |= dict(one.cursor) if isinstance(one, LiteFigure | ArrayExplorer) else {}
    return places


def _carried(name: str, raw: bytes) -> str:
    packed = base64.b64encode(zlib.compress(raw, 9)).decode()
    return f'<script type="application/octet-stream" id="{name}">{packed}</script>'


def _jsonable(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in values.items()
    }


def _safe(value: Any) -> str:
    return json.dumps(value, default=str).replace("<", "\\u003c")


def export_figure(
    figure: go.Figure | LiteFigure | Callable[[bool], go.Figure],
    path: Path | str,
    *,
    dark: bool = False,
    width: int = WIDTH,
    scale: float = 2,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Save one figure by the ending of `path`: .png, .svg, .html (interactive, offline) or .csv (all its numbers).

    `width` is in pixels, and a PNG has `scale` times as many. `provenance` (commit, seeds, versions) is written into PNG, SVG
    and HTML files and read again by `provenance_of`. Returns the path.
    Raises: LabError for another ending, when no browser is there to draw PNG or SVG, or when the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise LabError(f"A figure is saved as one of {', '.join(SUFFIXES)}, and not as {path.name!r}.")
    if suffix == ".html":
        export_page([figure], path, title=_title(_drawn(figure, dark)), provenance=provenance)
        return path
    drawn = _drawn(figure, dark)
    if suffix == ".csv":
        return write(csv_text(numbers_of(drawn)), path)
    image = _image(drawn, suffix[1:], width, scale)
    return write(
        marked(image, suffix[1:], {"title": _title(drawn), "alt": alt_text(drawn), **(provenance or {})}), path
    )


def _drawn(figure: Any, dark: bool) -> go.Figure:
    drawing = figure.source if isinstance(figure, LiteFigure) else figure
    drawn = drawing if isinstance(drawing, go.Figure) else drawing(dark) if callable(drawing) else None
    if not isinstance(drawn, go.Figure):
        raise LabError(
            f"export_figure saves a plotly figure, and got {type(figure).__name__}; export_page saves the others."
        )
    return recolored(drawn, dark)


def _title(figure: go.Figure) -> str:
    text = figure.to_dict()["layout"].get("title", {}).get("text") or alt_text(figure) or "Picture"
    return html.unescape(re.sub(r"<[^>]*>", "", text.replace("<br>", " ")))


def _image(figure: go.Figure, kind: str, width: int, scale: float) -> bytes:
    try:
        import kaleido
    except ImportError as error:
        raise LabError(
            "PNG and SVG files need the package kaleido: pip install kaleido; .html and .csv need nothing."
        ) from error
    layout = figure.to_dict()["layout"]
    opts = {"format": kind, "width": width, "height": layout.get("height") or 560, "scale": scale}
    try:
        # without MathJax, which would be fetched from a network
        return kaleido.calc_fig_sync(figure.to_plotly_json(), opts=opts, kopts={"mathjax": False})
    except Exception as error:
        if "chrome" in type(error).__name__.lower() or "chrome" in str(error).lower():
            raise LabError(f"{NO_BROWSER}.") from error
        raise LabError(f"The picture could not be drawn as {kind.upper()}: {type(error).__name__}: {error}") from error
