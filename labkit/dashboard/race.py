"""The Race page: choose data, layers and what they are matched by; they take the same places and train on the same seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from threading import Event
from typing import Any

import panel as pn

from labkit.dashboard.followed import GOING, Followed
from labkit.dashboard.gallery import gallery
from labkit.dashboard.layout import Session, card, grid, heading, html
from labkit.dashboard.provenance import provenance
from labkit.dashboard.rerun import StudyRun
from labkit.dashboard.study import keep
from labkit.views.claims import claims
from labkit.widgets.study_pictures import pictures, race_picture
from labkit.workbench.contenders import BASELINE, CONTENDERS
from labkit.workbench.crew.crew import cores
from labkit.workbench.grounds import GROUNDS
from labkit.workbench.hold.places import PLACES, Place, Places
from labkit.workbench.live import Live
from labkit.workbench.progress import Progress
from labkit.workbench.race import RATES, open_race, race, recorded_races
from labkit.workbench.run import Run
from labkit.workbench.swap import Match

KEY = "race"
FIRST = ("fast feedforward tree", "mixture of experts", "low rank")
MATCHES: dict[str, Match] = {
    "the same number of parameters": "parameters",
    "the same operations for an input": "active_flops",
    "the same measured time": "latency",
}
COLUMNS = (
    ".bk-input-group { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 4px 12px; }"
    ".bk-input-group label { font-weight: 400; font-size: 15px; }"
)
LEAD = (
    "Each layer is put into the same places of the same network, at the size where it costs what the dense layer costs, and "
    "trained on the same data with the same seeds. Then see who learns most, and what it took."
)


@dataclass(frozen=True)
class Wish:
    """What is to be raced."""

    names: tuple[str, ...]
    on: str
    match: Match
    seeds: int
    tune: bool

    def work(self, jobs: int) -> Callable[[Callable[[Progress], None], Event], Run]:
        """What races it, in so many processes."""

        def work(watch: Callable[[Progress], None], stop: Event) -> Run:
            return race(
                self.names,
                on=self.on,
                match=self.match,
                seeds=self.seeds,
                tune=self.tune,
                watch=watch,
                stop=stop,
                jobs=jobs,
            )

        work.shows = "test_loss"  # type: ignore[attr-defined]
        return work


class RaceRun(StudyRun):
    """One visitor's race, with its place in the queue."""

    def __init__(self, wish: Wish, who: str, places: Places = PLACES):
        jobs = max(2, min(cores(), places.count))
        self.wish, self.scale, self.kept = wish, wish.on, False
        self.live = Live(wish.work(jobs))
        self.place: Place = places.ask(KEY, self.live.start, doing=self._doing, who=who, takes=jobs)


