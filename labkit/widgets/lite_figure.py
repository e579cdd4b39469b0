"""A plotly figure in a notebook that Python can change and that tells Python what was clicked.

Plotly's own FigureWidget sends plotly.js, 5 MB, with every figure, sends arrays twice as lists, and knows no frames.
This one sends the library once a notebook, in a hidden widget, and each figure as it is exported: arrays as bytes, a
change as one message.
"""

import time
from collections.abc import Callable
from typing import Any

import anywidget
import plotly.graph_objects as go
import traitlets
from plotly.offline import get_plotlyjs

from labkit.views.alternative import table as numbers_table
from labkit.views.theme import alt_text
from labkit.widgets.cursor import Cursor
from labkit.widgets.source import source

SLOT = source("plotly_slot.js")
SCRIPT = source("dark.js", "files.js", "cursor.js", "figure_csv.js", "figure_cursor.js", "lite_figure.js")
STYLE = source("lite_figure.css")
PATIENCE = 1.0
"""Seconds after which a figure that no browser has acknowledged counts as drawn: the tab may be closed."""
Drawing = go.Figure | Callable[[bool], go.Figure]


class PlotlyOnce(anywidget.AnyWidget):
    """Carries the text of plotly.js to the page, unseen."""

    _esm = SLOT + source("plotly_once.js")
    text = traitlets.Bytes().tag(sync=True)


_library: PlotlyOnce | None = None
_seen_dark = False


def library() -> PlotlyOnce:
    """The hidden widget of this kernel; a new one where the last was closed, as `Widget.close_all()` does."""
    global _library
    if _library is None or _library.comm is None:
        _library = PlotlyOnce(text=get_plotlyjs().encode())
    return _library


def seen_dark() -> bool:
    """Whether the notebook was dark when a figure last looked."""
    return _seen_dark


class LiteFigure(anywidget.AnyWidget):
    """Shows a figure of `labkit.views`, or any plotly figure, and hears clicks.

    Give it a figure, or a function `draw(dark) -> figure`: then it is drawn again when the notebook changes between
    light and dark. A screen reader says the figure's alt text (`layout.meta["alt"]`).

    Pictures with the same `cursor` move together. Where the figure says which axes of the data it shows
    (`layout.meta["axes"]`, as {"x": "step", "y": "layer"}), the cursor is drawn there, over the figure, and moved by a
    click or the arrow keys; a slider over frames follows the axis that it is named for.
    """

    _esm = SLOT + SCRIPT
    _css = STYLE
    spec = traitlets.Bytes(b"").tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)
    adapts = traitlets.Bool(False).tag(sync=True)
    drawn_dark = traitlets.Bool(False).tag(sync=True)
    dark = traitlets.Bool(None, allow_none=True).tag(sync=True)
    clicked = traitlets.Dict().tag(sync=True)
    linked = traitlets.Bool(False).tag(sync=True)
    cursor = traitlets.Dict().tag(sync=True)
    moved = traitlets.Dict().tag(sync=True)
    tabled = traitlets.Bool(False).tag(sync=True)
    table = traitlets.Unicode("").tag(sync=True)
    seq = traitlets.Int(0).tag(sync=True)
    acked = traitlets.Int(0).tag(sync=True)

    def __init__(self, figure: Drawing, cursor: Cursor | None = None, **settings: Any):
        library()
        super().__init__(linked=cursor is not None, **settings)
        self._heard: list[Callable[[Any], None]] = []
        self._next: Drawing | None = None
        self.replace(figure)
        self.observe(self._theme_changed, "dark")
        self.observe(self._clicked, "clicked")
        self.observe(self._drawn, "acked")
        self.observe(lambda _change: self._fill_table(), "tabled")
        if cursor is not None:
            cursor.attach(self)

    def replace(self, figure: Drawing) -> None:
        """Show another figure, or what another function draws, in one message."""
        library()
        dark = _seen_dark if self.dark is None else self.dark
        drawn = figure(dark) if callable(figure) else figure
        self.source, self.figure, self._next, self._sent = figure, drawn, None, time.monotonic()
        with self.hold_sync():
            self.spec = (drawn.to_json() or "{}").encode()
            self.alt, self.adapts, self.drawn_dark = alt_text(drawn), callable(figure), dark
            self._fill_table()
            self.seq += 1

    def soon(self, figure: Drawing) -> None:
        """Like `replace`, once the browser has drawn what it has; of several calls meanwhile only the last counts."""
        if self.acked < self.seq and time.monotonic() - self._sent < PATIENCE:
            self._next = figure
        else:
            self.replace(figure)

    def on_point(self, callback: Callable[[Any], None]) -> None:
        """Call `callback(customdata)` when a point is clicked: its customdata as plain lists, None where it has none."""
        self._heard.append(callback)

    def _fill_table(self) -> None:
        """The numbers travel only where somebody looks at them."""
        if self.tabled:
            self.table = numbers_table(self.figure)

    def _drawn(self, _change: Any) -> None:
        if self._next is not None and self.acked >= self.seq:
            self.replace(self._next)

    def _clicked(self, change: Any) -> None:
        for callback in self._heard:
            callback(change["new"].get("customdata"))

    def _theme_changed(self, change: Any) -> None:
        global _seen_dark
        _seen_dark = bool(change["new"])
        if callable(self.source) and self.drawn_dark != _seen_dark:
            self.replace(self.source)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        library()
        return super()._repr_mimebundle_(**kwargs)
