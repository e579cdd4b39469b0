"""Growing curves on a Panel page: the same JavaScript module and the same numbers as in a notebook."""

from typing import Any

import panel as pn
import param

from labkit.widgets.live_curve import SCRIPT, STYLE, CurveTalk, Labels


class PanelLiveCurve(CurveTalk, pn.custom.AnyWidgetComponent):
    """A picture of growing curves for Panel. Call `show` from the page's own thread, as a periodic callback does."""

    _esm = SCRIPT
    _stylesheets = [STYLE]  # noqa: RUF012 (panel's own convention)
    state = param.String(default="{}")
    points = param.Bytes(default=b"")
    seq = param.Integer(default=0)
    acked = param.Integer(default=0)
    smooth = param.Integer(default=1)
    clicked = param.String(default="")

    def __init__(self, labels: Labels | None = None, **settings: Any):
        super().__init__(**{"sizing_mode": "stretch_width", **settings})
        self._begin(labels)
        self.show([])
        self.param.watch(lambda _event: self._paint(), "smooth")
        self.param.watch(lambda event: self._clicked(event.new), "clicked")

    def _tell(self, **values: Any) -> None:
        self.param.update(**values)
