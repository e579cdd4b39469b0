"""The Study page: a paper's experiment with its question, its verdicts, its pictures, and a button to run it here."""

from html import escape
from typing import Any

import panel as pn

from labkit.catalogue.papers import paper
from labkit.dashboard.gallery import gallery
from labkit.dashboard.hold import HoldIt
from labkit.dashboard.layout import Session, card, heading, html
from labkit.dashboard.provenance import provenance
from labkit.dashboard.rerun import Rerun
from labkit.errors import LabError
from labkit.views.claims import claims
from labkit.widgets.study_pictures import pictures
from labkit.workbench.find import study, study_names
from labkit.workbench.run import Run, open_run, recorded_runs
from labkit.workbench.study import Study

NOT_RECORDED = (
    '<p class="message">No run of this study is recorded yet. Press “Run it here” below; the verdicts and pictures '
    "appear when it has finished.</p>"
)


class StudyPage:
    """One study in one session: shows the recorded run, then whatever was run here last."""

    def __init__(self, session: Session, name: str):
        self.session, self.name = session, name
        self.study: Study = study(name)
        self.recorded = session.guarded(open_run)(name) if name in recorded_runs() else None
        self.result = pn.Column(sizing_mode="stretch_width", margin=0)
        self.show(self.recorded, fresh=False)
        self.rerun = Rerun(session, self.study, self.recorded, self.finished)
        self.hold = HoldIt(session, self.study)

    def show(self, run: Run | None, fresh: bool) -> None:
        """Show the claims and pictures of this run."""
        if run is None:
            self.result[:] = [card(html(NOT_RECORDED), title="What came out")]
            return
        origin = "Your run, a moment ago." if fresh else "The recorded run."
        hint = f"{origin} A verdict is decided by its rule, never typed in."
        facts = html(provenance(run.scale, run.provenance), margin=(14, 0, 0, 0))
        self.result[:] = [
            card(html(claims(run.claims)), facts, title="What the paper says, and what came out", hint=hint),
            card(gallery(self.session, pictures(run.data)), title="Look at the measurements"),
        ]

    def finished(self, run: Run, first: bool = True) -> None:
        """A run that was started here has ended: show it, and the `first` time keep it among the tracked runs."""
        self.show(run, fresh=True)
        if first:
            keep(self.session, run)

    def view(self) -> list[Any]:
        """The contents below the heading."""
        return [arms(self.study), self.result, self.hold.view(), self.rerun.view()]


def keep(session: Session, run: Run) -> None:
    """Log the run where the Runs page finds it; in the background, because a new store takes seconds to set up."""
    from labkit.workbench import tracking

    tracking.log(run)
    session.say("Finished. This run is kept under “Runs”, where it can be compared with others.", "done")


def arms(found: Study) -> Any:
    """What is compared with what."""
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(arm.role)}</td><td>{escape(arm.says)}</td></tr>'
        for name, arm in found.arms.items()
    )
    head = "<tr><th>Arm</th><th>Role</th><th>What it is, and by what it is matched</th></tr>"
    names = escape(", ".join(found.arms))
    table = f'<table class="plain">{head}{lines}</table>'
    return card(html(f"<details><summary><strong>What is compared:</strong> {names}</summary>{table}</details>"))


def switcher(current: str) -> Any:
    """A choice among all studies; choosing one opens its address."""
    names = {name.replace("_", " ").capitalize(): name for name in study_names()}
    select = pn.widgets.Select(label="Study", options=names, value=current, width=340, margin=(0, 0, 18, 0))
    select.jscallback(value="window.location.search = '?name=' + encodeURIComponent(source.value)")
    return select


def build(session: Session) -> list[Any]:
    """The contents of the page of the study in the address, `?name=...`; without a name, the first one recorded."""
    name = chosen(session)
    shown = StudyPage(session, name)
    row = paper(shown.study.paper)
    crumbs = f'<a href="./paper?id={row.id}">{row.id}: {escape(row.title)}</a>'
    return [switcher(name), heading(shown.study.title, escape(shown.study.question), crumbs), *shown.view()]


def chosen(session: Session) -> str:
    """The name in the address, else a recorded study, else any. Raises: LabError where there is none at all."""
    if session.arguments.get("name"):
        return session.arguments["name"]
    names = [name for name in study_names() if name in recorded_runs()] or study_names()
    if not names:
        raise LabError("There is no study yet; add one under labkit/studies.")
    return names[0]


def title(session: Session) -> str:
    """The name of the page in the browser's tab."""
    return f"{study(chosen(session)).title} · Study"