class RacePage(Followed):
    """The form, the race that is under way, and what came out."""

    noun, beginning = "race", "Finding sizes of equal cost"

    def __init__(self, session: Session):
        super().__init__(session, "test_loss")
        self.visit = session.visit
        wide: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
        self.on = pn.widgets.Select(label="On", options={name.capitalize(): name for name in GROUNDS}, **wide)
        self.match = pn.widgets.Select(label="At", options=MATCHES, **wide)
        self.seeds = pn.widgets.IntInput(label="Seeds", value=3, start=2, end=10, **wide)
        self.tune = pn.widgets.Checkbox(label="Find each layer's learning rate first", value=True, margin=(4, 0, 0, 0))
        names = [name for name in CONTENDERS if name != BASELINE]
        self.layers = pn.widgets.CheckBoxGroup(
            label="Layers", options=names, value=list(FIRST), stylesheets=[COLUMNS], **wide
        )
        self.go = pn.widgets.Button(label="▶ Race", color="primary", margin=0, align="end")
        self.expects = html("", margin=(10, 0, 0, 0))
        self.result = pn.Column(sizing_mode="stretch_width", margin=0)
        self.go.on_click(session.guarded(lambda _event: self.start()))
        for one in (self.on, self.match, self.seeds, self.tune, self.layers):
            one.param.watch(lambda _event: self.expect(), "value")
        self.on.param.watch(lambda _event: self.recorded(), "value")
        self.expect()
        self.recorded()
        earlier = self.visit.find(KEY)
        if earlier is not None:
            self.follow(earlier)

    @property
    def wish(self) -> Wish:
        """What is chosen now."""
        return Wish(tuple(self.layers.value), self.on.value, self.match.value, self.seeds.value, self.tune.value)

    def expect(self) -> None:
        """Say what the chosen race trains."""
        wish, where = self.wish, GROUNDS[self.on.value]
        trainings = (len(wish.names) + 1) * (wish.seeds + len(RATES) * wish.tune)
        text = f"{escape(where.says)} The dense layer has {where.width} neurons there and always races. "
        text += f"{trainings} trainings of {where.steps} steps." if wish.names else "Choose a layer."
        self.expects.object = f'<p class="soft" role="status">{text}</p>'
        self.go.disabled = not wish.names or (self.kept is not None and self.kept.state in GOING)

    def recorded(self) -> None:
        """Show the race that was recorded on this ground, where there is one."""
        name = self.on.value
        run = self.session.guarded(open_race)(name) if name in recorded_races() else None
        if run is None:
            text = "No race is recorded here yet. Press “Race”; what comes out appears in this place."
            self.result[:] = [card(html(f'<p class="message">{text}</p>'), title="What came out")]
        else:
            self.show(run, "The recorded race.")

    def start(self) -> None:
        """Race what is chosen; while a race is under way, here or in another tab, that one is shown."""
        self.session.say("")
        earlier = self.visit.find(KEY)
        if earlier is None or earlier.state not in GOING:
            earlier = RaceRun(self.wish, self.visit.key)
            self.visit.keep(KEY, earlier)
        self.follow(earlier)

    def begun(self, kept: RaceRun) -> None:
        """Put the form to what is raced; another race cannot be started now."""
        wish = kept.wish
        self.on.value, self.match.value, self.seeds.value = wish.on, wish.match, wish.seeds
        self.layers.value, self.tune.value = list(wish.names), wish.tune
        self.go.disabled = True

    def ended(self) -> None:
        """Another race may be started."""
        self.expect()

    def arrived(self, result: Run, first: bool) -> str:
        """Show it, and keep it among the tracked runs."""
        self.show(result, "Your race, a moment ago.")
        if first:
            keep(self.session, result)
        return "Finished: what came out stands below."

    def show(self, run: Run, whose: str) -> None:
        """The chart, the verdicts, what raced, and the curves."""
        facts = html(provenance(run.scale, run.provenance), margin=(14, 0, 0, 0))
        chart = gallery(self.session, [race_picture(run.data), *pictures(run.data)])
        self.result[:] = [
            card(chart, title="Who learns most, and what it took", hint=whose),
            card(
                html(claims(run.claims, who="It would be that")),
                html(starters(run.provenance.get("race", {}).get("arms", {}))),
                facts,
                title="Better than dense?",
                hint="Each verdict by itself needs 95 % confidence over the seeds; of many, some come out by chance.",
            ),
        ]

    def view(self) -> list[Any]:
        """The contents below the heading."""
        choice = grid(self.on, self.match, self.seeds, columns="1fr 1.4fr minmax(0, 110px)", narrow="minmax(0, 1fr)")
        what = html('<h3 id="race-layers">Layers beside the dense one</h3>', margin=(14, 0, 4, 0))
        buttons = grid(self.go, self.stop, columns="auto auto 1fr", margin=(14, 0, 8, 0))
        form = card(
            choice, what, self.layers, self.tune, self.expects, buttons, self.label, self.pane, title="The race"
        )
        return [form, self.result]


def starters(arms: dict[str, str]) -> str:
    """What raced, at which size and rate, folded."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(says)}</td></tr>' for name, says in arms.items()
    )
    head = "<tr><th>Layer</th><th>What it is, its size and its learning rate</th></tr>"
    return f'<details><summary><strong>What raced</strong></summary><table class="plain">{head}{rows}</table></details>'


def build(session: Session) -> Sequence[Any]:
    """The contents of the page."""
    return [heading("Race", LEAD), *RacePage(session).view()]


def title(_session: Session) -> str:
    """The name of the page in the browser's tab."""
    return "Race"
