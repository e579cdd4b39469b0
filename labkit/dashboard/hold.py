"""Hold it: train one arm of a study here, and pause, step, change, look back and branch while it trains.

The run belongs to the visit, not to the page (`held.py`, `visits.py`): a reload finds it again, and a second tab shows the
same run. This card paints what it shows in a callback of the page, at most ten times a second and so seldom that all pages
together leave the server most of its time; the training never waits for a browser.
"""

import time
from dataclasses import replace
from html import escape
from threading import Thread
from typing import Any
from weakref import WeakSet

import panel as pn

from labkit.dashboard.held import HeldRun
from labkit.dashboard.held_parts import Curves, Deck
from labkit.dashboard.held_pictures import Pictures
from labkit.dashboard.layout import Session, card, grid, html
from labkit.dashboard.visits import grace
from labkit.workbench.study import Scale, Study

PERIOD_MS = 100
SHARE = 0.25
"""How much of the server's time all cards together may take for painting."""
SLOWEST = 1.0
"""Seconds between two paintings at most."""
LONG = {"smoke": "Very short", "lesson": "Lesson", "paper": "Paper"}
TIMES = 10
"""How many lessons the run has that a person has time to hold."""
HINT = (
    "Train one arm by hand: pause it, go step by step, turn its dials while it trains, look back at any kept step, "
    "and branch off a second future from there."
)
BEGIN, ANEW = "▶ Train it", "↻ Begin anew"
_cards: "WeakSet[HoldIt]" = WeakSet()


