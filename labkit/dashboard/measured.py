"""The measurements card of the Look inside page: everything one batch tells of the model, unit by unit if one likes."""

from typing import Any

import panel as pn

from labkit.dashboard.background import in_background
from labkit.dashboard.gallery import Chapters, figure_pane
from labkit.dashboard.layout import Session, card, grid, html
from labkit.dashboard.subject import Subject
from labkit.recording.record import NothingRecorded
from labkit.views.unit_page import unit_page
from labkit.views.unit_text import unit_text
from labkit.widgets.inside_pictures import chapters
from labkit.widgets.model_view import heading
from labkit.widgets.unit_explorer import strongest_list, told
from labkit.workbench.inspection import Inspection, inspect
from labkit.workbench.units import Units

MEASURING = '<p class="message" role="status">Measuring, on {count:,} inputs. This takes some seconds.</p>'


class Measured:
    """A card that measures when its button is pressed, and then shows the pictures, chapter by chapter."""

    def __init__(self, session: Session, subject: Subject):
        self.session, self.subject = session, subject
        self.button = pn.widgets.Button(label="Measure everything", color="primary", margin=0)
        says = (
            "How many units are silent, how alike the layers are, who is routed where: whatever fits this model is "
            "measured, in a few seconds."
        )
        self.intro = pn.Column(
            html(f'<p class="soft">{says}</p>', margin=(0, 0, 12, 0)),
            self.button,
            sizing_mode="stretch_width",
            margin=0,
        )
        self.stage = pn.Column(self.intro, sizing_mode="stretch_width", margin=0)
        self.inspection: Inspection | None = None
        self.book = Chapters(session)
        self.button.on_click(lambda _event: self.measure())

    def measure(self) -> None:
        """Measure in the background; a second click meanwhile does nothing."""
        if self.button.disabled:
            return
        self.button.disabled = True
        self.stage[:] = [html(MEASURING.format(count=self.subject.count))]
        subject = self.subject

        def again() -> None:
            self.button.disabled = False
            if self.inspection is None:
                self.stage[:] = [self.intro]

        in_background(
            self.session, lambda: inspect(subject.model, subject.batch, texts=subject.texts), self.show, again
        )

    def show(self, found: Inspection) -> None:
        """The pictures of what was measured."""
        self.inspection = found
        self.book.fill(chapters(found))
        self.stage[:] = [html(heading(found), margin=(0, 0, 12, 0)), self.book.view()]

    def view(self) -> Any:
        """The card."""
        return card(self.stage, title="Measurements")


class UnitCard:
    """A card that shows one hidden unit: what it answers to, how often, and what is lost without it."""

    def __init__(self, session: Session, subject: Subject):
        self.session, self.subject = session, subject
        self.units = Units(subject.model, subject.batch, texts=subject.texts, images=subject.images, loss=subject.loss)
        names = list(self.units.layers)
        settings = {"sizing_mode": "stretch_width", "margin": 0}
        self.layer = pn.widgets.Select(label="Layer", options=names, **settings)
        first = self.units.order(names[0])[0]
        self.unit = pn.widgets.IntInput(
            label="Unit", start=0, end=self.units.layers[names[0]] - 1, value=first, **settings
        )
        self.stronger = pn.widgets.Button(label="◀ stronger", margin=0, align="end")
        self.weaker = pn.widgets.Button(label="weaker ▶", margin=0, align="end")
        self.told, self.page, self.figure = html(""), html(""), figure_pane()
        self.place = pn.Column(sizing_mode="stretch_width", margin=(10, 0, 0, 0))
        self._quiet = False
        self.layer.param.watch(lambda _event: self.opened(), "value")
        self.unit.param.watch(lambda _event: self.turned(), "value")
        self.stronger.on_click(lambda _event: self.go(-1))
        self.weaker.on_click(lambda _event: self.go(1))
        session.param.watch(lambda _event: self.turned(), "dark")
        self.turned()

    def opened(self) -> None:
        """Another layer: begin with its strongest unit."""
        self._quiet = True
        self.unit.param.update(end=self.units.layers[self.layer.value] - 1, value=self.units.order(self.layer.value)[0])
        self._quiet = False
        self.turned()

    def go(self, by: int) -> None:
        """The unit that many places further in the order of mean activity."""
        order = self.units.order(self.layer.value)
        self.unit.value = order[min(len(order) - 1, max(0, order.index(self.unit.value) + by))]

    def turned(self) -> None:
        """Show the chosen unit."""
        if not self._quiet:
            self.session.guarded(self._turned)()

    def _turned(self) -> None:
        facts = self.units.facts(self.layer.value, self.unit.value or 0)
        self.told.object = told(facts, self.units)
        dark = self.session.dark
        if facts.activity is not None:
            self.page.object = unit_text(facts.activity, facts.effect, dark=dark)
        elif facts.images is None:
            self.page.object = strongest_list(facts)
        else:
            figure = unit_page(facts.strongest, facts.images, facts.density, facts.effect, dark=dark)
            self.figure.height = int(figure.layout.height or 460)
            self.figure.object = figure
            self.place[:] = [self.figure]
            return
        self.place[:] = [self.page]

    def view(self) -> Any:
        """The card."""
        controls = grid(
            self.layer,
            self.unit,
            self.stronger,
            self.weaker,
            columns="minmax(0, 320px) minmax(0, 140px) max-content max-content",
            narrow="minmax(0, 1fr) minmax(0, 1fr)",
            margin=(0, 0, 10, 0),
        )
        return card(controls, self.told, self.place, title="Units")


def unit_card(session: Session, subject: Subject) -> list[Any]:
    """The card of units, where the model has hidden units that can be read."""
    try:
        return [UnitCard(session, subject).view()]
    except NothingRecorded:
        return []
