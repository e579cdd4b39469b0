"""A run that is held, all on one page: the deck, its curves, live pictures, and the model as it was at any kept step.

    LiveView(run)                # nothing else is needed; also for a finished run and for what an earlier one left

Everything is painted in the run's own observer thread, each part only when the browser has drawn its last picture. So a
slow browser, or a tab that is closed, slows neither the training nor the kernel.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from threading import Lock
from typing import Any

from ipywidgets import HTML, Button, Dropdown, HBox, Layout, VBox

from labkit.errors import LabError
from labkit.widgets.clicks import at_once, says
from labkit.widgets.deck_plan import bursts
from labkit.widgets.explorer import close_all
from labkit.widgets.live_curve import LiveCurve
from labkit.widgets.live_deck import LiveDeck
from labkit.widgets.live_pane import LivePane
from labkit.widgets.run_curves import branch_lines, labels_of, ordered, words_of
from labkit.widgets.words import message, sentence

TELLING = ("load", "activity", "speaking", "images", "weights")
"""The kind of picture that is shown first: the first of these that the model has."""
APART, DECK_APART = 0.05, 0.2
"""Seconds at least between two pictures of the curves, and of the deck while nothing but the step changes."""
ENDED = ("stopped", "failed")
_shown: dict[str, "LiveView"] = {}


class LiveView(VBox):
    """Deck, curves and live pictures of a run, or of a recording, which can only be looked at.

    `pictures` names the lenses that are shown at first, [] for none; `quantity` the curve. A view of a run of the same
    name that is still there, because its cell was run again, is closed. `run.view(step)`, a click in a curve and the
    handle of the timeline all do the same.

    Raises: LabError when there is no such picture or quantity.
    """

    def __init__(self, run: Any, *, pictures: Sequence[str] | None = None, quantity: str | None = None):
        self.run, self.live = run, hasattr(run, "on_round")
        self._forget: Callable[[], None] = lambda: None
        self.deck = LiveDeck(run)
        self.panes: list[LivePane] = []
        self.inside: VBox = VBox()
        self._filling = False
        self._state, self._drawn, self._painted, self._wanted = Lock(), None, 0.0, quantity
        self._decked = 0.0
        names = ordered(list(run.quantities))
        if quantity is not None and names and quantity not in names:
            raise LabError(f"This run recorded no {quantity!r}; it recorded {', '.join(names)}.")
        self.curve = LiveCurve(labels_of(run, quantity or (names or ["training_loss"])[0]))
        self.quantity = Dropdown(options=[], description="Curve", layout=Layout(width="auto", max_width="340px"))
        self.message = HTML(message(said) if (said := says()) else "")
        self._lenses = self._found() if self.live else []
        shows = [(lens.name, lens.name) for lens in self._lenses]
        self.more = Dropdown(options=[("show a picture …", ""), *shows], value="", layout=Layout(width="auto"))
        self.more.layout.display = None if shows else "none"
        self.opener = Button(description="Look inside this step", layout=Layout(width="auto"))
        self.opener.layout.display = None if self.live else "none"
        self.place = VBox()
        row = HBox([self.quantity, self.more, self.opener], layout=Layout(flex_flow="row wrap"))
        super().__init__([self.deck, self.message, row, self.curve, self.place, self.inside])
        self._listen()
        for name in self._first() if pictures is None else pictures:
            self.show_picture(name)
        before = _shown.get(run.name)
        if before is not None:
            before.close()
        _shown[run.name] = self
        at_once(self.deck, self.curve, self.place, self)
        if self.live:
            self._forget = run.on_round(self._round)
        self._round()

    def show_picture(self, name: str) -> LivePane:
        """Show one more picture, by the name of its lens; one that is there already is not shown twice.

        Raises: LabError when the model has no such lens.
        """
        there = next((pane for pane in self.panes if pane.lens.name == name), None)
        if there is not None:
            return there
        lens = next((lens for lens in self._lenses if lens.name == name), None)
        if lens is None:
            known = ", ".join(repr(lens.name) for lens in self._lenses) or "none"
            raise LabError(f"There is no picture {name!r} of this run; there is {known}.")
        pane = LivePane(self.run, lens, self._picked, self._put_away)
        self._arrange([*self.panes, pane])
        return pane

    def look_inside(self) -> None:
        """Open the model as it is at the step that is viewed, with all its measurements, below the pictures."""
        from labkit.widgets.model_view import ModelView

        run, self.opener.disabled = self.run, True
        at = run.status()["viewing"]
        step = f"step {run.status()['step'] if at is None else at:,}"
        self.inside.children = [HTML(message(f"Measuring the model at {step}."))]
        try:
            # measuring may draw random numbers, and while the training steps they belong to it
            with run.held() if run.status()["state"] not in ENDED else nullcontext():
                view = ModelView(run.model_at(at), run.observer.inputs(run.model))
        except Exception as error:  # whatever the user's model raises
            self.inside.children = [HTML(message(sentence(error), "error"))]
        else:
            put_away = Button(description="Put away", layout=Layout(width="auto"))
            put_away.on_click(lambda _button: setattr(self.inside, "children", []))
            head = HBox([HTML(message(f"The model at {step}.")), put_away])
            self.inside.children = [head, view]
        self.opener.disabled = False

    def close(self) -> None:
        """Stop painting and close everything in it. The run goes on."""
        self._forget()
        self._arrange([], close=True)
        close_all(self)
        super().close()

    def _listen(self) -> None:
        self.quantity.observe(self._chose, "value")
        self.more.observe(self._add, "value")
        self.opener.on_click(lambda _button: self.look_inside())
        self.curve.on_x(self._go)
        self.deck.on_order(lambda _order: self._round() if self._over() else None)

    def _over(self) -> bool:
        """Whether nobody looks at this run any more but us."""
        return not self.live or self.run.status()["state"] in ENDED

    def _chose(self, change: Any) -> None:
        if change["new"]:
            self.curve.labels, self._drawn = labels_of(self.run, change["new"]), None
        if not self._filling:
            self._wanted = change["new"]
            self._soon()

    def _add(self, change: Any) -> None:
        if change["new"]:
            self.show_picture(change["new"])
            self.more.value = ""

    def _soon(self) -> None:
        if self._over():
            self._round()
        else:
            self.run.observer.wake()

    def _go(self, x: float) -> None:
        """A click in the curve: look at that step; at or beyond the present step it is live again."""
        if self.live:
            try:
                self.run.view(None if x >= self.run.status()["step"] else round(x))
            except LabError as error:
                self.message.value = message(sentence(error), "error")
            self._soon()

    def _picked(self, place: dict[str, Any] | None, said: str) -> None:
        if not place:
            self.deck.pick()
            return
        from labkit.workbench.hold.possible import possible

        try:
            found = possible(self.run.model, place, self.run.touches.active)
            noun = found[0].intervention.noun if found else ""
            self.deck.pick(said.replace("Choice", noun.capitalize(), 1) if noun else said, found)
        except LabError as error:
            self.deck.pick(f"{said}. {sentence(error)}")

    def _put_away(self, pane: LivePane) -> None:
        self._arrange([one for one in self.panes if one is not pane])
        pane.close()

    def _arrange(self, panes: list[LivePane], close: bool = False) -> None:
        before, self.panes = self.panes, panes
        self.place.children = panes
        if close:
            for pane in before:
                pane.close()

    # In the observer's thread, which must not end because of a picture

    def _round(self) -> None:
        if not self._state.acquire(blocking=False):
            return  # somebody paints already
        try:
            self._paint()
        except Exception as error:
            self.message.value = message(f"The pictures stand still: {sentence(error)}", "error")
        finally:
            self._state.release()

    def _paint(self) -> None:
        told, now = self._told(), time.monotonic()
        same = (
            told["state"] == self.deck._status.get("state") == "running"
        )  # words and dials need not run at ten a second
        if self._over() or not (self.deck.busy or (same and now - self._decked < DECK_APART)):
            self._decked = now
            self.deck.show()
        self._paint_curve(told, now)
        for pane in list(self.panes):
            pane.paint()

    def _told(self) -> dict[str, Any]:
        """Where the run is; a recording stands where its deck says."""
        return self.run.status() if hasattr(self.run, "status") else self.deck._status

    def _paint_curve(self, told: dict[str, Any], now: float) -> None:
        run = self.run
        names = ordered(list(run.quantities))
        if [name for _, name in self.quantity.options] != names:
            self._filling = True  # what happens to the value now is not what a person chose
            with self.quantity.hold_sync():
                self.quantity.options = [(words_of(name), name) for name in names]
                self.quantity.value = self._wanted if self._wanted in names else (names or [None])[0]
            self._filling = False
        key = (told["step"], told["branch"], told["viewing"], self.quantity.value, len(run.events), len(run.branches))
        early = self.curve.busy or now - self._painted < APART
        if key == self._drawn or (early and not self._over()) or not self.quantity.value:
            return
        self._drawn, self._painted = key, now
        self.curve.show(branch_lines(run, self.quantity.value), events=bursts(run), cursor=told["viewing"])

    # What can be looked at

    def _found(self) -> list[Any]:
        from labkit.workbench.hold.lenses import lenses

        try:
            model = self.run.model_at()
            return lenses(model, self.run.observer.inputs(model))
        except LabError as error:
            self.message.value = message(f"There are no live pictures: {sentence(error)}")
        return []

    def _first(self) -> list[str]:
        kinds = {lens.kind: lens.name for lens in reversed(self._lenses)}
        return [kinds[kind] for kind in TELLING if kind in kinds][:1]
