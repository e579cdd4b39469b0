"""The array explorer on a Panel page: the same JavaScript module and the same answers as in a notebook."""

import json
from collections.abc import Mapping
from typing import Any

import panel as pn
import param

from labkit.widgets.array_explorer import SCRIPT, STYLE, Chosen, answered, opening
from labkit.widgets.array_reading import ArrayReading
from labkit.widgets.cursor import Cursor


class PanelArrayExplorer(pn.custom.AnyWidgetComponent):
    """A map of two axes of an array, for Panel; the arguments are those of `ArrayExplorer`."""

    _esm = SCRIPT
    _stylesheets = [STYLE]  # noqa: RUF012 (panel's own convention)
    setup = param.String(default="{}")
    first = param.String(default="{}")
    state = param.String(default="{}")
    cells = param.Bytes(default=b"")
    seq = param.Integer(default=0)
    acked = param.Integer(default=0)
    wanted = param.String(default="")
    asked = param.String(default="")
    told = param.String(default="")
    numbers = param.Bytes(default=b"")
    chosen = param.String(default="")
    cursor = param.Dict(default={})
    moved = param.Dict(default={})
    shelf = param.String(default="")
    pieces = param.Bytes(default=b"")

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
        reading = ArrayReading(data, rows, columns, how, limits, title)
        super().__init__(**{"sizing_mode": "stretch_width", **opening(reading, axes), "seq": 1, **settings})
        self.reading, self._heard = reading, []
        self.param.watch(lambda event: self._look(event.new), "wanted")
        self.param.watch(lambda event: self._tell(event.new), "asked")
        self.param.watch(lambda event: self._choose(event.new), "chosen")
        if cursor is not None:
            self._forget = cursor.join(lambda places: self.param.update(cursor=places))
            self.param.watch(lambda event: cursor.heard(event.new), "moved")

    def on_cell(self, callback: Chosen) -> None:
        """Call `callback(coordinates by axis, value)` when a cell is chosen, by a click or with Enter."""
        self._heard.append(callback)

    def _look(self, wanted: str) -> None:
        state, cells = self.reading.answer(json.loads(wanted))
        self.param.update(state=state, cells=cells, seq=self.seq + 1)

    def _tell(self, asked: str) -> None:
        told, numbers = answered(self.reading, json.loads(asked))
        self.param.update(told=told, numbers=numbers)

    def _choose(self, chosen: str) -> None:
        if not chosen:
            return
        where = json.loads(chosen)
        place, value = self.reading.place(where), self.reading.value(where)
        for callback in self._heard:
            callback(place, value)
