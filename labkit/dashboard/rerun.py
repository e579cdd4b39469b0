"""Run a study here: choose a scale, watch its curve grow, stop it at any time.

The run belongs to the visit: a reload finds it again, and it ends a while after its visitor has left (`visits.py`). It
needs as many places of this machine as it has worker processes, and waits in the queue until they are free.
"""

from collections.abc import Callable
from typing import Any

import panel as pn

from labkit.dashboard.followed import GOING, Followed
from labkit.dashboard.layout import Session, card, grid, html
from labkit.dashboard.provenance import duration
from labkit.workbench.crew.crew import cores
from labkit.workbench.hold.places import PLACES, Doing, Place, Places
from labkit.workbench.live import ENDED, Live
from labkit.workbench.run import Run
from labkit.workbench.study import Study

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


class Rerun(Followed):
    """The controls of one study on one page. `kept` is the visit's run of this study that was started last."""

    def __init__(self, session: Session, study: Study, recorded: Run | None, done: Callable[[Run, bool], None]):
        super().__init__(session, study.shows)
        self.study, self.recorded, self.done, self.visit = study, recorded, done, session.visit
        labels = {SCALES.get(scale, scale.capitalize()): scale for scale in study.scales}
        self.scale = pn.widgets.Select(label="How much", options=labels, sizing_mode="stretch_width", margin=0)
        self.run = pn.widgets.Button(label="▶ Run it here", color="primary", margin=0, align="end")
        self.expects = html("", margin=(10, 0, 0, 0))
        self.run.on_click(session.guarded(lambda _event: self.start()))
        self.scale.param.watch(lambda _event: self.expect(), "value")
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

    def begun(self, kept: StudyRun) -> None:
        """Show this run's scale; another cannot be started now."""
        self.scale.value = kept.scale
        self.run.disabled = self.scale.disabled = True

    def ended(self) -> None:
        """Another run may be started."""
        self.run.disabled = self.scale.disabled = False

    def arrived(self, result: Run, first: bool) -> str:
        """Hand on what came out."""
        self.done(result, first)
        return "Finished: the claims and pictures above are of this run now."

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
