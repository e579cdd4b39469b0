"""Draws the pictures of a class once for all pages that show them, in a thread, and no oftener than they can be looked at."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Any

import plotly.graph_objects as go

from labkit.dashboard import class_figures
from labkit.dashboard.class_names import called
from labkit.errors import LabError
from labkit.workshop.classroom.room import Curve, Room

PAUSE, SHARE = 2.0, 8.0
"""Seconds between two drawings of the same picture, and how many times as long as a drawing takes they are at least."""
DRAWINGS = 24
PARTS = {"guesses": "guesses", "studies": "studies", "curves": "curves"}
Key = tuple[str, str, str, bool]


@dataclass
class Drawing:
    """One picture: what it shows, of which version of the room, and when it may be drawn again."""

    figure: go.Figure | None = None
    says: str = ""
    version: int = -1
    next: float = 0.0
    busy: bool = field(default=False)


class Easel:
    """The pictures of one class. `look` never waits: it gives what is drawn, and has it drawn anew where that is due."""

    def __init__(self, room: Room):
        self.room, self._lock, self._drawings = room, Lock(), dict[Key, Drawing]()
        self._hand = ThreadPoolExecutor(1, thread_name_prefix="labkit-class-easel")

    def names(self, part: str) -> list[str]:
        """What there is to look at: questions, studies or quantities, those of most students first."""
        with self.room.lock:
            found = getattr(self.room, part)
            sizes = {
                name: len(one) if part != "studies" else max(map(len, one.values())) for name, one in found.items()
            }
        return sorted(sizes, key=lambda name: -sizes[name])[:40]

    def look(self, part: str, name: str, mode: str, dark: bool) -> Drawing:
        """The newest drawing of a picture, which may be empty."""
        key, version = (part, name, mode, dark), self.room.version[part]
        with self._lock:
            drawing = self._drawings.pop(key, None) or Drawing()
            self._drawings[key] = drawing
            while len(self._drawings) > DRAWINGS:
                self._drawings.pop(next(iter(self._drawings)))
            due = drawing.version != version and not drawing.busy and monotonic() >= drawing.next
            drawing.busy = drawing.busy or due
        if due:
            self._hand.submit(self._draw, key, drawing)
        return drawing

    def _draw(self, key: Key, drawing: Drawing) -> None:
        part, name, mode, dark = key
        version, began = self.room.version[part], monotonic()
        try:
            drawing.figure, drawing.says = draw(self.room, part, name, mode, dark), ""
        except LabError as error:
            drawing.figure, drawing.says = None, str(error)
        except Exception as error:  # one picture that cannot be drawn must not end the others
            drawing.figure, drawing.says = None, f"This cannot be drawn: {type(error).__name__}: {error}"
        ended = monotonic()
        drawing.next = ended + max(PAUSE, SHARE * (ended - began))
        drawing.version, drawing.busy = version, False

    def close(self) -> None:
        self._hand.shutdown(wait=False, cancel_futures=True)


def draw(room: Room, part: str, name: str, mode: str, dark: bool) -> go.Figure:
    """One picture, drawn now. Raises: LabError where there is nothing to draw."""
    with room.lock:
        who = called(dict(room.students), mode)
        held: Any = room_part(room, part, name)
    if not held:
        raise LabError("Nothing was told yet.")
    makes: dict[str, Callable[[], go.Figure]] = {
        "guesses": lambda: class_figures.pooled({who[seat]: one for seat, one in held.items()}, name, dark),
        "studies": lambda: class_figures.study(
            {arm: {who[seat]: value for seat, value in dots.items()} for arm, dots in held.items()}, name, dark
        ),
        "curves": lambda: class_figures.runs({(who[seat], run): one for (seat, run), one in held.items()}, name, dark),
    }
    return makes[part]()


def room_part(room: Room, part: str, name: str) -> Any:
    """A copy of what is told of one question, study or quantity."""
    held = getattr(room, part).get(name, {})
    if part == "studies":
        return {arm: dict(dots) for arm, dots in held.items()}
    if part == "curves":
        return {
            key: Curve(list(one.steps), list(one.values), one.every, one.seen, one.last) for key, one in held.items()
        }
    return dict(held)