class HoldIt:
    """The card of one study on one page of one visitor. `held` is the run that it shows, or None."""

    def __init__(self, session: Session, study: Study):
        self.session, self.study, self.visit = session, study, session.visit
        self.held: HeldRun | None = None
        self.parts: list[Any] = []
        self._not_before, self._said = 0.0, ""
        self._ticker: Any = None
        arms = list(study.arms)
        method = next((name for name, arm in study.arms.items() if arm.role == "method"), arms[0])
        self.lengths = lengths(study)
        long = next((label for label in self.lengths if label.startswith("Ten")), next(iter(self.lengths)))
        wide: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
        self.arm = pn.widgets.Select(label="Arm", options=arms, value=method, **wide)
        self.seed = pn.widgets.IntInput(label="Seed", value=0, start=0, end=9999, **wide)
        self.scale = pn.widgets.Select(label="How long", options=list(self.lengths), value=long, **wide)
        self.start = pn.widgets.Button(label=BEGIN, color="primary", margin=0, align="end")
        self.leave = pn.widgets.Button(label="Leave the queue", margin=(10, 0, 0, 0))
        self.words = html("", margin=(10, 0, 0, 0))
        self.queue = pn.Column(html(""), self.leave, visible=False, sizing_mode="stretch_width", margin=(12, 0, 0, 0))
        self.stage = pn.Column(sizing_mode="stretch_width", margin=(16, 0, 0, 0), visible=False)
        self.start.on_click(session.guarded(lambda _event: self.begin()))
        self.leave.on_click(session.guarded(lambda _event: self.give_up()))
        self.arm.param.watch(lambda _event: self.explain(), "value")
        session.at_end(self.close)
        self.explain()
        self.look()
        if pn.state.curdoc is not None:
            _cards.add(self)
            self._ticker = pn.state.add_periodic_callback(session.guarded(self.tick), period=PERIOD_MS)

    @property
    def key(self) -> str:
        """Under which name the visit keeps the run."""
        return f"hold {self.study.name}"

    def explain(self) -> None:
        """Say what the chosen arm is, and for how long a run is kept."""
        says = self.study.arms[self.arm.value].says
        kept = f"It goes on while a page of labkit is open in this browser, and for {grace():g} s after that."
        self.words.object = f'<p class="soft">{escape(says)}</p><p class="soft">{kept}</p>'

    def begin(self) -> None:
        """Start a run with what is chosen; an earlier one of this card is ended."""
        self.session.say("")
        size = self.lengths[self.scale.value]
        held = HeldRun(self.study, self.arm.value, self.seed.value, size, self.visit.key)
        self.visit.keep(self.key, held)
        held.prepare()
        self.look()

    def give_up(self) -> None:
        """Leave the queue."""
        if self.held is not None:
            self.held.leave_queue()
        self.look()

    def tick(self) -> None:
        """Called ten times a second: look, unless the last looks took more than their share."""
        began = time.monotonic()
        if began < self._not_before or not self.seen:
            return
        self.look()
        now = time.monotonic()
        self._not_before = now + min(SLOWEST, (now - began) * (1 / SHARE - 1) * max(1, len(_cards)))

    @property
    def seen(self) -> bool:
        """Whether a browser is connected to this page; without one there is nobody to paint for."""
        session = getattr(getattr(pn.state.curdoc, "session_context", None), "session", None)
        return session is None or session.connection_count > 0

    def look(self) -> None:
        """Show where the run is."""
        held = self.visit.find(self.key)
        if held is not self.held:
            self.show(held)
        if held is None:
            return
        if held.error and held.error != self._said:
            self._said = held.error
            self.session.say(held.error)
        if held.live is None:
            return
        if not self.parts:
            self.lay_out(held)
        status = held.status()
        self.tell(held, status)
        for part in self.parts:
            part.paint(status)

    def show(self, held: HeldRun | None) -> None:
        """Another run is kept now, or none: begin to show that one."""
        self.take_down()
        self.held, self._said = held, ""
        self.start.label = BEGIN if held is None else ANEW
        self.queue.visible = False
        self.stage.visible = held is not None
        if held is not None:
            self.arm.value, self.seed.value = held.arm, held.seed
            self.scale.value = next(label for label, size in self.lengths.items() if size == held.size)
            self.stage[:] = [
                html('<p class="message" role="status">Preparing: the data are loaded, the model is built.</p>')
            ]

    def lay_out(self, held: HeldRun) -> None:
        """Deck, curve and picture of a run that has been prepared."""
        deck = Deck(held)
        curves, pictures = Curves(self.session, held), Pictures(self.session, held, deck)
        self.parts = [deck, curves, pictures]
        self.stage[:] = [deck.view(), grid(curves.view(), pictures.view(), columns=HALVES, narrow="minmax(0, 1fr)")]

    def tell(self, held: HeldRun, status: dict[str, Any]) -> None:
        """Say how many are before this run, with a button to leave the queue."""
        if status["state"] == "queued" and held.place is not None:
            text = f'<p class="message" role="status">{escape(held.place.says)}</p>'
            if self.queue[0].object != text:
                self.queue[0].object = text
        self.queue.visible = status["state"] == "queued"

    def take_down(self) -> None:
        """Measure nothing more for this page."""
        parts, self.parts = self.parts, []
        for part in parts:
            part.close()

    def close(self) -> None:
        """The page is gone; the run is the visit's."""
        _cards.discard(self)
        Thread(target=self.take_down, name="labkit-close", daemon=True).start()

    def view(self) -> Any:
        """The card on the page."""
        columns = "minmax(0, 1.4fr) minmax(0, 110px) minmax(0, 1fr) auto"
        controls = grid(
            self.arm, self.seed, self.scale, self.start, columns=columns, narrow="minmax(0, 1fr)", gap="14px 12px"
        )
        return card(controls, self.words, self.queue, self.stage, title="Hold it", hint=HINT)


HALVES = "minmax(0, 1fr) minmax(0, 1fr)"


def lengths(study: Study) -> dict[str, Scale]:
    """How long a run may be, by its words: the study's scales, and a lesson at a tenth of its pace."""
    sizes = {name: study.at(name) for name in study.scales}
    found = {f"{LONG.get(name, name)}: {size.steps:,} steps": size for name, size in sizes.items()}
    if "lesson" in sizes:
        long = replace(sizes["lesson"], steps=TIMES * sizes["lesson"].steps)
        found[f"Ten times a lesson: {long.steps:,} steps"] = long
    return found
