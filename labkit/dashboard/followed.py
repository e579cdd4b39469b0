"""A run that a page follows: its progress, its growing curve, a way to stop it, and what is said when it ends."""

from html import escape
from typing import Any

import numpy as np
import panel as pn
import xarray as xr

from labkit.dashboard.gallery import figure_pane
from labkit.dashboard.layout import Session, html
from labkit.views.curves import curves

PERIOD_MS = 200
"""How often a run is looked at; ten times a second is the most that a browser keeps up with."""
GOING = ("queued", "running", "stopping")


class Followed:
    """What pages share that follow a run of a visit. `kept` is that run, `shows` the quantity of the curve."""

    noun, beginning = "run", "Preparing"

    def __init__(self, session: Session, shows: str):
        self.session, self.shows = session, shows
        self.kept: Any = None
        self.ticker: Any = None
        self._drawn = 0
        self.stop = pn.widgets.Button(label="■ Stop", color="danger", margin=0, align="end", disabled=True)
        self.label = html("")
        self.pane = figure_pane(360, visible=False)
        self.stop.on_click(session.guarded(lambda _event: self.halt()))
        session.param.watch(lambda _event: self.draw(force=True), "dark")

    def begun(self, kept: Any) -> None:
        """The page shows this run from now on: put the form into its state."""
        raise NotImplementedError

    def ended(self) -> None:
        """Nothing is under way any more: put the form back."""
        raise NotImplementedError

    def arrived(self, result: Any, first: bool) -> str:
        """Show what came out, `first` where nobody has yet, and return what to say."""
        raise NotImplementedError

    def follow(self, kept: Any) -> None:
        """Show this run from now on."""
        if kept is self.kept and self.ticker is not None:
            return
        self.kept, self._drawn = kept, 0
        self.begun(kept)
        self.stop.disabled = False
        if pn.state.curdoc is not None:
            self.ticker = pn.state.add_periodic_callback(self.look, period=PERIOD_MS)
        self.look()

    def halt(self) -> None:
        """Ask the run to stop; it does so after the step it is at. Who waits leaves the queue."""
        if self.kept is not None:
            self.kept.halt()
            self.look()

    def look(self) -> None:
        """Show where the run is; called a few times a second while it goes on."""
        kept = self.kept
        if kept is None:
            return
        state = kept.state  # read once: the thread may end between two lines
        self.stop.label = "■ Leave the queue" if state == "queued" else "■ Stop"
        if state == "queued":
            self.tell(kept.place.says)
            return
        word = "Stopping after this step" if state == "stopping" else kept.live.label or self.beginning
        self.tell(" · ".join([f"{round(100 * kept.live.fraction)} %", word, *kept.live.lost]))
        self.draw()
        if state not in GOING:
            self.finish(state)

    def tell(self, words: str) -> None:
        """Say where the run is, below a bar that shows how much of it is done."""
        done = self.kept.live.fraction
        bar = f'<progress max="1" value="{done:.3f}" aria-label="Part of the {self.noun} that is done"></progress>'
        self.label.object = f'{bar}<p role="status" class="soft">{escape(words)}</p>'

    def finish(self, state: str) -> None:
        """Put the buttons back and hand on what came out."""
        if self.ticker is not None:
            self.ticker.stop()
            self.ticker = None
        kept, self.stop.disabled = self.kept, True
        self.ended()
        if state == "failed":
            reason = kept.live.error or kept.place.error
            self.session.say(reason or f"The {self.noun} failed and gave no reason.")
            self.tell(f"The {self.noun} failed; the reason is on top of the page.")
        elif state == "stopped":
            self.tell("Stopped. Nothing was saved; the page shows what it showed before.")
        elif kept.live.result is not None:
            first, kept.kept = not kept.kept, True
            self.tell(" ".join([self.arrived(kept.live.result, first), *kept.live.lost]))

    def draw(self, force: bool = False) -> None:
        """Draw what the run shows, so far; only when there are new points."""
        points = self.kept.live.points if self.kept is not None else {}
        count = sum(len(steps) for steps, _ in points.values())
        if count and (force or count != self._drawn):
            self._drawn = count
            grown = growing(points, self.shows)
            self.pane.object = curves(grown, across="step", compare="arm", over="seed", dark=self.session.dark)
            self.pane.visible = True


def growing(points: dict[tuple[str, int], tuple[list[int], list[float]]], shows: str = "test_accuracy") -> xr.DataArray:
    """What is shown by (arm, seed) as an array (arm, seed, step), with NaN where nothing was measured yet."""
    arms = list(dict.fromkeys(arm for arm, _ in points))
    seeds = sorted({seed for _, seed in points})
    steps = sorted({step for measured, _ in points.values() for step in measured})
    values = np.full((len(arms), len(seeds), len(steps)), np.nan)
    for (arm, seed), (measured, found) in points.items():
        for step, value in zip(measured, found):
            values[arms.index(arm), seeds.index(seed), steps.index(step)] = value
    return xr.DataArray(
        values,
        dims=("arm", "seed", "step"),
        coords={"arm": arms, "seed": seeds, "step": steps},
        attrs={
            "long_name": f"{shows.replace('_', ' ')} so far",
            "units": "fraction" if shows == "test_accuracy" else "",
        },
    )
