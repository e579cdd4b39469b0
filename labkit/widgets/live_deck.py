"""The deck of a training that can be held: run, pause, step, stop, dials, a timeline to scrub and to branch, undo.

One JavaScript module draws it in notebooks (here) and in Panel (`panel_live_deck.py`). The browser orders, Python obeys
and says so; what the deck shows is always what Python has confirmed.

    status   JSON: state, step, steps, branch, speed, says, error, viewing, values of the dials, at (seconds since 1970)
    plan     JSON: name, live, dials, branches, kept, events, earlier, picked, touched (`deck_plan.py`)
    command  JSON from the browser, one order or a list: {"id": 1, "do": "run"}; `step` has a count, `change` a name and a
             value, `view` and `branch` a step or null, `switch` a branch, `touch` an intervention and its value; also
             `run, pause, stop, undo`
    answers  JSON: the last orders that were heard, [{"id": 1, "do": "run", "refused": null or a sentence}]
    done     the id of the order that was heard last
"""

import json
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from labkit.widgets.deck_talk import DeckTalk
from labkit.widgets.source import page, source, write

SCRIPT = source(
    "dark.js",
    "event_marks.js",
    "deck_parts.js",
    "deck_orders.js",
    "deck_buttons.js",
    "deck_dials.js",
    "deck_timeline.js",
    "deck_picked.js",
    "live_deck.js",
)
STYLE = source("live_deck.css")


class LiveDeck(DeckTalk, anywidget.AnyWidget):
    """Buttons, dials and the timeline of one run, for notebooks: `obey` a run, and `show` it again as it goes on."""

    _esm = SCRIPT
    _css = STYLE
    status = traitlets.Unicode("{}").tag(sync=True)
    plan = traitlets.Unicode("{}").tag(sync=True)
    command = traitlets.Unicode("[]").tag(sync=True)
    answers = traitlets.Unicode("[]").tag(sync=True)
    done = traitlets.Int(0).tag(sync=True)
    seq = traitlets.Int(0).tag(sync=True)
    acked = traitlets.Int(0).tag(sync=True)

    def __init__(self, run: Any = None, **settings: Any):
        super().__init__(**settings)
        self._begin()
        self.observe(lambda change: self._order(change["new"]), "command")
        if run is not None:
            self.obey(run)

    def _tell(self, **values: Any) -> None:
        # the thread that paints and the one that hears the browser must not share one `hold_sync`
        with self._lock, self.hold_sync():
            for name, value in values.items():
                setattr(self, name, value)

    def export_html(self, path: Path | str | None = None) -> str:
        """What is shown now as one HTML page to look at, which works offline; also written to `path` where one is given.

        Raises: LabError when the file cannot be written.
        """
        text = page(SCRIPT, STYLE, values_of(self, live=False), "Training")
        if path is not None:
            write(text, path)
        return text


def values_of(deck: Any, live: bool = True) -> dict[str, Any]:
    """What the stand-in for the model of a deck holds on a page; without `live` nothing can be ordered."""
    plan = json.loads(deck.plan)
    if not live:
        plan["live"] = False
    values = {"status": deck.status, "plan": json.dumps(plan), "command": "[]", "answers": "[]"}
    return values | {"done": 0, "seq": 1, "acked": 0}
