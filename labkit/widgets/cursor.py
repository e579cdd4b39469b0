"""One place in the data that several pictures show and move together: a step, a layer, a unit, a token, a choice, an input.

A picture tells the cursor only what a person did, and draws whatever it is told; so a move goes once around and stops.
"""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import traitlets

from labkit.errors import LabError

AXES = ("step", "layer", "unit", "token", "choice", "input", "head", "key")


class Cursor(traitlets.HasTraits):
    """Where one looks: an entry on each axis, None where none is set. Give the same cursor to all that shall move together.

    `cursor.step = 300` moves it, `cursor.observe(callback, "step")` hears it move, `cursor.move(layer=..., unit=...)`
    moves several axes at once. Entries are coordinates of the data ("layers.0", 300), not places. Other axes than the
    usual ones are named: `Cursor("component")`.
    """

    step = traitlets.Any(None)
    layer = traitlets.Any(None)
    unit = traitlets.Any(None)
    token = traitlets.Any(None)
    choice = traitlets.Any(None)
    input = traitlets.Any(None)
    head = traitlets.Any(None)
    key = traitlets.Any(None)

    def __init__(self, *axes: str, **places: Any):
        super().__init__()
        self.axes = [*AXES]
        self._listeners: list[Callable[[dict[str, Any]], None]] = []
        self._know(*axes)
        self.move(**places)
        self.observe(self._moved)

    def _know(self, *axes: str) -> None:
        new = [axis for axis in axes if axis not in self.axes]
        for axis in new:
            if not axis.isidentifier() or hasattr(self, axis):
                raise LabError(f"A cursor cannot have an axis called {axis!r}: take another word, without spaces.")
        if new:
            self.add_traits(**{axis: traitlets.Any(None) for axis in new})
            self.axes += new

    @property
    def places(self) -> dict[str, Any]:
        """The axes that are set, with their entries."""
        return {axis: getattr(self, axis) for axis in self.axes if getattr(self, axis) is not None}

    def move(self, **places: Any) -> None:
        """Set some axes at once; None takes the cursor off an axis, an axis that is new is added."""
        self._know(*places)
        with self.hold_trait_notifications():
            for axis, place in places.items():
                setattr(self, axis, plain(place))

    def clear(self) -> None:
        """Take the cursor off every axis."""
        self.move(**dict.fromkeys(self.axes))

    def join(self, tell: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Call `tell(places)` now and after every move; call what is returned to stop that."""
        self._listeners.append(tell)
        tell(self.places)
        return lambda: self._listeners.remove(tell) if tell in self._listeners else None

    def attach(self, widget: traitlets.HasTraits) -> None:
        """Tie a widget of labkit to the cursor: what it draws (`cursor`) and what a person moves on it (`moved`)."""
        seen = weakref.ref(widget)

        def tell(places: dict[str, Any]) -> None:
            shown: Any = seen()
            if shown is None or shown.comm is None:
                forget()
            else:
                shown.cursor = places

        forget: Callable[[], None] = lambda: None  # noqa: E731 (a closed widget may be told before join returns)
        forget = self.join(tell)
        widget.observe(lambda change: self.heard(change["new"]), "moved")

    def heard(self, moved: Mapping[str, Any]) -> None:
        """Move as a browser said: {"places": {axis: entry}}."""
        places = moved.get("places", {})
        known = {
            str(axis): place for axis, place in places.items() if axis in self.axes or not hasattr(self, str(axis))
        }
        self.move(**{axis: place for axis, place in known.items() if axis.isidentifier()})

    def follow(self, widget: Any, axis: str, trait: str = "value") -> None:
        """Tie a control of ipywidgets to one axis, such as a slider to the step.

        A control with options goes to the nearest of them, and does not push the cursor there.
        """
        self._know(axis)
        following = False

        def tell(places: dict[str, Any]) -> None:
            nonlocal following
            if axis not in places or following:
                return
            following = True
            try:
                setattr(widget, trait, nearest(places[axis], getattr(widget, "options", None)))
            except traitlets.TraitError:
                pass  # the control has no such entry, and stays where it is
            finally:
                following = False

        def moved(change: Any) -> None:
            if not following:
                self.move(**{axis: change["new"]})

        self.join(tell)
        widget.observe(moved, trait)

    def _moved(self, change: Any) -> None:
        if change["name"] in self.axes:
            for tell in list(self._listeners):
                tell(self.places)


def plain(place: Any) -> Any:
    """The entry as a plain Python value, which JSON can say."""
    return place.item() if isinstance(place, np.generic) else place


def nearest(place: Any, options: Any) -> Any:
    """The option that is this place, or the nearest number among the options."""
    values = [one[1] if isinstance(one, tuple) else one for one in options or ()]
    if not values or place in values:
        return place
    numbers = [one for one in values if isinstance(one, int | float)]
    return min(numbers, key=lambda one: abs(one - place)) if numbers and isinstance(place, int | float) else place
