"""The Look inside page: choose a model, an input and a layer, and see what the layer does with the input."""

from typing import Any

import panel as pn
from torch import Tensor

from labkit.dashboard.background import in_background
from labkit.dashboard.layout import Session, card, grid, heading, html
from labkit.dashboard.lens import Lens
from labkit.dashboard.measured import Measured, unit_card
from labkit.dashboard.recorded import RecordedCard
from labkit.dashboard.subject import OWN_DATA, Subject, built_in, built_in_names, own

OWN = "A model of your own"
FILE = "A recording, or the routing that another program wrote"
EXAMPLE = "my_model.py:make"
HOW = (
    "Write a Python file with a function that returns a torch model. To bring your own inputs too, return "
    "<code>(model, inputs)</code> or <code>(model, inputs, labels)</code>; otherwise the data set chosen here is used."
)
WAITING = '<p class="message" role="status">Preparing the model. One of the lab’s own trains now, which takes a few seconds.</p>'


class LookPage:
    """The choice of a model, and below it the lens on the model that was chosen last."""

    def __init__(self, session: Session):
        self.session = session
        asked = session.arguments.get("model", "")
        names = built_in_names()
        self.model = pn.widgets.Select(
            label="Model",
            options=[*names, OWN, FILE],
            value=FILE if session.arguments.get("file") else self._known(asked, names),
            sizing_mode="stretch_width",
            margin=0,
        )
        self.place = pn.widgets.TextInput(
            label="File and function",
            placeholder=EXAMPLE,
            value=asked if self.model.value == OWN else "",
            sizing_mode="stretch_width",
            margin=0,
        )
        self.data = pn.widgets.Select(
            label="Inputs, if the function returns none", options=list(OWN_DATA), sizing_mode="stretch_width", margin=0
        )
        self.load = pn.widgets.Button(label="Open it", color="primary", margin=0, align="end")
        self.own = pn.Column(
            html(f'<p class="soft">{HOW}</p>', margin=(0, 0, 10, 0)),
            grid(
                self.place,
                self.data,
                self.load,
                columns="minmax(0, 1fr) minmax(0, 300px) auto",
                narrow="minmax(0, 1fr)",
            ),
            sizing_mode="stretch_width",
            margin=(16, 0, 0, 0),
            visible=self.model.value == OWN,
        )
        self.stage = pn.Column(sizing_mode="stretch_width", margin=0)
        self.subject: Subject | None = None
        self._turn = 0
        self.model.param.watch(lambda _event: self.choose(), "value")
        self.load.on_click(lambda _event: self.open_own())
        self.recorded = RecordedCard(session, session.arguments.get("file", ""))
        self.files = pn.Column(*self.recorded.view(), sizing_mode="stretch_width", margin=(16, 0, 0, 0))
        self.files.visible = self.model.value == FILE
        if self.model.value != FILE and (self.model.value != OWN or asked):
            self.open()

    @staticmethod
    def _known(asked: str, names: list[str]) -> str:
        return asked if asked in names else OWN if asked else names[0]

    def choose(self) -> None:
        """Another model was chosen: open it, or ask for the file of one's own."""
        self.own.visible = self.model.value == OWN
        self.files.visible = self.model.value == FILE
        if self.model.value in (OWN, FILE):
            self._turn += 1
            self.stage[:] = []
        else:
            self.open()

    def open_own(self) -> None:
        """Open the model in the visitor's file."""
        if self.model.value == OWN:
            self.open()

    def open(self) -> None:
        """Make the chosen model in the background and put the lens on it; only the last choice counts."""
        self.session.say("")
        self._turn += 1
        turn, name, place, data = self._turn, self.model.value, self.place.value, self.data.value
        self.load.disabled = True
        self.stage[:] = [html(WAITING)]

        def show(subject: Subject) -> None:
            if turn == self._turn:
                self.subject = subject
                lens = Lens(self.session, subject).view() if isinstance(subject.x, Tensor) else []
                self.stage[:] = [*lens, *unit_card(self.session, subject), Measured(self.session, subject).view()]

        def done() -> None:
            self.load.disabled = False
            if turn == self._turn and self.session.message.visible:
                self.stage[:] = []

        in_background(self.session, lambda: own(place, data) if name == OWN else built_in(name), show, done)

    def view(self) -> list[Any]:
        """The contents below the heading."""
        return [
            card(grid(self.model, columns="minmax(0, 560px)"), self.own, self.files, title="Which model"),
            self.stage,
        ]


def build(session: Session) -> list[Any]:
    """The contents of the page; `?model=path/to/file.py:function` opens one's own model at once."""
    lead = "Choose a model, an input and a layer, and see what the layer makes of the input: its activations and its choices."
    return [heading("Look inside", lead), *LookPage(session).view()]


def title(_session: Session) -> str:
    """The name of the page in the browser's tab."""
    return "Look inside"
