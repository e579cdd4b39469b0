"""Measure here: the quick board or the crossover on the machine of this server, in the background, with a way to stop.

A measuring asks for all places of this machine, so that no training of another visitor disturbs it or is disturbed. It
belongs to the visit: a reload finds it again.
"""

from collections.abc import Callable, Mapping
from html import escape
from threading import Event
from typing import Any

import panel as pn

from labkit.dashboard.followed import GOING, PERIOD_MS
from labkit.dashboard.layout import Session, card, grid, html
from labkit.dashboard.rerun import StudyRun
from labkit.workbench.hold.places import PLACES, Place, Places
from labkit.workbench.live import Live
from labkit.workbench.scoreboard.board import Watch, cases, measure
from labkit.workbench.scoreboard.saved import BOARD, CROSSOVER

KEY = "speed"
CHOICES = {
    "The board: a few sizes of each case": BOARD,
    "Where methods start to lose: under a minute": CROSSOVER,
}


def work_of(name: str) -> Callable[[Watch, Event], Mapping[str, Any]]:
    """What measures this board."""

    def work(watch: Watch, stop: Event) -> Mapping[str, Any]:
        if name == BOARD:
            return measure(list(cases().values()), quick=True, watch=watch, stop=stop)
        from labkit.workbench.scoreboard.crossover import crossover

        return crossover(watch=watch, stop=stop)

    return work


class Measuring(StudyRun):
    """One visitor's measuring, with its place in the queue. `scale` is which board it makes."""

    def __init__(self, name: str, who: str, places: Places = PLACES):
        self.scale, self.kept = name, False
        self.live = Live(work_of(name))
        self.place: Place = places.ask(KEY, self.live.start, doing=self._doing, who=who, takes=places.count)


class Racing:
    """The controls on one page; `done(name, board)` is called with what came out."""

    def __init__(self, session: Session, done: Callable[[str, Mapping[str, Any]], None]):
        self.session, self.done = session, done
        self.kept: Measuring | None = None
        self.ticker: Any = None
        self.what = pn.widgets.Select(label="What", options=CHOICES, sizing_mode="stretch_width", margin=0)
        self.run = pn.widgets.Button(label="▶ Measure here", color="primary", margin=0, align="end")
        self.stop = pn.widgets.Button(label="■ Stop", color="danger", margin=0, align="end", disabled=True)
        self.label = html("")
        self.run.on_click(session.guarded(lambda _event: self.start()))
        self.stop.on_click(session.guarded(lambda _event: self.halt()))
        earlier = session.visit.find(KEY)
        if earlier is not None and (earlier.state in GOING or earlier.state == "done"):
            self.follow(earlier)

    def start(self) -> None:
        """Start a measuring; while one is under way, here or in another tab, that one is shown."""
        self.session.say("")
        earlier = self.session.visit.find(KEY)
        if earlier is None or earlier.state not in GOING:
            earlier = Measuring(self.what.value, self.session.visit.key)
            self.session.visit.keep(KEY, earlier)
        self.follow(earlier)

    def follow(self, kept: Measuring) -> None:
        """Show this measuring from now on."""
        if kept is self.kept and self.ticker is not None:
            return
        self.kept, self.what.value = kept, kept.scale
        self.run.disabled, self.stop.disabled, self.what.disabled = True, False, True
        if pn.state.curdoc is not None:
            self.ticker = pn.state.add_periodic_callback(self.look, period=PERIOD_MS)
        self.look()

    def halt(self) -> None:
        """Ask it to stop, or leave the queue."""
        if self.kept is not None:
            self.kept.halt()
            self.look()

    def look(self) -> None:
        """Show where the measuring is; called a few times a second while it goes on."""
        if self.kept is None:
            return
        state = self.kept.state  # read once: the thread may end between two lines
        self.stop.label = "■ Leave the queue" if state == "queued" else "■ Stop"
        if state == "queued":
            self.tell(f"{self.kept.place.says} Nobody else trains on this machine while it is measured.")
        elif state == "stopping":
            self.tell("Stopping")
        elif state in GOING:
            self.tell(f"{round(100 * self.kept.live.fraction)} % · {self.kept.live.label or 'Preparing'}")
        else:
            self.finish(state)

    def finish(self, state: str) -> None:
        """Put the buttons back and hand on what came out."""
        if self.ticker is not None:
            self.ticker.stop()
            self.ticker = None
        self.run.disabled, self.stop.disabled, self.what.disabled = False, True, False
        if state == "failed":
            self.session.say(
                self.kept.live.error or self.kept.place.error or "The measuring failed and gave no reason."
            )
            self.tell("It failed; the reason is on top of the page.")
        elif state == "stopped":
            self.tell("Stopped. Nothing was saved; the page shows what it showed before.")
        elif self.kept.live.result is not None:
            self.tell("Finished: the page shows what this machine measured. It is not saved; ./lab bench does that.")
            self.done(self.kept.scale, self.kept.live.result)

    def tell(self, words: str) -> None:
        """Say where it is, below a bar that shows how much of it is done."""
        done = self.kept.live.fraction
        bar = f'<progress max="1" value="{done:.3f}" aria-label="Part of the measuring that is done"></progress>'
        self.label.object = f'{bar}<p role="status" class="soft">{escape(words)}</p>'

    def view(self) -> Any:
        """The card on the page."""
        what = grid(self.what, columns="minmax(0, 400px)", margin=(0, 0, 12, 0))
        controls = grid(self.run, self.stop, columns="auto auto 1fr", gap="12px")
        hint = (
            "On the machine that this page comes from, now. The page stays usable meanwhile, and nothing that is saved is "
            "overwritten. Close other programs first: what they take cannot be raced."
        )
        return card(what, controls, self.label, title="Measure here", hint=hint)
