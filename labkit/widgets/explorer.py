"""What the explorers of a model share: they follow a cursor while they are seen, wait for their turn, and close whole."""

from collections.abc import Callable
from html import escape
from typing import Any

from ipywidgets import HTML, VBox

from labkit.widgets.cursor import Cursor
from labkit.widgets.words import message, sentence
from labkit.workbench.turns import TURNS

WAITING = "Another measurement is running; this one follows when it is done."


class Explorer(VBox):
    """A box with a message (`told`), a place for pictures (`place`) and a cursor that it follows.

    A sleeping explorer, in a tab that is not seen, does not follow; when it wakes it goes where the cursor is.
    """

    def __init__(self, cursor: Cursor | None, *axes: str):
        self.cursor = cursor or Cursor()
        self.told, self.place = HTML(), VBox([])
        self.awake = True
        super().__init__()
        self._hears = lambda _change: self._follow()
        self.cursor.observe(self._hears, list(axes))
        self._axes = axes

    def led(self) -> None:
        """The cursor has moved: go there."""

    def wake(self, awake: bool = True) -> None:
        """Follow the cursor from now on, or no longer."""
        self.awake = awake
        self._follow()

    def in_turn(self, work: Callable[[], None]) -> None:
        """Do something with the model when no other look is going on; what it raises is said in a sentence."""

        def job() -> None:
            if self.comm is None:
                return
            try:
                work()
            except Exception as error:  # the model is the user's: whatever it raises is said here
                self.told.value, self.place.children = message(sentence(error), "error"), []

        if not TURNS.soon(self, job):
            self.told.value = message(WAITING)

    def close(self) -> None:
        """Close all that is in it, and hear the cursor no more."""
        if getattr(self, "_axes", None):
            self.cursor.unobserve(self._hears, list(self._axes))
            self._axes = ()
        close_all(self)
        super().close()

    def _follow(self) -> None:
        if self.awake and self.comm is not None:
            self.led()


def close_all(box: Any) -> None:
    """Close what is in a box, and in the boxes in it."""
    for child in getattr(box, "children", ()):
        close_all(child)
        child.close()


def folded(title: str, entries: list[str]) -> str:
    """A list that is opened by a click, as HTML; nothing where there is no entry. The entries are HTML."""
    lines = "".join(f"<li>{entry}</li>" for entry in entries)
    return f"<details><summary>{escape(title)}</summary><ul>{lines}</ul></details>" if entries else ""


def not_measured(left_out: dict[str, str]) -> str:
    """What was left out and why, to be opened by a click, as HTML."""
    entries = [f"<b>{escape(name.replace('_', ' '))}</b>: {escape(why)}" for name, why in left_out.items()]
    return folded(f"Not measured ({len(entries)})", entries)
