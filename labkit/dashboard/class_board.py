"""The board of a class: how to join, who is here, checks, guesses, a class study and curves, as they come in.

The page looks at the class once a second and changes only what has changed. Nothing that students typed is shown
unescaped.
"""

from pathlib import Path
from typing import Any

import panel as pn

from labkit.dashboard import class_words
from labkit.dashboard.class_easel import Easel
from labkit.dashboard.class_names import MODES, called
from labkit.dashboard.class_orders import orders
from labkit.dashboard.gallery import figure_pane
from labkit.dashboard.layout import Session, card, heading, html
from labkit.workshop.classroom.classroom import Classroom

PERIOD_MS = 1000
SHEET = (Path(__file__).parent / "class_board.css").read_text(encoding="utf-8")
TITLES = {
    "guesses": ("Guesses", "Question", "What the class expects, before anybody has seen the answer."),
    "studies": ("Class study", "Study", "Every student trains with another seed; the class is the study."),
    "curves": ("Runs", "Quantity", "What is training right now, on everybody's machine."),
}


HEIGHTS = {"guesses": 480, "studies": 380, "curves": 560}
"""Pixels that a picture mostly needs: one that is drawn before its place has grown would stay as small as that was."""


class Pictures:
    """One card of pictures: a choice where there are several, and the newest drawing."""

    def __init__(self, board: "Board", part: str):
        self.board, self.part = board, part
        title, label, hint = TITLES[part]
        self.choice = pn.widgets.Select(label=label, options=[], visible=False, width=420, margin=(0, 0, 10, 0))
        self.words, self.pane = html(""), figure_pane(HEIGHTS[part], visible=False)
        self.card = card(self.choice, self.words, self.pane, title=title, hint=hint, visible=False)
        self._drawn: tuple[Any, ...] = ()
        self.choice.param.watch(lambda _event: self.look(), "value")

    def look(self) -> None:
        """Show what there is by now."""
        names = self.board.easel.names(self.part)
        if set(names) != set(self.choice.options):
            before = self.choice.value
            self.choice.param.update(options=names, value=before if before in names else next(iter(names), None))
            self.choice.visible = len(names) > 1
        self.card.visible = bool(names)
        if not names or self.choice.value not in names:
            return
        drawing = self.board.easel.look(self.part, self.choice.value, self.board.mode, self.board.session.dark)
        if drawing.figure is not None:
            seen = self.choice.value, self.board.mode, self.board.session.dark, drawing.version
            if seen != self._drawn:
                self._drawn = seen
                self.pane.height = int(drawing.figure.layout.height or HEIGHTS[self.part])
                self.pane.object, self.pane.visible = drawing.figure, True
        self.words.object = f'<p class="soft">{class_words.escape(drawing.says)}</p>' if drawing.says else ""


class Board:
    """The board on one page."""

    def __init__(self, session: Session, classroom: Classroom, easel: Easel):
        self.session, self.classroom, self.easel = session, classroom, easel
        self.names = pn.widgets.RadioButtonGroup(
            label="Names", options={label: mode for mode, label in MODES.items()}, value="initials", margin=0
        )
        self.top, self.people, self.checks = (html("", stylesheets=[SHEET]) for _ in range(3))
        self.pictures: list[Pictures] = []
        self.more = pn.Column(sizing_mode="stretch_width", margin=0)
        self._seen: dict[str, Any] = {}
        self.names.param.watch(lambda _event: self.look(), "value")
        session.param.watch(lambda _event: self.look(), "dark")
        self.look()
        if pn.state.curdoc is None:
            self.fill()
        else:  # the page opens with how to join, who is here and the exercises; the rest follows at once
            pn.state.onload(session.guarded(self.fill))
            pn.state.add_periodic_callback(session.guarded(self.look), period=PERIOD_MS)

    @property
    def mode(self) -> str:
        """How students are called."""
        return self.names.value

    def parts(self) -> list[Any]:
        """What the page is made of."""
        return [
            heading("Class board", "What the class does, as it comes in."),
            card(self.top),
            card(self.people, title="Here"),
            card(
                self.checks, title="Exercises", hint="✓ right, ✗ not yet; the small number says how often it was tried."
            ),
            self.more,
        ]

    def fill(self) -> None:
        """Add the pictures and what a teacher can do."""
        self.pictures = [Pictures(self, part) for part in TITLES]
        self.more.objects = [
            *[one.card for one in self.pictures],
            orders(self.session, self.classroom, self.names),
        ]
        self.look()

    def look(self) -> None:
        """Show what has changed."""
        room = self.classroom.room
        self._show(self.top, class_words.top(self.classroom.address, self.classroom.ended))
        shown = called(dict(room.students), self.mode)
        self._show(self.people, class_words.people(room, shown, self.mode, self.troubles()))
        state = room.version["checks"], self.mode, len(shown)
        if self._seen.get("checks") != state:
            self._seen["checks"] = state
            self._show(self.checks, class_words.checks(room, shown, self.mode))
        for one in self.pictures:
            one.look()

    def troubles(self) -> list[str]:
        """What a teacher should know."""
        found, guessing, ledger = [], self.classroom.guard.guessing, self.classroom.ledger
        if guessing.most_from_one >= 2 * guessing.FREE:
            found.append(f"{guessing.most_from_one} wrong codes came from one address: somebody may be guessing.")
        if ledger is not None and ledger.trouble:
            found.append(f"{ledger.trouble} Nothing is lost: it is kept in the class's own file meanwhile.")
        return found

    @staticmethod
    def _show(pane: pn.pane.HTML, text: str) -> None:
        if pane.object != text:
            pane.object = text
