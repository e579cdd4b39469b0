"""What the widgets of a notebook show, for a page that has no Python: figures, arrays, tables, and a word on what is missing.

Runs in the notebook's own kernel after its last cell, where the widgets still are.
"""

import base64
import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from labkit.widgets.export import figure_values
from labkit.widgets.recolor import recolored

Block = dict[str, Any]
"""kind "figure", "array" or "painted" with `values`; "html" with `html`; "note" with `says`; "book" with `pages`."""
LIMIT = 800_000
"""About how many bytes of one array a page holds."""
CONTROLS = "Its buttons, lists and sliders need Python: open the notebook to use them."
TRAINS = "A button here trains while you watch. That needs Python: open the notebook to press it."
HELD = "Here a training is paused, changed and rewound by hand. That needs Python: open the notebook to hold it."
DRAWN = "Here you draw the curve that you expect before you see the real one. That needs Python: open the notebook."


def keep(names: Sequence[str], folder: str) -> None:
    """Write what the widgets of these model ids show to `folder`, a file for each."""
    from ipywidgets import Widget

    known = {widget.model_id: widget for widget in list(_living(Widget)) if widget.comm is not None}
    for name in names:
        blocks = shown(known[name]) if name in known else [note("This view was closed before the notebook ended.")]
        (Path(folder) / f"{name}.json").write_text(json.dumps(blocks, default=_packed), encoding="utf-8")


def shown(widget: Any) -> list[Block]:
    """The blocks of one widget, by what it is; what is not known is named."""
    name = type(widget).__name__
    try:
        for kind, describe in SPECIAL.items():
            if kind in {one.__name__ for one in type(widget).__mro__}:
                return describe(widget)
        blocks, controls = _inside(widget)
    except Exception as error:  # a view of anyone's model: what cannot be shown is said, and the page goes on
        return [note(f"This view could not be kept: {type(error).__name__}: {error}")]
    if not blocks:
        return [
            note(
                CONTROLS
                if controls
                else f"This view ({name}) lives only where Python runs: open the notebook to see it."
            )
        ]
    return [*blocks, note(CONTROLS)] if controls else blocks


def note(says: str) -> Block:
    return {"kind": "note", "says": says}


def figure(draw: Callable[[bool], Any] | go.Figure) -> Block:
    """A figure, or a function `draw(dark)` of a figure or of HTML."""
    if isinstance(draw, go.Figure):
        light, dark = recolored(draw, False), recolored(draw, True)
    else:
        light, dark = draw(False), draw(True)
    if isinstance(light, str):
        return {"kind": "painted", "values": {"light": light, "dark": dark, "name": "Picture"}}
    return {"kind": "figure", "values": figure_values(light, dark) | {"linked": False}}


def _inside(widget: Any) -> tuple[list[Block], bool]:
    """What a box holds, and whether something in it is a control."""
    name, children = type(widget).__name__, getattr(widget, "children", None)
    if children is None:
        if name in ("HTML", "HTMLMath", "Label"):
            return ([{"kind": "html", "html": widget.value}] if str(widget.value).strip() else []), False
        if name == "Image":
            data = base64.b64encode(widget.value).decode()
            return [
                {"kind": "html", "html": f'<img alt="" src="data:image/{escape(widget.format)};base64,{data}">'}
            ], False
        return [], name not in ("PlotlyOnce", "Layout")
    blocks, controls = [], False
    for place, child in enumerate(children):
        if str(getattr(getattr(child, "layout", None), "display", None)) == "none":
            continue
        special = next((one for one in SPECIAL if one in {kind.__name__ for kind in type(child).__mro__}), None)
        found, more = (SPECIAL[special](child), False) if special else _inside(child)
        title = widget.get_title(place) if name in ("Tab", "Accordion") else ""
        if title:
            blocks.append({"kind": "html", "html": f"<h3>{escape(title)}</h3>"})
            found = found or [note("This is worked out when its tab is opened, which needs Python: open the notebook.")]
        blocks += found
        controls = controls or more
    return blocks, controls


def _lite_figure(widget: Any) -> list[Block]:
    return [figure(widget.source)]


def _array(widget: Any) -> list[Block]:
    return [{"kind": "array", "values": widget.page_values(LIMIT)}]


def _book(widget: Any) -> list[Block]:
    """Every picture of a book, each with its first choices."""
    pages, several = [], len(widget.chapters) > 1
    for chapter, pictures in widget.chapters.items():
        for name, picture in pictures.items():
            first = picture.first()
            chosen = ", ".join(f"{label}: {value}" for label, value in first.items() if len(picture.choices[label]) > 1)
            says = f"{picture.says} (Shown for {chosen}.)" if chosen else picture.says
            try:
                block = figure(lambda dark, picture=picture, first=first: picture.draw(first, dark))
            except Exception as error:  # one picture that cannot be drawn leaves the others
                block = note(f"This picture could not be drawn: {error}")
            pages.append({"name": f"{chapter}: {name}" if several else name, "says": says, "block": block})
    return [{"kind": "book", "pages": pages}] if pages else []


def _study(widget: Any) -> list[Block]:
    """The recorded run with its claims and pictures."""
    blocks = [block for part in (widget.message, widget.head, widget.claims) for block in _inside(part)[0]]
    return [
        *blocks,
        *_book(widget.book),
        note("The study can be run again with: labkit study " + (widget.run.study if widget.run else "")),
    ]


def _tree(widget: Any) -> list[Block]:
    from labkit.views.tree import tree

    sides = [figure(widget.sides.source)] if widget.sides is not None else []
    which = (
        [note(f"Below: what the trained tree does at node {widget.node.value}. The others need Python.")]
        if sides
        else []
    )
    return [figure(lambda dark: tree(widget.entropy, widget.load, dark=dark)), *which, *sides]


def _held(widget: Any) -> list[Block]:
    """A training that was held: how it went, as a figure."""
    import xarray as xr

    from labkit.views.curves import curves

    told = [note(HELD)]
    try:
        quantity = widget.quantity.value or "training_loss"
        steps, values = widget.run.curve(quantity)
        said = {"long_name": str(quantity).replace("_", " "), "units": ""}
        data = xr.DataArray([values], {"arm": ["this run"], "step": list(steps)}, ("arm", "step"), attrs=said)
        return [figure(lambda dark: curves(data, dark=dark)), *told] if len(steps) else told
    except Exception:  # nothing was recorded, or not under this name
        return told


SPECIAL: dict[str, Callable[[Any], list[Block]]] = {
    "LiteFigure": _lite_figure,
    "ArrayExplorer": _array,
    "PictureBook": _book,
    "StudyView": _study,
    "TreeExplorer": _tree,
    "LiveView": _held,
    "RunItHere": lambda widget: [note(TRAINS)],
    "Predict": lambda widget: [note(DRAWN)],
}
"""By the name of a class, so that a notebook which shows none of them loads none of them."""


def _living(kind: Any) -> Any:
    from ipywidgets.widgets import widget

    return getattr(widget, "_instances", {}).values() or getattr(kind, "widgets", {}).values()


def _packed(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} cannot be written to a page")
