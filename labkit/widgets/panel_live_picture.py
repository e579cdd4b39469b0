"""Moving pictures on a Panel page: the same JavaScript module and the same messages as in a notebook."""

from typing import Any

import panel as pn
import param

from labkit.widgets.live_picture import SCRIPT, STYLE, Painter
from labkit.widgets.picture_frames import Words, opening


class PanelLivePicture(Painter, pn.custom.AnyWidgetComponent):
    """A picture of cells or bars for Panel. Call `show` from the page's own thread, as a periodic callback does.

    `picked` holds the coordinates of the cell that was chosen last, or None; watch it with `param.watch`.
    """

    _esm = SCRIPT
    _stylesheets = [STYLE]  # noqa: RUF012 (panel's own convention)
    setup = param.String(default="{}")
    state = param.String(default="{}")
    cells = param.Bytes(default=b"")
    seq = param.Integer(default=0)
    acked = param.Integer(default=0)
    asked = param.String(default="")
    told = param.String(default="")
    chosen = param.String(default="")
    picked = param.Dict(default=None, allow_None=True)

    def __init__(self, words: Words | None = None, **settings: Any):
        super().__init__(**{"sizing_mode": "stretch_width", **opening(words or Words()), "seq": 1, **settings})
        self._begin(words)
        self.param.watch(lambda event: self._clicked(event.new), "chosen")
        self.param.watch(lambda event: self._asked(event.new), "asked")

    def _hand_over(self, state: str, cells: bytes) -> None:
        self.param.update(state=state, cells=cells, seq=self.seq + 1)

    def _tell(self, text: str) -> None:
        self.told = text

    def _publish(self, place: dict[str, Any] | None) -> None:
        self.picked = place
