"""A curve to be guessed on a Panel page: the same JavaScript module and the same words as in a notebook."""

import json
from typing import Any

import panel as pn
import param

from labkit.widgets.guess_gap import Axis
from labkit.widgets.predict import PLACES, SCRIPT, STYLE, GuessTalk


class PanelPredict(GuessTalk, pn.custom.AnyWidgetComponent):
    """The picture in which a curve is guessed, for Panel. Make one for each visitor."""

    _esm = SCRIPT
    _stylesheets = [STYLE]  # noqa: RUF012 (panel's own convention)
    state = param.String(default="{}")
    drawn = param.String(default=json.dumps([None] * PLACES))
    locked = param.Boolean(default=False)
    seq = param.Integer(default=0)
    acked = param.Integer(default=0)

    def __init__(self, question: str, x: Axis, y: Axis, **settings: Any):
        super().__init__(**{"sizing_mode": "stretch_width", **settings})
        self._begin(question, x, y)
        self._show()
        self.param.watch(lambda _event: self._heard_lock(), "locked")

    def _tell(self, **values: Any) -> None:
        self.param.update(**values)
