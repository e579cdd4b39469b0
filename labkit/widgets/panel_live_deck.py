"""The deck of a training on a Panel page: the same JavaScript module and the same orders as in a notebook."""

from typing import Any

import panel as pn
import param

from labkit.widgets.deck_talk import DeckTalk
from labkit.widgets.live_deck import SCRIPT, STYLE


class PanelLiveDeck(DeckTalk, pn.custom.AnyWidgetComponent):
    """Buttons, dials and the timeline of one run, for Panel.

    Make one for each visitor. `obey(run)` once, then `show()` from the page's own thread, as a periodic callback of 100 ms
    does: `if deck.waiting or not deck.busy: deck.show()`. Orders are obeyed at once, and answered by the next `show`.
    """

    _esm = SCRIPT
    _stylesheets = [STYLE]  # noqa: RUF012 (panel's own convention)
    status = param.String(default="{}")
    plan = param.String(default="{}")
    command = param.String(default="[]")
    answers = param.String(default="[]")
    done = param.Integer(default=0)
    seq = param.Integer(default=0)
    acked = param.Integer(default=0)

    def __init__(self, run: Any = None, **settings: Any):
        super().__init__(**{"sizing_mode": "stretch_width", **settings})
        self._begin()
        self.param.watch(lambda event: self._order(event.new), "command")
        if run is not None:
            self.obey(run)

    @property
    def waiting(self) -> bool:
        """Whether an order was heard and the browser does not know it yet."""
        return bool(self._answers) and self.done != self._answers[-1]["id"]

    def _answered(self) -> None:
        """Nothing: the next `show` says it."""

    def _follow(self) -> None:
        """Nothing: the page looks ten times a second."""

    def _tell_answers(self) -> None:
        """Nothing: a thread must not touch a page of Panel; the next `show` says it."""

    def _tell(self, **values: Any) -> None:
        self.param.update(**values)
