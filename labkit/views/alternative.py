"""A figure's numbers as a plain table, for people who do not see the picture and for those who want the numbers."""

import base64
import html

import numpy as np
import plotly.graph_objects as go

from labkit.views.theme import alt_text
from labkit.views.thinning import evenly
from labkit.views.wording import number

POINTS, ROWS, COLUMNS = 12, 24, 12


def table(figure: go.Figure) -> str:
    """An HTML table of what the figure plots: lines and bars point by point, heat maps cell by cell.

    Long ones are told at evenly spread places, the first and the last always among them; the caption is the alt text.
    """
    parts = [part for trace in figure.data for part in _rows(trace, figure)]
    head = f"<caption>{html.escape(alt_text(figure))}</caption>"
    return f'<table class="lab-numbers">{head}<tbody>{"".join(parts)}</tbody></table>'


def _rows(trace: object, figure: go.Figure) -> list[str]:
    plain = {key: value for key, value in trace.to_plotly_json().items() if value is not None}  # type: ignore[attr-defined]
    name = str(plain.get("name", "values")).replace("<br>", " ")
    if plain.get("meta") == "single" or plain.get("hoverinfo") == "skip":
        return []
    if plain.get("type") == "heatmap":
        return _grid(name, values_of(plain.get("z")), plain.get("y"), plain.get("x"))
    if plain.get("type") == "sankey":
        return _links(name, plain["node"], plain["link"])
    y = values_of(plain.get("y"))
    x = values_of(plain.get("x")) if "x" in plain else np.arange(len(y))
    if not len(y):
        return []
    kept = evenly(len(y), POINTS)
    across, up = (_title(figure, plain.get(f"{axis}axis", axis), axis) for axis in "xy")
    if plain.get("meta") == "events":
        words = [str(word).replace("<br>", " ") for word in plain["hovertext"]]
        return [
            _row([f"{name}: {across}", *[_cell(x[one]) for one in kept]], head=True),
            _row([f"{name}: what happened", *[words[one] for one in kept]]),
        ]
    return [
        _row([f"{name}: {across}", *[_cell(one) for one in x[kept]]], head=True),
        _row([f"{name}: {up}", *[_cell(one) for one in y[kept]]]),
    ]


def _grid(name: str, cells: np.ndarray, y: object = None, x: object = None) -> list[str]:
    down, across = evenly(len(cells), ROWS), evenly(cells.shape[1], COLUMNS)
    rows, columns = _names(y, len(cells), "row"), _names(x, cells.shape[1], "column")
    head = [_row([name, *[columns[at] for at in across]], head=True)]
    return head + [_row([rows[at], *[_cell(one) for one in cells[at, across]]]) for at in down]


def _links(name: str, node: dict, link: dict) -> list[str]:
    """A flow: its strongest bands, one a row."""
    places, values = node.get("customdata") or [""] * len(node["label"]), np.asarray(link["value"], dtype=np.float64)
    words = [f"{label} of layer {place}" if place else str(label) for label, place in zip(node["label"], places)]
    strongest = np.argsort(-values, kind="stable")[:ROWS]
    rows = [[f"{words[link['source'][at]]} to {words[link['target'][at]]}", _cell(values[at])] for at in strongest]
    return [_row([f"{name}, the {len(rows)} strongest of {len(values):,}", "value"], head=True), *map(_row, rows)]


def _names(given: object, count: int, word: str) -> list[str]:
    """What rows or columns are called: their names where they have any, else row 0, row 1, ..."""
    names = [str(one) for one in given] if isinstance(given, list | tuple) else []
    bare = all(name.lstrip("-").replace(".", "", 1).isdigit() for name in names)
    return [f"{word} {at}" for at in range(count)] if bare or len(names) != count else names


def values_of(values: object) -> np.ndarray:
    """The numbers of an array as plotly keeps it: a list, a numpy array, or bytes as text after a trip through JSON."""
    if isinstance(values, dict):
        flat = np.frombuffer(base64.b64decode(values["bdata"]), dtype=np.dtype(values["dtype"]))
        shape = [int(size) for size in str(values.get("shape", len(flat))).split(",")]
        return flat.reshape(shape)
    return np.asarray(values if values is not None else [])


def _title(figure: go.Figure, axis: str, letter: str) -> str:
    place = figure.to_dict()["layout"].get(f"{letter}axis{axis[1:]}", {})
    return str((place.get("title") or {}).get("text") or letter).replace("<br>", " ")


def _cell(value: object) -> str:
    try:
        return number(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(value)


def _row(cells: list[str], head: bool = False) -> str:
    first, *rest = (html.escape(html.unescape(cell)) for cell in cells)
    kind = "th" if head else "td"
    return f'<tr><th scope="row">{first}</th>{"".join(f"<{kind}>{cell}</{kind}>" for cell in rest)}</tr>'
