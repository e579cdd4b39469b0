"""Look around in an array of any size: a map of two of its axes that is zoomed, while the other axes are sliders.

Attention maps of thousands of tokens, layers by units, weights, activations: only what is visible travels, in one byte
a cell and at most 300 kB a picture, and the exact value under the pointer is read when it is asked for. One JavaScript
module draws it in notebooks (here), in Panel (`panel_array_explorer.py`) and in an exported page.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from labkit.widgets.array_reading import ArrayReading
from labkit.widgets.array_snapshot import snapshot
from labkit.widgets.cursor import Cursor
from labkit.widgets.source import page, source, write

SCRIPTS = (
    "dark.js",
    "scales.js",
    "files.js",
    "pens.js",
    "cursor.js",
    "array_picture.js",
    "array_window.js",
    "array_numbers.js",
    "array_local.js",
    "array_remote.js",
    "array_explorer.js",
)
SCRIPT = source(*SCRIPTS)
STYLE = source("array_explorer.css")
PATIENCE = 1.0
"""Seconds after which a picture that no browser has acknowledged counts as seen: the tab may be closed."""
CURSOR_AXES = {"query": "token"}
"""Axes of the data that the shared cursor calls by another name."""
Chosen = Callable[[dict[str, Any], float], None]


def opening(reading: ArrayReading, axes: Mapping[str, str] | None) -> dict[str, Any]:
    """What a browser needs for the first picture: `setup`, `first`, `state` and `cells`."""
    first = reading.first()
    state, cells = reading.answer(first)
    setup = reading.setup() | {"cursor": {**CURSOR_AXES, **(axes or {})}}
    return {"setup": json.dumps(setup), "first": json.dumps(first), "state": state, "cells": cells}


class ArrayExplorer(anywidget.AnyWidget):
    """A map of two axes of an array, for notebooks; the other axes are sliders, and `cursor` links it to other pictures.

    `rows` and `columns` are the axes to draw, the last two of the array where they are not given. Where a cell stands for
    several values, `how` says which it shows: the strongest (of largest modulus), their mean, or the lowest. `limits` are the
    ends of the colours; without them they follow the plane. `axes` says what the cursor calls an axis: {"query": "token"}.

    Shapes: data (..., rows, columns) of real numbers, as an xarray.DataArray, opened from a file and larger than memory
    if you like; also a numpy array or a tensor. A text coordinate along an axis is shown with its entries.
    Raises: LabError when the array has no two axes, no real numbers, or not the axes that were named.
    """

    _esm = SCRIPT
    _css = STYLE
    setup = traitlets.Unicode("{}").tag(sync=True)
    first = traitlets.Unicode("{}").tag(sync=True)
    state = traitlets.Unicode("{}").tag(sync=True)
    cells = traitlets.Bytes(b"").tag(sync=True)
    seq = traitlets.Int(0).tag(sync=True)
    acked = traitlets.Int(0).tag(sync=True)
    wanted = traitlets.Unicode("").tag(sync=True)
    asked = traitlets.Unicode("").tag(sync=True)
    told = traitlets.Unicode("").tag(sync=True)
    numbers = traitlets.Bytes(b"").tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)
    cursor = traitlets.Dict().tag(sync=True)
    moved = traitlets.Dict().tag(sync=True)
    shelf = traitlets.Unicode("").tag(sync=True)
    pieces = traitlets.Bytes(b"").tag(sync=True)

    def __init__(
        self,
        data: Any,
        rows: str | None = None,
        columns: str | None = None,
        cursor: Cursor | None = None,
        *,
        how: str = "strongest",
        limits: tuple[float, float] | None = None,
        title: str = "",
        axes: Mapping[str, str] | None = None,
        **settings: Any,
    ):
        self.reading = ArrayReading(data, rows, columns, how, limits, title)
        self.axes, self._heard, self._sent = axes, [], time.monotonic()
        super().__init__(**opening(self.reading, axes), seq=1, **settings)
        self.observe(lambda change: self._look(change["new"]), "wanted")
        self.observe(lambda change: self._tell(change["new"]), "asked")
        self.observe(lambda change: self._choose(change["new"]), "chosen")
        if cursor is not None:
            cursor.attach(self)

    @property
    def selected(self) -> dict[str, Any] | None:
        """The coordinates of the cell that was chosen last, on every axis; None before that."""
        return self.reading.place(json.loads(self.chosen)) if self.chosen else None

    def on_cell(self, callback: Chosen) -> None:
        """Call `callback(coordinates by axis, value)` when a cell is chosen, by a click or with Enter."""
        self._heard.append(callback)

    def show(self, data: Any) -> None:
        """Show other numbers on the same axes, in one message; what is drawn and chosen begins anew."""
        old = self.reading
        self.reading = ArrayReading(data, old.rows, old.columns, old.how, old.limits, old.title)
        values = opening(self.reading, self.axes)
        with self.hold_sync():
            self.first, self.state, self.cells, self.setup = (
                values[name] for name in ("first", "state", "cells", "setup")
            )
            self.seq += 1
        self._sent = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether the browser still draws what it was sent last; after a second without an answer it counts as done."""
        return self.acked < self.seq and time.monotonic() - self._sent < PATIENCE

    def export_html(self, path: Path | str | None = None, limit: int = 3_000_000) -> str:
        """The explorer as one HTML page that works offline, also written to `path` where one is given.

        The page holds the plane that is shown and as many others as `limit` bytes allow, the nearest first; of those that do
        not fit, a coarse picture as far as there is room. The page says what is not in it.
        Raises: LabError when the file cannot be written.
        """
        text = page(SCRIPT, STYLE, self.page_values(limit), self.reading.title)
        if path is not None:
            write(text, path)
        return text

    def page_values(self, limit: int = 3_000_000) -> dict[str, Any]:
        """What a page must hold to show this explorer without Python, in about `limit` bytes."""
        first = json.loads(self.wanted or self.first)
        whole = [0, self.reading.data.sizes[first["rows"]], 0, self.reading.data.sizes[first["columns"]]]
        first |= {"window": whole, "count": 0}
        shelf, pieces = snapshot(self.reading, first, limit)
        values = {"setup": self.setup, "first": json.dumps(first), "state": "{}", "cells": b"", "seq": 1, "acked": 0}
        return values | {
            "shelf": json.dumps(shelf),
            "pieces": pieces,
            "cursor": dict(self.cursor),
            "moved": {},
            "chosen": "",
        }

    def _look(self, wanted: str) -> None:
        state, cells = self.reading.answer(json.loads(wanted))
        with self.hold_sync():
            self.state, self.cells, self.seq = state, cells, self.seq + 1
        self._sent = time.monotonic()

    def _tell(self, asked: str) -> None:
        with self.hold_sync():
            self.told, self.numbers = answered(self.reading, json.loads(asked))

    def _choose(self, chosen: str) -> None:
        if not chosen:
            return
        where = json.loads(chosen)
        place, value = self.reading.place(where), self.reading.value(where)
        for callback in self._heard:
            callback(place, value)


def answered(reading: ArrayReading, asked: Mapping[str, Any]) -> tuple[str, bytes]:
    """The exact number or numbers that were asked for: words as JSON text, and numbers as float64."""
    if asked.get("kind") == "numbers":
        told, numbers = reading.numbers(asked)
        return json.dumps(told), numbers
    return json.dumps(reading.cell(asked)), b""
