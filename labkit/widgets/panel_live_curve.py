"""Growing curves on a Panel page: the same JavaScript module and the same numbers as in a notebook."""

import time
from collections.abc import Sequence
from typing import Any

import panel as pn
import param

from labkit.widgets.live_curve import PATIENCE, SCRIPT, STYLE, Curve, Labels, packed


class PanelLiveCurve(pn.custom.AnyWidgetComponent):
    """A picture of growing curves for Panel. Call `show` from the page's own thread, as a periodic callback does."""

    _esm = SCRIPT
    _stylesheets = [STYLE]  # noqa: RUF012 (panel's own convention)
    state = param.String(default="{}")
    points = param.Bytes(default=b"")
    seq = param.Integer(default=0)
    acked = param.Integer(default=0)

    def __init__(self, labels: Labels | None = None, **settings: Any):
        super().__init__(**{"sizing_mode": "stretch_width", **settings})
        self.labels, self._sent = labels or Labels(), 0.0
        self.show([])

    def show(self, curves: Sequence[Curve], *, fraction: float | None = None, status: str = "", note: str = "") -> None:
        """Replace everything that is shown. `fraction` is 0..1, or None for no progress bar.

        Raises: LabError when x and y of a curve differ in length.
        """
        self.param.update(**packed(curves, self.labels, fraction, status, note), seq=self.seq + 1)
        self._sent = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether the browser still draws what was shown last; after a second without an answer it counts as done."""
        return self.acked < self.seq and time.monotonic() - self._sent < PATIENCE
