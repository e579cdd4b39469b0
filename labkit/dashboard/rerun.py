"""Run a study here: choose a scale, watch its curve grow, stop it at any time.

The run belongs to the visit: a reload finds it again, and it ends a while after its visitor has left (`visits.py`). It
needs as many places of this machine as it has worker processes, and waits in the queue until they are free.
"""

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
from labkit.workbench.crew.crew import cores
from labkit.workbench.hold.places import PLACES, Doing, Place, Places
from labkit.workbench.live import ENDED, Live
from labkit.workbench.run import Run
from labkit.workbench.study import Study

PERIOD_MS = 200
"""How often a running study is looked at; ten times a second is the most that a browser keeps up with."""
GOING = ("queued", "running", "stopping")
SCALES = {
    "smoke": "Smoke: very short, to see it run",
    "lesson": "Lesson: enough for verdicts",
    "paper": "Paper: as near to the paper as it gets",
}


class StudyRun:
    """One visitor's run of a whole study, with its place in the queue."""

    def __init__(self, study: Study, scale: str, who: str, places: Places = PLACES):
        # two at least: in this process it would share the random numbers of torch with other visitors' runs
        jobs = max(2, min(cores(), places.count))
        self.scale, self.kept = scale, False
        self.live = Live(study, scale, jobs=jobs)
        self.place: Place = places.ask(study.name, self.live.start, doing=self._doing, who=who, takes=jobs)

    @property
    def waits(self) -> bool:
        """Whether others are before it."""
        return self.place.state == "waiting"

    @property
    def state(self) -> str:
        """What the run is doing: the states of Live, and "queued"; who left the queue is stopped."""
        if self.live.state == "ready":
            return "queued" if self.waits else "failed" if self.place.error else "stopped"
        return self.live.state

    def _doing(self) -> Doing:
        return "over" if self.live.state in ENDED else "busy"

    def halt(self) -> None:
        """Ask it to stop, or leave the queue; never waits. Its place is free when its processes have ended."""
        if self.waits:
            self.place.leave()
        self.live.stop()

    def end(self, seconds: float) -> None:
        """Stop it and wait for its end, at most so long."""
        self.halt()
        self.live.wait(seconds)


class Rerun:
    """The controls of one study on one page. `kept` is the visit's run of this study that was started last."""

    def __init__(self, session: Session, study: Study, recorded: Run | None, done: Callable[[Run, bool], None]):
        self.session, self.study, self.recorded, self.done = session, study, recorded, done
        self.visit = session.visit
        self.kept: StudyRun | None = None
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
        self.expect()
        earlier = self.visit.find(self.key)
        if earlier is not None:
            self.follow(earlier)

    @property
    def key(self) -> str:
        """Under which name the visit keeps the run."""
        return f"study {self.study.name}"

    @property
    def live(self) -> Live | None:
        """The run itself."""
        return self.kept.live if self.kept is not None else None

    @property
    def going(self) -> bool:
        """Whether a run is under way."""
        return self.kept is not None and self.kept.state in GOING

    def expect(self) -> None:
        """Say how much will be trained at the chosen scale."""
        size = self.study.at(self.scale.value)
        text = f"Trains {len(self.study.arms)} arms on {size.seeds} seeds, {size.steps:,} steps each."
        if self.recorded is not None and self.recorded.scale == self.scale.value:
            taken = self.recorded.provenance.get("duration_s")
            text += f" The recorded run of this scale took {duration(taken)}." if taken is not None else ""
        self.expects.object = f'<p class="soft">{text}</p>'

    def start(self) -> None:
        """Start a run; a second click while one is under way, here or in another tab, shows that one."""
        self.session.say("")
        earlier = self.visit.find(self.key)
        if earlier is None or earlier.state not in GOING:
            earlier = StudyRun(self.study, self.scale.value, self.visit.key)
            self.visit.keep(self.key, earlier)
        self.follow(earlier)

    def follow(self, kept: StudyRun) -> None:
        """Show this run from now on."""
        if kept is self.kept and self.ticker is not None:
            return
        self.kept, self._drawn = kept, 0
        self.scale.value = kept.scale
        self.run.disabled, self.stop.disabled, self.scale.disabled = True, False, True
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
        word = "Stopping after this step" if state == "stopping" else kept.live.label or "Preparing"
        self.tell(" · ".join([f"{round(100 * kept.live.fraction)} %", word, *kept.live.lost]))
        self.draw()
        if state not in GOING:
            self.finish(state)

    def tell(self, words: str) -> None:
        """Say where the run is, below a bar that shows how much of it is done."""
        done = self.kept.live.fraction
        bar = f'<progress max="1" value="{done:.3f}" aria-label="Part of the study that is done"></progress>'
        self.label.object = f'{bar}<p role="status" class="soft">{escape(words)}</p>'

    def finish(self, state: str) -> None:
        """Put the buttons back and hand on what came out."""
        if self.ticker is not None:
            self.ticker.stop()
            self.ticker = None
        self.run.disabled, self.stop.disabled, self.scale.disabled = False, True, False
        if state == "failed":
            reason = self.kept.live.error or self.kept.place.error
            self.session.say(reason or "The run failed and gave no reason.")
            self.tell("The run failed; the reason is on top of the page.")
        elif state == "stopped":
            self.tell("Stopped. Nothing was saved; the page shows what it showed before.")
        elif self.kept.live.result is not None:
            self.tell(" ".join(["Finished: the claims and pictures above are of this run now.", *self.kept.live.lost]))
            first, self.kept.kept = not self.kept.kept, True
            self.done(self.kept.live.result, first)

    def draw(self, force: bool = False) -> None:
        """Draw what the study shows, so far; only when there are new points."""
        points = self.live.points if self.live is not None else {}
        count = sum(len(steps) for steps, _ in points.values())
        if count and (force or count != self._drawn):
            self._drawn = count
            self.pane.object = curves(
                growing(points, self.study.shows), across="step", compare="arm", over="seed", dark=self.session.dark
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
