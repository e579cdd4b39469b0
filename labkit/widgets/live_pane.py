"""One live picture beside its run: a lens that is kept up to date, drawn when the browser is ready, clicked to intervene."""

from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr
from ipywidgets import HTML, Button, HBox, Layout, ToggleButtons, VBox

from labkit.views.wording import number
from labkit.widgets.live_picture import LivePicture
from labkit.widgets.picture_frames import Words
from labkit.widgets.strip import Strip
from labkit.widgets.words import message
from labkit.workbench.hold.changed_places import changed_places

NOW, STEPS = "now", "over the steps"


class LivePane(VBox):
    """A lens as a picture. `paint` draws what was measured last, where that is new and the browser has drawn the last one.

    `picked(place, sentence)` is called when a cell is chosen, `closed(pane)` when the picture is put away.
    """

    def __init__(
        self,
        run: Any,
        lens: Any,
        picked: Callable[[dict[str, Any] | None, str], None],
        closed: Callable[["LivePane"], None],
    ):
        self.run, self.lens = run, lens
        self.look = run.look(lens)
        self.picture = LivePicture(Words(lens.name, lens.says, "Nothing is measured yet."))
        self._strip, self._drawn, self._known = Strip(), None, set()
        self._error = HTML()
        self.mode = ToggleButtons(options=[NOW, STEPS], style={"button_width": "auto"}, layout=Layout(width="auto"))
        self.mode.observe(lambda _change: self._again(), "value")
        put_away = Button(
            description="Put away", tooltip=f"Put the picture of {lens.name} away", layout=Layout(width="auto")
        )
        put_away.on_click(lambda _button: closed(self))
        tools = HBox([*([self.mode] if lens.steps else []), put_away], layout=Layout(justify_content="flex-end"))
        super().__init__([self.picture, self._error, tools], layout=Layout(width="100%"))
        self.picture.on_pick(lambda place: picked(place, self.said_of(place)))

    def paint(self) -> None:
        """Draw, where there is something new."""
        if self.look.error:
            self._error.value = message(self.look.error, "error")
            return
        found = self.look.latest
        if found is None or self.picture.busy:
            return
        step, measured = found
        viewing, branch = self.run.viewing, self.run.branch_name
        marks = changed_places(self.run.touches.active, self.run.model)
        key = (step, branch, viewing, self.mode.value, tuple(str(mark) for mark in marks), id(measured))
        if key == self._drawn:
            return
        self._drawn, self._error.value = key, ""
        strip = self.lens.steps and measured.sizes.get("layer", 1) == 1  # of several layers no row says how they were
        self.mode.layout.display = None if strip else "none"
        if strip and viewing is None:
            self._remember(branch, step, measured)
        if strip and self.mode.value == STEPS:
            self.picture.show_strip(self._strip.array(branch), step=step, marks=marks)
        else:
            self.picture.show(measured, step=step, marks=marks)

    def said_of(self, place: Mapping[str, Any] | None) -> str:
        """What was picked and what it is now, as words: "Unit 7 of slot.0, now 0.42"."""
        if not place:
            return ""
        found = self.look.latest
        now = None if found is None or "step" in place else entry_of(found[1], place)
        return f"{name_of(place)}{'' if now is None else f', now {number(now)}'}"

    def close(self) -> None:
        """Measure it no more."""
        self.look.close()
        super().close()

    def _again(self) -> None:
        self._drawn = None
        self.run.observer.wake()

    def _remember(self, branch: str, step: int, measured: xr.DataArray) -> None:
        if branch not in self._known:
            self._known.add(branch)
            one = next((one for one in self.run.branches if one.name == branch), None)
            if one is not None and one.parent is not None:
                self._strip.fork(branch, one.parent, one.start)
        self._strip.add(step, measured, branch)


def name_of(place: Mapping[str, Any]) -> str:
    """A place of a picture in words: the layer and the entry that was clicked."""
    if "parameter" in place:
        at = [str(place[axis]) for axis in ("row", "column") if axis in place]
        return f"Entry [{', '.join(at)}] of {place['parameter']}"
    rest = {axis: entry for axis, entry in place.items() if axis in ("unit", "choice", "class", "input", "step")}
    words = ", ".join(f"{axis} {entry}" for axis, entry in rest.items()) or "This cell"
    where = f" of {place['layer']}" if place.get("layer") else ""
    return f"{words[0].upper()}{words[1:]}{where}"


def entry_of(data: xr.DataArray, place: Mapping[str, Any]) -> float | None:
    """The number at a place of the picture, where there is one."""
    wanted = {axis: place[axis] for axis in data.dims if axis in place}
    try:
        found = data.sel(wanted)
    except (KeyError, TypeError, ValueError):
        return None
    return float(found) if found.ndim == 0 and bool(found.notnull()) else None
