"""What the card Hold it shows of a run: its deck and its curves. Each part paints only when the browser has drawn the last."""

from typing import Any

import panel as pn

from labkit.dashboard.held import HeldRun
from labkit.dashboard.layout import Session
from labkit.widgets.panel_live_curve import PanelLiveCurve
from labkit.widgets.panel_live_deck import PanelLiveDeck
from labkit.widgets.run_curves import branch_lines, labels_of, ordered, words_of

HEIGHT = 300


class Deck:
    """Buttons, dials and timeline; they order, and the run obeys."""

    def __init__(self, held: HeldRun):
        self.deck = PanelLiveDeck(held, margin=0)

    def paint(self, _status: dict[str, Any]) -> None:
        """Show where the run is."""
        if self.deck.waiting or not self.deck.busy:
            self.deck.show()

    def view(self) -> Any:
        """What is put on the page."""
        return self.deck

    def close(self) -> None:
        """Nothing is measured for a deck."""


class Curves:
    """One recorded quantity, a line for each branch, with what was done to the run and the step that is looked at."""

    def __init__(self, session: Session, held: HeldRun):
        self.held = held
        self._drawn: Any = None
        self._offered: str | None = None
        self.quantity = pn.widgets.Select(label="Curve", options={}, sizing_mode="stretch_width", margin=(0, 0, 8, 0))
        self.curve = PanelLiveCurve(labels_of(held, "", HEIGHT), margin=0)
        self.curve.on_x(session.guarded(lambda x: held.view(round(x))))
        self.quantity.param.watch(lambda _event: self.choose(), "value")

    def choose(self) -> None:
        """Another quantity was chosen."""
        self.curve.labels, self._drawn = labels_of(self.held, self.quantity.value or "", HEIGHT), None

    def paint(self, status: dict[str, Any]) -> None:
        """Draw what was recorded, when there is more of it."""
        held = self.held
        options = {words_of(name): name for name in ordered(held.quantities)}
        if options and options != self.quantity.options:
            first = next(iter(options.values()))
            chosen = first if self.quantity.value == self._offered else self.quantity.value
            self._offered = first
            self.quantity.param.update(options=options, value=chosen)
        quantity, events = self.quantity.value, held.events
        now = (status["branch"], status["step"], status["viewing"], len(held.branches), len(events), quantity)
        if not quantity or now == self._drawn or self.curve.busy:
            return
        self._drawn = now
        self.curve.show(branch_lines(held, quantity), events=events, cursor=status["viewing"])

    def view(self) -> Any:
        """What is put on the page."""
        return pn.Column(self.quantity, self.curve, sizing_mode="stretch_width", margin=0)

    def close(self) -> None:
        """Nothing is measured for a curve."""
