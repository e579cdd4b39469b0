"""Run a study here: choose a scale, watch its curve grow, stop it at any time."""

from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np
import panel as pn
import xarray as xr

from labkit.dashboard.gallery import figure_pane
from labkit.dashboard.layout import Session, card, grid, html
from labkit.dashboard.provenance import duration
from labkit.views.curves import curves
from labkit.workbench.live import Live
from labkit.workbench.run import Run
from labkit.workbench.study import Study

PERIOD_MS = 200
"""How often a running study is looked at; ten times a second is the most that a browser keeps up with."""
GOING = ("running", "stopping")
SCALES = {
    "smoke": "Smoke: very short, to see it run",
    "lesson": "Lesson: enough for verdicts",
    "paper": "Paper: as near to the paper as it gets",
}


class Rerun:
    """The controls of one study in one session. `live` is the run that was started last."""

    def __init__(self, session: Session, study: Study, recorded: Run | None, done: Callable[[Run], None]):
        self.session, self.study, self.recorded, self.done = session, study, recorded, done
        self.live: Live | None = None
        self.ticker: Any = None
        self._drawn = 0
        labels = {SCALES.get(scale, scale.capitalize()): scale for scale in study.scales}
        self.scale = pn.widgets.Select(label="How much", options=labels, sizing_mode="stretch_width", margin=0)
        self.run = pn.widgets.Button(label="▶ Run it here", color="primary", margin=0, align="end")
        self.stop = pn.widgets.Button(label="■ Stop", color="danger", margin=0, align="end", disabled=True)
        self.expects = html("", margin=(10, 0, 0, 0))
        self.label = html("")
        self.pane = figure_pane(360, visible=False)
        self.run.on_click(session.guarded(lambda _event: self.start()))
        self.stop.on_click(session.guarded(lambda _event: self.halt()))
        self.scale.param.watch(lambda _event: self.expect(), "value")
        session.param.watch(lambda _event: self.draw(force=True), "dark")
        session.at_end(self.halt)
        self.expect()

    @property
    def going(self) -> bool:
        """Whether a run is under way."""
        return self.live is not None and self.live.state in GOING

    def expect(self) -> None:
        """Say how much will be trained at the chosen scale."""
        size = self.study.at(self.scale.value)
        text = f"Trains {len(self.study.arms)} arms on {size.seeds} seeds, {size.steps:,} steps each."
        if self.recorded is not None and self.recorded.scale == self.scale.value:
            taken = self.recorded.provenance.get("duration_s")
            text += f" The recorded run of this scale took {duration(taken)}." if taken is not None else ""
        self.expects.object = f'<p class="soft">{text}</p>'

    def start(self) -> None:
        """Start a run; a second click while one is under way does nothing."""
        if self.going:
            return
        self.session.say("")
        self.live, self._drawn = Live(self.study, self.scale.value), 0
        self.run.disabled, self.stop.disabled, self.scale.disabled = True, False, True
        self.live.start()
        if pn.state.curdoc is not None:
            self.ticker = pn.state.add_periodic_callback(self.look, period=PERIOD_MS)
        self.look()

    def halt(self) -> None:
        """Ask the run to stop; it does so after the step it is at."""
        if self.live is not None:
            self.live.stop()

    def look(self) -> None:
        """Show where the run is; called a few times a second while it goes on."""
        live = self.live
        if live is None:
            return
        state = live.state  # read once: the thread may end between two lines
        word = "Stopping after this step" if state == "stopping" else live.label or "Preparing"
        self.tell(f"{round(100 * live.fraction)} % · {word}")
        self.draw()
        if state not in GOING:
            self.finish(state)

    def tell(self, words: str) -> None:
        """Say where the run is, below a bar that shows how much of it is done."""
        bar = f'<progress max="1" value="{self.live.fraction:.3f}" aria-label="Part of the study that is done"></progress>'
        self.label.object = f'{bar}<p role="status" class="soft">{escape(words)}</p>'

    def finish(self, state: str) -> None:
        """Put the buttons back and hand on what came out."""
        if self.ticker is not None:
            self.ticker.stop()
            self.ticker = None
        self.run.disabled, self.stop.disabled, self.scale.disabled = False, True, False
        if state == "failed":
            self.session.say(self.live.error or "The run failed and gave no reason.")
            self.tell("The run failed; the reason is on top of the page.")
        elif state == "stopped":
            self.tell("Stopped. Nothing was saved; the page shows what it showed before.")
        elif self.live.result is not None:
            self.tell("Finished: the claims and pictures above are of this run now.")
            self.done(self.live.result)

    def draw(self, force: bool = False) -> None:
        """Draw the accuracies so far; only when there are new ones."""
        points = self.live.points if self.live is not None else {}
        count = sum(len(steps) for steps, _ in points.values())
        if count and (force or count != self._drawn):
            self._drawn = count
            self.pane.object = curves(
                growing(points), across="step", compare="arm", over="seed", dark=self.session.dark
            )
            self.pane.visible = True

    def view(self) -> Any:
        """The card on the page."""
        controls = grid(
            self.scale,
            self.run,
            self.stop,
            columns="minmax(0, 340px) auto auto 1fr",
            narrow="auto auto",
            gap="14px 12px",
        )
        hint = "Train it on this machine, now. The page stays usable meanwhile, and nothing that is recorded is overwritten."
        return card(controls, self.expects, self.label, self.pane, title="Run it here", hint=hint)


def growing(points: dict[tuple[str, int], tuple[list[int], list[float]]]) -> xr.DataArray:
    """Test accuracies by (arm, seed) as an array (arm, seed, step), with NaN where nothing was measured yet."""
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
        attrs={"long_name": "test accuracy so far", "units": "fraction"},
    )
