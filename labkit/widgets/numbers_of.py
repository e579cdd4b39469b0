"""All numbers of a figure as rows for a CSV file: trace, x, y, value; with frames also which frame."""

import csv
import html
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from labkit.views.alternative import values_of

COLUMNS = ("trace", "x", "y", "value")
Row = list[Any]


def numbers_of(figure: go.Figure) -> list[Row]:
    """The rows of a figure, the first of them the names of the columns.

    A heat map has a row for each cell, with its `value`; a flow one for each link, from x to y; lines, points and bars one
    for each place. A figure with frames has a first column `frame`: the label that its slider gives the frame.
    """
    whole = figure.to_dict()
    data, frames = whole.get("data", ()), whole.get("frames") or ()
    if not frames:
        return [list(COLUMNS), *(row for place, trace in enumerate(data) for row in _rows(trace, place))]
    sliders = whole["layout"].get("sliders") or [{}]
    labels = {
        str(step["args"][0][0]): step.get("label", "") for step in sliders[0].get("steps", ()) if step.get("args")
    }
    moving = {place for frame in frames for place in _places(frame, len(data))}
    rows = [["frame", *COLUMNS]]
    rows += [["", *row] for at, trace in enumerate(data) if at not in moving for row in _rows(trace, at)]
    for frame in frames:
        label = _plain(labels.get(str(frame.get("name")), frame.get("name")))
        for place, change in zip(_places(frame, len(data)), frame.get("data", ())):
            rows += [[label, *row] for row in _rows({**data[place], **change}, place)]
    return rows


def csv_text(rows: Sequence[Row]) -> str:
    """The rows as CSV; a missing number is an empty field."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[_field(value) for value in row] for row in rows])
    return out.getvalue()


def _places(frame: dict, count: int) -> list[int]:
    traces = frame.get("traces")
    return list(range(min(count, len(frame.get("data", ()))))) if traces is None else [int(at) for at in traces]


def _rows(trace: dict, place: int) -> list[Row]:
    name = _plain(trace.get("name", f"trace {place + 1}"))
    if "link" in trace:
        return _links(name, trace)
    x, y, z = (_list(trace[key]) if trace.get(key) is not None else None for key in ("x", "y", "z"))
    if z is not None and len(z) and isinstance(z[0], list | np.ndarray):
        return [
            [name, x[column] if x else column, y[row] if y else row, value]
            for row, line in enumerate(z)
            for column, value in enumerate(line)
        ]
    count = max(len(values) if values else 0 for values in (x, y, z))
    return [[name, x[at] if x else at, y[at] if y else None, z[at] if z else None] for at in range(count)]


def _links(name: str, trace: dict) -> list[Row]:
    labels = _list(trace.get("node", {}).get("label", ()))
    source, target, value = (_list(trace["link"].get(key, ())) for key in ("source", "target", "value"))
    word = dict(enumerate(labels))
    return [
        [name, word.get(one, one), word.get(other, other), share] for one, other, share in zip(source, target, value)
    ]


def _list(values: Any) -> list:
    """The values as plain ones; a number of 32 bits becomes the shortest that is the same in 32 bits."""
    if isinstance(values, str) or not hasattr(values, "__len__"):
        return [values]
    if not isinstance(values, dict | np.ndarray):
        return [
            _plain(one) if isinstance(one, str) else _list(one) if hasattr(one, "__len__") else one for one in values
        ]
    array = values_of(values)
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        return [float(str(one)) for one in array] if array.ndim == 1 else [_list(line) for line in array]
    return [_plain(one) if isinstance(one, str) else one for one in array.tolist()]


def _plain(text: Any) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", str(text).replace("<br>", " ")))


def _field(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and not np.isfinite(value)) else value
