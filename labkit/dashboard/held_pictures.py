"""The live picture of the card Hold it: what is looked at is chosen, and a click in it offers what can be done there."""

from html import escape
from typing import Any

import panel as pn

from labkit.dashboard.held import HeldRun
from labkit.dashboard.held_parts import Deck
from labkit.dashboard.layout import Session, html
from labkit.errors import LabError
from labkit.widgets.panel_live_picture import PanelLivePicture
from labkit.widgets.picture_frames import Words
from labkit.widgets.strip import Strip
from labkit.workbench.hold.changed_places import changed_places
from labkit.workbench.hold.lenses import Lens
from labkit.workbench.hold.possible import possible

OVER_STEPS = ", over the steps"


class Pictures:
    """One lens at a time, measured by the run's observer while this page is open."""

    def __init__(self, session: Session, held: HeldRun, deck: Deck):
        self.session, self.held, self.deck = session, held, deck
        self.look: Any = None
        self._strip: Strip | None = None
        self._branch, self._drawn, self._unfit = "", None, ""
        self.lenses: dict[str, Lens] = {}
        for lens in held.lenses:
            self.lenses[lens.name] = lens
            if lens.steps:
                self.lenses[lens.name + OVER_STEPS] = lens
        self.lens = pn.widgets.Select(
            label="Picture", options=list(self.lenses), sizing_mode="stretch_width", margin=(0, 0, 8, 0)
        )
        self.picture = PanelLivePicture(margin=0)
        self.trouble = html("", visible=False)
        self.picture.on_pick(session.guarded(self.picked))
        self.lens.param.watch(lambda _event: self.choose(), "value")
        self.choose()

    def choose(self) -> None:
        """Look through the chosen lens, and no more through the last one."""
        self.close()
        if not self.lens.value:
            return
        lens = self.lenses[self.lens.value]
        self._strip = Strip() if self.lens.value.endswith(OVER_STEPS) else None
        self._drawn, self._unfit, self._branch, self.look = None, "", "", self.held.look(lens)
        self.picture.show(None, words=Words(self.lens.value, lens.says, "It is measured when the run takes a step."))

    def paint(self, status: dict[str, Any]) -> None:
        """Show what was measured last, when it is new."""
        look = self.look
        if look is None:
            return
        self.tell(look.error or self._unfit)
        if look.latest is None or look.latest is self._drawn or self.picture.busy:
            return
        self._drawn = look.latest
        step, measured = look.latest
        if self._strip is None:
            self.picture.show(measured, step=step, marks=changed_places(self.held.touches.active, self.held.model))
        elif status["viewing"] is None:
            try:
                self._add(step, measured, status["branch"])
            except LabError as error:  # this model has several rows of it
                self._unfit = str(error)
                return
            self.picture.show_strip(self._strip.array(status["branch"]), step=step)

    def tell(self, trouble: str) -> None:
        """Say why there is no picture."""
        text = f'<p class="message error" role="alert">{escape(trouble)}</p>' if trouble else ""
        if text != self.trouble.object:
            self.trouble.object, self.trouble.visible = text, bool(text)

    def _add(self, step: int, measured: Any, branch: str) -> None:
        known = {one.name: one for one in self.held.branches}
        if branch != self._branch and self._branch and known[branch].parent is not None:
            self._strip.fork(branch, known[branch].parent, known[branch].start)
        self._branch = branch
        self._strip.add(step, measured, branch)

    def picked(self, place: dict[str, Any] | None) -> None:
        """A cell was chosen: offer in the deck what can be done there."""
        if place is None:
            self.deck.deck.pick()
            return
        try:
            found = possible(self.held.model, place, self.held.touches.active)
        except LabError as error:
            self.deck.deck.pick(str(error))
            return
        self.deck.deck.pick(named(place), found)

    def view(self) -> Any:
        """What is put on the page."""
        return pn.Column(self.lens, self.picture, self.trouble, sizing_mode="stretch_width", margin=0)

    def close(self) -> None:
        """Measure this no more."""
        if self.look is not None:
            self.look.close()
            self.look = None


def named(place: dict[str, Any]) -> str:
    """A place of a picture in words: "layer slot.gate, choice 3"."""
    return ", ".join(f"{axis} {entry}" for axis, entry in place.items() if entry != "")
