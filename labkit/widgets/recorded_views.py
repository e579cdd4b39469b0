"""What was recorded, in a notebook: a watched training, and routing that another program wrote down."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import xarray as xr
from ipywidgets import HTML, VBox

from labkit.errors import LabError
from labkit.recording.provenance import surroundings
from labkit.widgets.cursor import Cursor
from labkit.widgets.explorer import close_all, folded, not_measured
from labkit.widgets.history_pictures import chapters
from labkit.widgets.picture_book import PictureBook
from labkit.widgets.routing_pictures import routing
from labkit.widgets.words import prose
from labkit.workbench.routing_inspection import inspect_routing

SHOWN = 12
"""Events that are listed in full; the others are counted."""


class HistoryView(VBox):
    """The pictures of a training that was watched: `HistoryView(watching.history)`, or a recording that was opened.

    Raises: LabError when it is no history, or when nothing was seen yet.
    """

    def __init__(self, history: Any, *, cursor: Cursor | None = None):
        data = getattr(history, "data", None)
        if not isinstance(data, xr.Dataset):
            raise LabError(f"HistoryView shows the history of a watch, `watching.history`, and not {kind(history)}.")
        self.events = tuple(getattr(history, "events", ()))
        found = chapters(data, self.events) if data.sizes.get("step", 0) else {}
        if not any(found.values()):
            raise LabError("This history is empty: nothing was seen while the watch was on.")
        self.data, self.cursor = data, cursor or Cursor()
        self.book = PictureBook(found, cursor=self.cursor)
        super().__init__([HTML(told(data, self.events)), self.book])

    def export(self, path: Path | str) -> Path:
        """All pictures as one HTML page, which needs no network and no Python. Returns the path.

        Raises: LabError when the file cannot be written.
        """
        says = " ".join([seen(self.data), *(say(event) for event in self.events[:SHOWN])])
        return self.book.export(path, title="A training that was watched", says=says, provenance=surroundings())

    def close(self) -> None:
        """Close everything in it."""
        close_all(self)
        super().close()


class RoutingView(VBox):
    """The pictures of a recorded routing, without a model: `RoutingView(open_routing("trace.jsonl"))`.

    `labels` (one for each input or token) show what experts are for, `classes` are their names; `texts` names the tokens.
    Raises: LabError when it is no routing, when texts do not fit, or when nothing in it can be measured.
    """

    def __init__(
        self,
        routings: Any,
        *,
        labels: Any = None,
        texts: Sequence[Any] | None = None,
        classes: Sequence[str] | None = None,
        cursor: Cursor | None = None,
    ):
        self.measurements, self.left_out = inspect_routing(routings, labels=labels, texts=texts, classes=classes)
        self.cursor, self.routings = cursor or Cursor(), routings
        self.book = PictureBook({"Routing": routing(self.measurements)}, cursor=self.cursor)
        layers = f"<p style='margin:2px 0'>{self.says}</p>"
        notes = "".join(f"<li>{escape(one)}</li>" for one in self.notes)
        head = f"{layers}<ul style='margin:2px 0'>{notes}</ul>{not_measured(self.left_out)}"
        super().__init__([HTML(prose(head)), self.book])

    @property
    def says(self) -> str:
        """Of how many layers, and who recorded it."""
        count, program = len(self.routings), getattr(self.routings, "program", "")
        return f"Routing of {count} layer{'s' * (count != 1)}{f', recorded by {escape(program)}' if program else ''}."

    @property
    def notes(self) -> list[str]:
        """What the recording says of itself."""
        return [str(one) for one in getattr(self.routings, "says", ())]

    def export(self, path: Path | str) -> Path:
        """All pictures as one HTML page, which needs no network and no Python. Returns the path.

        Raises: LabError when the file cannot be written.
        """
        says = " ".join([self.says, *self.notes])
        return self.book.export(path, title="A recorded routing", says=says, provenance=surroundings())

    def close(self) -> None:
        """Close everything in it."""
        close_all(self)
        super().close()


def seen(data: xr.Dataset) -> str:
    """From which to which step was looked, and how often, in a sentence."""
    steps = data["step"].values
    rows = f"{len(steps):,} row{'s' * (len(steps) != 1)}"
    return f"{rows}, from step {int(steps[0]):,} to step {int(steps[-1]):,}."


def told(data: xr.Dataset, events: Sequence[Any]) -> str:
    """What was seen and what happened, as a list; of many events the first ones, and how many there are more."""
    head = f"<p style='margin:2px 0'>{seen(data)}{'' if events else ' Nothing unusual happened.'}</p>"
    lines = [escape(say(event)) for event in events[:SHOWN]]
    lines += [f"and {len(events) - SHOWN:,} more"] if len(events) > SHOWN else []
    listed = folded(f"{len(events):,} thing{'s' * (len(events) != 1)} happened", lines)
    return prose(head + listed.replace("<details>", "<details open>", 1))


def say(event: Any) -> str:
    """An event in words, also one that was read from a file."""
    if isinstance(event, Mapping):
        return f"step {event['step']:,}, {event['where']}: {event['says']}"
    return str(event)


def kind(value: Any) -> str:
    """What kind of thing this is, in a message."""
    return "nothing" if value is None else f"a {type(value).__name__}"
