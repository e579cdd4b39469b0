"""Curves that grow while something is computed: a canvas that redraws many times a second, with a progress bar.

One JavaScript module draws them in notebooks (here), in Panel (`panel_live_curve.py`) and in an exported page. Python
hands over whole pictures; the browser acknowledges each one that it has drawn, so a slow browser is never flooded.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from labkit.widgets.curve_lines import BAND, Curve, Labels, Points, arms, packed, smooth_lines
from labkit.widgets.source import page, source, write

__all__ = ["BAND", "Curve", "CurveTalk", "Labels", "LiveCurve", "Points", "arms", "packed"]

SCRIPT = source(
    "dark.js", "scales.js", "event_marks.js", "curve_axes.js", "curve_draw.js", "curve_legend.js", "live_curve.js"
)
STYLE = source("live_curve.css")
PATIENCE = 1.0
"""Seconds after which a picture that no browser has acknowledged counts as seen: the tab may be closed."""


class CurveTalk:
    """What the curves for notebooks and for Panel have in common; `_tell(**values)` hands values to the browser."""

    labels: Labels
    seq: int
    acked: int
    smooth: int

    def _begin(self, labels: Labels | None) -> None:
        self.labels, self._sent, self._heard = labels or Labels(), 0.0, []
        self._last: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def _tell(self, **values: Any) -> None:
        raise NotImplementedError

    def show(
        self,
        curves: Sequence[Curve],
        *,
        fraction: float | None = None,
        status: str = "",
        note: str = "",
        events: Iterable[Any] = (),
        cursor: float | None = None,
    ) -> None:
        """Replace everything that is shown, in one message. `fraction` is 0..1, or None for no progress bar.

        `events` have `step`, `says` and `kind`, and become marks above the curves; `cursor` is the x that is looked at.
        Raises: LabError when x and y of a curve differ in length.
        """
        told: dict[str, Any] = {"fraction": fraction, "status": status, "note": note}
        told |= {"events": list(events), "cursor": cursor}
        self._last = (tuple(curves), told)
        self._paint()

    def on_x(self, callback: Callable[[float], None]) -> None:
        """Call `callback(x)` when a person clicks at an x of the curves, or presses Enter there."""
        self._heard.append(callback)

    @property
    def busy(self) -> bool:
        """Whether the browser still draws what was shown last; after a second without an answer it counts as done."""
        return self.acked < self.seq and time.monotonic() - self._sent < PATIENCE

    def _paint(self) -> None:
        curves, told = self._last
        lines = smooth_lines(curves, self.smooth) if self.labels.tools else list(curves)
        self._tell(**packed(lines, self.labels, **told), seq=self.seq + 1)
        self._sent = time.monotonic()

    def _clicked(self, text: str) -> None:
        if text:
            for callback in list(self._heard):
                callback(float(json.loads(text)["x"]))


class LiveCurve(CurveTalk, anywidget.AnyWidget):
    """A picture of growing curves for notebooks: `show` the lines, and show them again when there are more points.

    `smooth` is over how many values each line is a running mean; the values as they were stay visible.
    """

    _esm = SCRIPT
    _css = STYLE
    state = traitlets.Unicode("{}").tag(sync=True)
    points = traitlets.Bytes(b"").tag(sync=True)
    seq = traitlets.Int(0).tag(sync=True)
    acked = traitlets.Int(0).tag(sync=True)
    smooth = traitlets.Int(1).tag(sync=True)
    clicked = traitlets.Unicode("").tag(sync=True)

    def __init__(self, labels: Labels | None = None, **settings: Any):
        super().__init__(**settings)
        self._begin(labels)
        self.show([])
        self.observe(lambda _change: self._paint(), "smooth")
        self.observe(lambda change: self._clicked(change["new"]), "clicked")

    def _tell(self, **values: Any) -> None:
        with self.hold_sync():
            for name, value in values.items():
                setattr(self, name, value)

    def export_html(self, path: Path | str | None = None) -> str:
        """What is shown now as one HTML page that works offline; also written to `path` where one is given.

        Raises: LabError when the file cannot be written.
        """
        state = json.dumps({**json.loads(self.state), "smooths": False})
        values = {"state": state, "points": self.points, "seq": 1, "acked": 0, "smooth": self.smooth, "clicked": ""}
        text = page(SCRIPT, STYLE, values, self.labels.title or "Curves")
        if path is not None:
            write(text, path)
        return text
