"""Presenter mode of a notebook: large type, one cell bright, arrow keys or a clicker from cell to cell; the class may follow.

    present()                          # a button; Escape leaves
    present(teach(), cursor=cursor)    # and every notebook that follows is where this one is
    follow(cursor=cursor)              # in a student's notebook

`cursor` is a `labkit.widgets.cursor.Cursor`: pictures that share it show the same step in all notebooks.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import anywidget
import traitlets

from labkit.errors import LabError
from labkit.widgets.cursor import Cursor
from labkit.widgets.source import source

STYLE = source("presenter.css")


class Presenter(anywidget.AnyWidget):
    """The button that begins presenter mode; `present(...)` makes one. `place` is the cell that is shown now."""

    _esm = source("notebook_cells.js", "presenter.js")
    css = traitlets.Unicode(STYLE).tag(sync=True)
    told = traitlets.Bool(False).tag(sync=True)
    place = traitlets.Dict().tag(sync=True)
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(self, teacher: Any = None, cursor: Cursor | None = None):
        super().__init__(told=teacher is not None)
        self.teacher, self.cursor = teacher, cursor
        self._forget: Callable[[], None] = lambda: None
        self._waiting: Queue[dict[str, Any]] = Queue()
        self._voice: Thread | None = None
        self.observe(lambda _change: self._tell(), "place")
        if cursor is not None:
            self._forget = cursor.join(lambda _places: self._tell())

    def close(self) -> None:
        forget, self._forget = self._forget, lambda: None  # ipywidgets closes again what is thrown away
        forget()
        super().close()

    def _tell(self) -> None:
        """Hand the place to the thread that speaks: a slow network must not hold up a talk."""
        if self.teacher is None or "cell" not in self.place:
            return
        what = {"notebook": notebook_name(), "cell": self.place["cell"], "words": self.place.get("words", "")}
        places = dict(self.cursor.places) if self.cursor is not None else {}
        # a class takes text and numbers only, so the places travel as text
        self._waiting.put(what | {"step": places.get("step"), "cursor": json.dumps(places, default=str)})
        if self._voice is None or not self._voice.is_alive():
            self._voice = Thread(target=self._speak, name="labkit-presenter", daemon=True)
            self._voice.start()

    def _speak(self) -> None:
        while True:
            try:
                what = self._waiting.get(timeout=5)
            except Empty:
                return
            while not self._waiting.empty():  # whoever clicks fast is only interested in the last place
                what = self._waiting.get()
            try:
                self.teacher.say("place", **what)
                self.said = ""
            except LabError as error:
                self.said = f"the class does not hear this: {error}"


class Follower(anywidget.AnyWidget):
    """The line that says whether this notebook follows the teacher; `follow()` makes one."""

    _esm = source("notebook_cells.js", "follow.js")
    css = traitlets.Unicode(STYLE).tag(sync=True)
    place = traitlets.Dict().tag(sync=True)
    following = traitlets.Bool(True).tag(sync=True)
    mine = traitlets.Bool(True).tag(sync=True)

    def __init__(self, seat: Any, cursor: Cursor | None = None):
        super().__init__()
        self.cursor = cursor
        self.stop = seat.hear("place", self._heard)

    def close(self) -> None:
        stop, self.stop = vars(self).get("stop"), lambda: None  # ipywidgets closes again what is thrown away
        if stop is not None:
            stop()
        super().close()

    def _heard(self, what: dict[str, Any]) -> None:
        """Called by the seat in a thread of its own, with whatever the class sends."""
        cell, words = what.get("cell"), what.get("words")
        if not isinstance(cell, int) or isinstance(cell, bool):
            return
        notebook = str(what.get("notebook", ""))[:120]
        with self.hold_sync():
            self.mine = not notebook or not notebook_name() or notebook == notebook_name()
            self.place = {"cell": cell, "words": words[:80] if isinstance(words, str) else "", "notebook": notebook}
        places = _read(what.get("cursor"))
        if self.following and self.cursor is not None and isinstance(places, dict):
            known = {axis: place for axis, place in places.items() if axis in self.cursor.axes}
            self.cursor.move(**known)


def _read(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):  # cut off on its way, or not from a presenter
        return None


def present(teacher: Any = None, cursor: Cursor | None = None) -> Presenter:
    """A button for presenter mode. With `teach()` the class that follows is taken along; with `cursor` its pictures too."""
    if teacher is not None and not hasattr(teacher, "say"):
        raise LabError("present() takes what teach() returns: from labkit.workshop.teacher import teach.")
    return Presenter(teacher, cursor)


def follow(cursor: Cursor | None = None) -> Follower:
    """Follow the teacher in this notebook. Raises: LabError where this notebook has no seat in a class."""
    module = sys.modules.get("labkit.workshop.seat")  # whoever joined a class has loaded it
    seat = module.joined() if module else None
    if seat is None:
        raise LabError('There is no teacher to follow: first join("ADDRESS", "your name"), as the board shows it.')
    return Follower(seat, cursor)


def notebook_name() -> str:
    """The name of the notebook of this kernel, as Jupyter says it; empty where it does not."""
    return Path(os.environ.get("JPY_SESSION_NAME", "")).stem
