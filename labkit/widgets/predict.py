"""Predict, then run: draw the curve that you expect, lock it, and see what happened over it, with the area between.

    guess = predict("Test accuracy of a small network", x=("step", 0, 600), y=("accuracy", 0, 1))
    guess                                    # draw with the mouse, a finger or the arrow keys, and lock it
    guess.reveal(curve)                      # an array; with an axis `seed` its band; or a run, while it trains

`guess.points([(0, 0.1), (300, 0.8)]).lock()` says the same without drawing. In a class the guess is told to the board.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from labkit.errors import LabError
from labkit.views.thinning import evenly, peaks
from labkit.widgets.guess_gap import Axis, Gap, Truth, axis, gap, truth_of
from labkit.widgets.source import page, source, write
from labkit.widgets.words import message

SCRIPT = source("dark.js", "scales.js", "curve_axes.js", "curve_draw.js", "predict_keys.js", "predict.js")
STYLE = source("predict.css")
PLACES, POINTS, TOLD = 41, 300, 100
"""At how many places of the x axis a guess has a value, and of how many what happened is drawn, and told to a class."""
FEWEST, PATIENCE = 2, 1.0
FIRST = (
    "Before you look: draw the curve that you expect in the picture above, press “Lock my guess”, and run this cell again. "
    "A guess that may be wrong is worth more than a look at the answer."
)
_asked: dict[str, "Predict"] = {}


@dataclass(frozen=True)
class Answer:
    """What `reveal` says, shown by a notebook; `gap` is None where there was nothing to compare."""

    says: str
    gap: Gap | None = None

    def __repr__(self) -> str:
        return self.says

    def _repr_html_(self) -> str:
        return message(self.says, "done" if self.gap else "info")


class GuessTalk:
    """What the picture for notebooks and the one for Panel have in common; `_tell(**values)` hands values to the browser."""

    drawn: str
    locked: bool
    seq: int
    acked: int

    def _begin(self, question: str, x: Axis, y: Axis) -> None:
        self.question, self.x, self.y = question, x, y
        self.gap: Gap | None = None
        self._truth: Truth | None = None
        self._says, self._told, self._sent = "", False, 0.0
        self._leave: Callable[[], None] = lambda: None

    def _tell(self, **values: Any) -> None:
        raise NotImplementedError

    @property
    def values(self) -> list[float | None]:
        """The guess at each of the places along the x axis, None where nothing is drawn."""
        return json.loads(self.drawn)

    @property
    def curve(self) -> list[tuple[float, float]]:
        """The points of the guess, (x, y)."""
        places = np.linspace(self.x.low, self.x.high, PLACES)
        return [(float(place), float(value)) for place, value in zip(places, self.values) if value is not None]

    def points(self, points: Iterable[tuple[float, float]]):
        """Draw the guess through these points, straight between them and level beyond; returns the picture.

        Raises: LabError when it is locked, or when a point lies outside.
        """
        if self.locked:
            raise LabError("This guess is locked; .again() takes it back, and what was revealed with it.")
        given = sorted((float(x), float(y)) for x, y in points)
        outside = [
            f"({x:g}, {y:g})"
            for x, y in given
            if not (self.x.low <= x <= self.x.high and self.y.low <= y <= self.y.high)
        ]
        if outside or not given:
            ends = (
                f"{self.x.name} {self.x.low:g} to {self.x.high:g} and {self.y.name} {self.y.low:g} to {self.y.high:g}"
            )
            raise LabError(f"{', '.join(outside) or 'No point'} lies in the picture, which shows {ends}.")
        places = np.linspace(self.x.low, self.x.high, PLACES)
        self._tell(drawn=json.dumps([float(one) for one in np.interp(places, *np.array(given).T)]))
        return self

    def lock(self):
        """Lock the guess, as the button does; returns the picture. Raises: LabError where nothing is drawn."""
        if len(self.curve) < FEWEST:
            raise LabError("There is no guess yet: draw the curve that you expect, or say .points([(x, y), (x, y)]).")
        if not self.locked:
            self._tell(locked=True)
        return self

    def again(self):
        """Take the guess back, and what was revealed with it; returns the picture."""
        self._leave()
        self.gap, self._truth, self._says, self._told = None, None, "", False
        self._tell(drawn=json.dumps([None] * PLACES), locked=False)
        self._show()
        return self

    def reveal(self, actual: Any, quantity: str | None = None) -> Answer:
        """Draw what happened over the guess, and say how far it was off. Says what to do where no guess is locked.

        `actual` is a DataArray with one axis beside `seed`, (xs, ys), values at equal distances, or a `LiveRun`, whose
        `quantity` is then drawn while it trains.
        Raises: LabError when it has other axes or lies outside the picture.
        """
        if not self.locked:
            return Answer(FIRST)
        self._leave()
        if hasattr(actual, "on_round") and hasattr(actual, "curves"):
            return self._follow(actual, quantity)
        return self._compare(truth_of(actual, self.x))

    def _compare(self, truth: Truth, over: bool = True) -> Answer:
        self._truth, self.gap = truth, gap(self.curve, truth, self.x, self.y)
        self._says = self.gap.says if over else f"So far: {self.gap.says}"
        self._show()
        if over:
            kept = evenly(len(truth.x), TOLD)
            self._tell_the_class(area=self.gap.area, truth=_plain(zip(truth.x[kept], truth.mean[kept])))
        return Answer(self._says, self.gap)

    def _follow(self, run: Any, quantity: str | None) -> Answer:
        from labkit.widgets.run_curves import ordered

        def over_yet() -> bool:
            now = run.status()
            return now["state"] in ("stopped", "failed") or (bool(run.steps) and now["step"] >= run.steps)

        def look() -> Answer:
            over = over_yet()
            names = ordered(list(run.quantities))
            asked = quantity or next((one for one in names if self.y.name.replace(" ", "_") in one), None)
            steps, values = run.curves(asked).get(run.branch_name, ((), ())) if asked in names else ((), ())
            if len(steps) > 1:
                answer = self._compare(truth_of((steps, values), self.x), over)
            else:
                answer = Answer(f"It is drawn as soon as the run has two values of {asked or self.y.name}.")
            if over:
                self._leave()
            return answer

        self._leave = run.on_round(lambda: None if self.busy and not over_yet() else look())
        return look()

    @property
    def busy(self) -> bool:
        """Whether the browser still draws what it was told last; after a second without an answer it counts as done."""
        return self.acked < self.seq and time.monotonic() - self._sent < PATIENCE

    def _show(self) -> None:
        self._sent = time.monotonic()
        self._tell(state=self._state(), seq=self.seq + 1)

    def _state(self) -> str:
        told: dict[str, Any] = {"question": self.question, "x": asdict(self.x), "y": asdict(self.y), "says": self._says}
        if self._truth is not None:
            rows = [one for one in (self._truth.mean, self._truth.low, self._truth.high) if one is not None]
            kept = peaks(np.stack(rows), POINTS) if len(self._truth.x) > POINTS else slice(None)
            lines = {"x": self._truth.x, "y": self._truth.mean, "low": self._truth.low, "high": self._truth.high}
            told["truth"] = {
                name: [float(f"{v:.6g}") for v in line[kept]] for name, line in lines.items() if line is not None
            }
        return json.dumps(told)

    def _heard_lock(self) -> None:
        if not self.locked:
            self._told = False
        if not self.locked or self._told:
            return
        if len(self.curve) < FEWEST:
            self._tell(locked=False)
            return
        self._told = True
        self._tell_the_class()

    def _tell_the_class(self, **known: Any) -> None:
        """Say the guess to the class, where this notebook has a seat in one; once it is known, also what happened."""
        seat = sys.modules.get("labkit.workshop.seat")  # whoever joined a class has loaded it
        here = seat.joined() if seat else None
        if here is not None:
            here.tell("guess", question=self.question, points=_plain(self.curve), **known)


def _plain(points: Iterable[tuple[float, float]]) -> list[list[float]]:
    return [[float(f"{x:.6g}"), float(f"{y:.6g}")] for x, y in points]


class Predict(GuessTalk, anywidget.AnyWidget):
    """The picture for notebooks in which a curve is guessed; `predict(...)` makes one."""

    _esm = SCRIPT
    _css = STYLE
    state = traitlets.Unicode("{}").tag(sync=True)
    drawn = traitlets.Unicode(json.dumps([None] * PLACES)).tag(sync=True)
    locked = traitlets.Bool(False).tag(sync=True)
    seq = traitlets.Int(0).tag(sync=True)
    acked = traitlets.Int(0).tag(sync=True)

    def __init__(self, question: str, x: Axis, y: Axis, **settings: Any):
        super().__init__(**settings)
        self._begin(question, x, y)
        self._show()
        self.observe(lambda _change: self._heard_lock(), "locked")

    def _tell(self, **values: Any) -> None:
        with self.hold_sync():
            for name, value in values.items():
                setattr(self, name, value)

    def export_html(self, path: Path | str | None = None) -> str:
        """What is shown now as one HTML page that works offline; also written to `path` where one is given."""
        values = {"state": self.state, "drawn": self.drawn, "locked": self.locked, "seq": 1, "acked": 0}
        text = page(SCRIPT, STYLE, values, self.question)
        if path is not None:
            write(text, path)
        return text


def predict(question: str, *, x: Sequence[Any] = ("step", 0, 600), y: Sequence[Any] = ("accuracy", 0, 1)) -> Predict:
    """A picture in which to draw the curve that you expect, before you run what shows it.

    `x` and `y` are (name, lowest, highest), `y` also with a unit: ("loss", 0, 3, "nats"). Of an axis from 0 to 1
    differences are told in points. The same question asked again, because its cell was run again, keeps its guess.

    Raises: LabError for axes that make no sense.
    """
    asked = Predict(question, axis(x, "x"), axis(y, "y"))
    before = _asked.get(question)
    if before is not None and (before.x, before.y) == (asked.x, asked.y):
        asked._told = before._told
        asked._tell(drawn=before.drawn, locked=before.locked)
    _asked[question] = asked
    return asked
