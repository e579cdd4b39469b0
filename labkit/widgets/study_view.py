"""A study in a notebook: what it asked, its claims with their verdicts, its pictures, and a button to run it here."""

from html import escape
from pathlib import Path
from typing import Any

from ipywidgets import HTML, VBox

from labkit.errors import LabError
from labkit.widgets.picture_book import PictureBook, dropdown
from labkit.widgets.run_it_here import RunItHere
from labkit.widgets.study_pictures import pictures
from labkit.widgets.words import claims_table, duration, message, prose, sentence
from labkit.workbench.run import Run, open_run

RECORDED, HERE = "the recorded run", "the run made here"


class StudyView(VBox):
    """Shows a run of a study: give the study's name, the path of a recorded run, or a `Run`.

    A run that is missing or broken is said in a sentence, and the study can still be run here at the given scale.
    When a run made here ends, the claims and pictures are of that run; "Showing" goes back to the recorded one.
    """

    def __init__(self, run: Run | Path | str, scale: str = "lesson"):
        self.runs: dict[str, Run] = {}
        self.message = HTML()
        try:
            self.runs[RECORDED] = run if isinstance(run, Run) else open_run(run)
        except LabError as error:
            self.message.value = message(sentence(error), "error")
        self.can_run = bool(self.runs) or known(Path(run).stem)
        name = self.runs[RECORDED].study if self.runs else Path(run).stem
        self.head, self.claims = HTML(), HTML()
        self.showing = dropdown("Showing", list(self.runs))
        self.book = PictureBook()
        self.run_here = RunItHere(name, scale, name=f"StudyView {name}", check=False)
        self.run_here.on_done(self._finished)
        self.below = HTML(prose(rerun(self.runs.get(RECORDED))))
        super().__init__()
        self.showing.observe(lambda _change: self._open(), "value")
        self._open()
        self._arrange()

    @property
    def run(self) -> Run | None:
        """The run that is shown, or None."""
        return self.runs.get(self.showing.value or "")

    def _arrange(self) -> None:
        shown = [self.head, self.claims, self.book] if self.runs else []
        again = [self.below, self.run_here] if self.can_run else []
        several = [self.showing] if len(self.runs) > 1 else []
        self.children = [self.message, *several, *shown, *again]

    def _open(self) -> None:
        """Show the chosen run."""
        if self.run is None:
            return
        self.head.value, self.claims.value = heading(self.run), claims_table(self.run.claims)
        self.book.fill({"Pictures": pictures(self.run.data)})

    def _finished(self, run: Any) -> None:
        """A run made here has ended: show it."""
        self.runs[HERE] = run
        options = list(self.runs)
        if tuple(options) == tuple(self.showing.options) and self.showing.value == HERE:
            self._open()
        else:
            self.showing.options = options
            self.showing.value = HERE
        self._arrange()


def heading(run: Run) -> str:
    """The name of the study, what it re-measures, and where the numbers come from, as HTML."""
    facts = run.provenance
    seeds = facts.get("seeds", [])
    machine = f" on {facts['machine']}" if facts.get("machine") else ""
    parts = [f"Scale “{run.scale}”", f"{len(seeds)} seeds" if len(seeds) != 1 else "1 seed"]
    if facts.get("duration_s") is not None:
        parts.append(f"took {duration(float(facts['duration_s']))}{machine}")
    if facts.get("started"):
        parts.append(f"measured {str(facts['started'])[:16].replace('T', ' ')} UTC")
    if facts.get("commit"):
        parts.append(f"commit {str(facts['commit'])[:10]}")
    title, of = run.study.replace("_", " ").capitalize(), ""
    paper = _paper(run.paper)
    if paper is not None:
        of = f"<p style='margin:0'>Paper {escape(paper.id)}: <cite>{escape(paper.title)}</cite></p>"
    soft = "color: var(--jp-content-font-color2, inherit); margin: 2px 0 8px"
    told = f"<h2 style='margin:4px 0; font: inherit; font-size: 24px; font-weight: 600'>{escape(title)}</h2>{of}"
    return prose(f"{told}<p style='{soft}'>{escape(' · '.join(parts))}</p>")


def rerun(recorded: Run | None) -> str:
    """The head of the part that runs the study, with the time that the recorded run took, as HTML."""
    head = "<h3 style='margin:16px 0 0; font: inherit; font-size: 18px; font-weight: 600'>Run it here</h3>"
    took = recorded.provenance.get("duration_s") if recorded is not None else None
    if recorded is None or took is None:
        return head
    return f"{head}The recorded run, scale “{escape(recorded.scale)}”, took {duration(float(took))}."


def known(name: str) -> bool:
    """Whether there is a study of this name."""
    from labkit.workbench.find import study_names

    return name in study_names()


def _paper(number: str) -> Any:
    from labkit.catalogue.papers import paper

    try:
        return paper(number)
    except LabError:
        return None
