"""Pictures that move while a model trains: cells as colours or one row as bars, many times a second, on a canvas.

    picture = LivePicture(Words("experts: load", "The share of the inputs that each expert gets."))
    picture.show(measured, step=120)                   # a DataArray of one or two axes
    picture.on_pick(lambda place: print(place))        # {"layer": "slot.gate", "choice": 3}

One message a picture, acknowledged by the browser when it is drawn, so that a slow browser is never flooded. One
JavaScript module draws it in notebooks (here), in Panel (`panel_live_picture.py`) and in an exported page.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from labkit.widgets.picture_frames import Frames, Place, Words, opening
from labkit.widgets.shown_arrays import thinned, two_axes
from labkit.widgets.source import page, source, write

SCRIPT = source("dark.js", "scales.js", "pens.js", "array_picture.js", "live_axes.js", "live_picture.js")
STYLE = source("live_picture.css")
PATIENCE = 1.0
"""Seconds after which a picture that no browser has acknowledged counts as seen: the tab may be closed."""
Picked = Callable[[dict[str, Any] | None], None]


class Painter:
    """What the pictures for notebooks and for Panel have in common; `_hand_over` and `_tell` hand the values to the browser."""

    words: Words
    acked: int
    seq: int

    def _begin(self, words: Words | None) -> None:
        self.words = words or Words()
        self._frames, self._sent, self._heard, self._count = Frames(), 0.0, [], 0
        self._marks: tuple[Place, ...] = ()
        self._place: dict[str, Any] | None = None
        self._last: tuple[Any, int | None, bool | None] = (None, None, None)

    def show(
        self,
        data: Any,
        *,
        step: int | None = None,
        words: Words | None = None,
        marks: Sequence[Place] | None = None,
        bars: bool | None = None,
    ) -> None:
        """Replace what is shown, in one message. May be called from any thread, by one thread at a time.

        One row of at most 1,024 numbers is drawn as bars, unless `bars=False`. More than 256 x 512 cells are thinned
        evenly. Attributes of the array are read: long_name, units, note, `signed` (zero in the middle of the colours),
        `even_share` (a line across the bars), `pictures` (small pictures with gaps: no axes). `marks` are places that are
        switched off, {"layer": "slot.gate", "choice": 3, "says": "Expert 3 is silenced."}; None leaves them as they are.

        Shapes: data (rows, columns) or (columns,); None shows that there is nothing yet.
        Raises: LabError when the array has more than two axes or holds no real numbers.
        """
        self.words = words or self.words
        self._marks = self._marks if marks is None else tuple(marks)
        shown = None if data is None else thinned(two_axes(data))
        state, cells = self._frames.message(
            shown, self.words, step=step, marks=self._marks, picked=self._place, bars=bars
        )
        self._last = (data, step, bars)
        self._hand_over(json.dumps({**state, "heard": self._count}), cells)
        self._sent = time.monotonic()

    def show_strip(self, history: Any, *, step: int | None = None, words: Words | None = None, **more: Any) -> None:
        """Show the whole run as a strip: steps across, the entries of the measurement down. `Strip.array()` gives it.

        Shapes: history (step, entries).
        """
        table = two_axes(history)
        if str(table.dims[0]) == "step":
            table = table.transpose(*reversed(table.dims))
        width = table.attrs.get("steps_a_column", 1)
        if width > 1:
            said = f"Each column is {width:,} steps, of which the last measurement is shown."
            table = table.assign_attrs(note=f"{table.attrs.get('note', '')} {said}".strip())
        self.show(table, step=step, words=words, bars=False, **more)

    def mark(self, marks: Sequence[Place]) -> None:
        """Mark other places as switched off, in the picture that is shown."""
        data, step, bars = self._last
        self.show(data, step=step, bars=bars, marks=marks)

    def pick(self, place: Place | None) -> None:
        """Choose a cell by its coordinates, as a click does; None chooses nothing."""
        self._place = dict(place) if place else None
        self._chose()
        data, step, bars = self._last
        self.show(data, step=step, bars=bars)

    def on_pick(self, callback: Picked) -> None:
        """Call `callback(place)` when a cell is chosen, by a click, with Enter or by `pick`; None when it is given up."""
        self._heard.append(callback)

    @property
    def busy(self) -> bool:
        """Whether the browser still draws what was shown last; after a second without an answer it counts as done."""
        return self.acked < self.seq and time.monotonic() - self._sent < PATIENCE

    def _clicked(self, text: str) -> None:
        if not text:
            return
        where = json.loads(text)
        self._count = max(self._count, int(where["count"]))
        if where["row"] is None:
            self._place = None
        else:
            found = self._frames.place(int(where["row"]), int(where["column"]))
            if found is None:
                return
            self._place = found
        self._chose()

    def _asked(self, text: str) -> None:
        if not text:
            return
        where = json.loads(text)
        row, column = int(where["row"]), int(where["column"])
        if self._frames.place(row, column) is not None:
            self._tell(json.dumps({**where, "text": self._frames.exactly(row, column)}))

    def _chose(self) -> None:
        self._publish(self._place)
        for callback in list(self._heard):
            callback(self._place)

    def _hand_over(self, state: str, cells: bytes) -> None:
        raise NotImplementedError

    def _tell(self, text: str) -> None:
        raise NotImplementedError

    def _publish(self, place: dict[str, Any] | None) -> None:
        raise NotImplementedError


class LivePicture(Painter, anywidget.AnyWidget):
    """A picture of cells or bars for notebooks: `show` an array, and show the next one when there is one.

    `picked` holds the coordinates of the cell that was chosen last, or None; it can be observed.
    """

    _esm = SCRIPT
    _css = STYLE
    setup = traitlets.Unicode("{}").tag(sync=True)
    state = traitlets.Unicode("{}").tag(sync=True)
    cells = traitlets.Bytes(b"").tag(sync=True)
    seq = traitlets.Int(0).tag(sync=True)
    acked = traitlets.Int(0).tag(sync=True)
    asked = traitlets.Unicode("").tag(sync=True)
    told = traitlets.Unicode("").tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)
    picked = traitlets.Dict(allow_none=True, default_value=None)

    def __init__(self, words: Words | None = None, **settings: Any):
        super().__init__(**opening(words or Words()), seq=1, **settings)
        self._begin(words)
        self.observe(lambda change: self._clicked(change["new"]), "chosen")
        self.observe(lambda change: self._asked(change["new"]), "asked")

    def export_html(self, path: Path | str | None = None) -> str:
        """What is shown now as one HTML page that works offline; also written to `path` where one is given.

        Raises: LabError when the file cannot be written.
        """
        sent = {name: getattr(self, name) for name in ("setup", "state", "cells")}
        values = {**sent, "seq": 1, "acked": 0, "asked": "", "told": "", "chosen": ""}
        text = page(SCRIPT, STYLE, values, self.words.title or "Picture")
        if path is not None:
            write(text, path)
        return text

    def _hand_over(self, state: str, cells: bytes) -> None:
        with self.hold_sync():
            self.state, self.cells, self.seq = state, cells, self.seq + 1

    def _tell(self, text: str) -> None:
        self.told = text

    def _publish(self, place: dict[str, Any] | None) -> None:
        self.picked = place
