"""The Papers page: all papers of the plan, to search, filter and open."""

from collections import Counter
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import panel as pn

from labkit.catalogue.evidence import evidence
from labkit.catalogue.papers import Paper, papers
from labkit.catalogue.words import CHAPTERS, FAMILIES, KINDS, STAGES, VERDICTS
from labkit.dashboard.layout import Session, card, chip, grid, heading, html

PAGE_SIZE = 25
FACETS: dict[str, tuple[str, dict[str, str], Callable[[Paper], Iterable[str]]]] = {
    "chapter": ("Chapter", CHAPTERS, lambda row: (row.chapter,)),
    "family": ("Family", FAMILIES, lambda row: (row.family,)),
    "kind": ("Kind", KINDS, lambda row: (row.kind,)),
    "status": ("Status", STAGES, lambda row: (row.stage,)),
    "verdict": ("Verdict", VERDICTS, lambda row: set(row.verdicts)),
}
SORTS: dict[str, Callable[[Paper], Any]] = {
    "Measured first": lambda row: (list(STAGES).index(row.stage), -row.core, row.id),
    "By id": lambda row: row.id,
    "By title": lambda row: row.title.casefold(),
}
EMPTY = '<p class="nothing">No paper fits. Take a word out of the search, or press “Clear”.</p>'


class PaperList:
    """The list with its search field, filters and pages. `rows` is what the filters leave."""

    def __init__(self, session: Session):
        self.session, self.all, self.place = session, papers(), 0
        asked = session.arguments
        self.words = pn.widgets.TextInput(
            label="Search",
            value=asked.get("search", ""),
            placeholder="title, mechanism or claim",
            sizing_mode="stretch_width",
            margin=0,
        )
        self.choices = {
            name: pn.widgets.Select(label=label, value="", options={"All": ""}, sizing_mode="stretch_width", margin=0)
            for name, (label, _, _) in FACETS.items()
        }
        self.sort = pn.widgets.Select(label="Order", options=list(SORTS), sizing_mode="stretch_width", margin=0)
        self.clear = pn.widgets.Button(label="Clear", on_click=lambda _event: self.reset(), margin=0, align="end")
        self.count = html("", css_classes=["count"])
        self.list = html("")
        self.before = pn.widgets.Button(label="← Previous", on_click=lambda _event: self.turn(-1))
        self.after = pn.widgets.Button(label="Next →", on_click=lambda _event: self.turn(1))
        self.position = html("", width=170, sizing_mode=None, margin=(14, 10, 0, 10))
        self._quiet = True
        self.update()
        for name, select in self.choices.items():
            if asked.get(name) in FACETS[name][1]:
                select.value = asked[name]
        self._quiet = False
        self.words.param.watch(lambda _event: self.changed(), "value_input")
        self.words.param.watch(lambda _event: self.changed(), "value")
        for select in (*self.choices.values(), self.sort):
            select.param.watch(lambda _event: self.changed(), "value")
        self.update()

    @property
    def text(self) -> str:
        """What the search field holds, while typing too."""
        return self.words.value_input if self.words.value_input is not None else self.words.value

    def chosen(self) -> dict[str, str]:
        """The filters that are set."""
        return {name: select.value for name, select in self.choices.items() if select.value}

    def reset(self) -> None:
        """Show every paper again."""
        self._quiet = True
        self.words.param.update(value="", value_input="")
        for select in self.choices.values():
            select.value = ""
        self._quiet = False
        self.changed()

    def changed(self) -> None:
        """A filter or the search changed: start at the first page again."""
        if not self._quiet:
            self.place = 0
            self.update()

    def turn(self, by: int) -> None:
        """Go `by` pages on."""
        self.place += by
        self.update()

    def update(self) -> None:
        """Filter, count and draw."""
        found = [row for row in self.all if matches(row, self.text)]
        chosen = self.chosen()
        self.rows = sorted((row for row in found if fits(row, chosen)), key=SORTS[self.sort.value])
        quiet, self._quiet = self._quiet, True
        for name, select in self.choices.items():
            others = {other: value for other, value in chosen.items() if other != name}
            select.options = options(name, [row for row in found if fits(row, others)], select.value)
        self._quiet = quiet
        pages = max(1, -(-len(self.rows) // PAGE_SIZE))
        self.place = min(max(self.place, 0), pages - 1)
        start = self.place * PAGE_SIZE
        shown = self.rows[start : start + PAGE_SIZE]
        self.list.object = f'<ul class="papers">{"".join(map(entry, shown))}</ul>' if shown else EMPTY
        measured = sum(row.stage == "recorded" for row in self.rows)
        told = f"<strong>{len(self.rows)}</strong> of {len(self.all)} papers, {measured} of them measured here"
        self.count.object = f'<p role="status">{told}</p>'
        self.position.object = f'<span class="soft">Page {self.place + 1} of {pages}</span>'
        self.before.disabled, self.after.disabled = self.place == 0, self.place == pages - 1

    def view(self) -> list[Any]:
        """The filters, and below them the list."""
        top = grid(self.words, self.sort, self.clear, columns="minmax(0, 1fr) minmax(150px, 220px) auto")
        filters = grid(*self.choices.values(), columns="repeat(auto-fit, minmax(190px, 1fr))", margin=(14, 0, 0, 0))
        pages = pn.Row(self.before, self.position, self.after, margin=(10, 0, 0, 0))
        return [card(top, filters), card(self.count, self.list, pages)]


def matches(row: Paper, text: str) -> bool:
    """Whether every word of `text` is in the paper's id, title, mechanism, claim, family or chapter."""
    return all(word in _searched(row) for word in text.casefold().split())


def _searched(row: Paper) -> str:
    names = (CHAPTERS[row.chapter], FAMILIES[row.family], KINDS[row.kind])
    return " ".join((row.id, row.title, row.mechanism, row.claim, *names)).casefold()


def fits(row: Paper, chosen: dict[str, str]) -> bool:
    """Whether the paper passes all these filters."""
    return all(value in FACETS[name][2](row) for name, value in chosen.items())


def options(name: str, rows: list[Paper], kept: str) -> dict[str, str]:
    """The choices of one filter, each with the number of papers that it would leave; empty ones are left out."""
    _, table, read = FACETS[name]
    counts = Counter(value for row in rows for value in read(row))
    left = {f"{word} ({counts[code]})": code for code, word in table.items() if counts[code] or code == kept}
    return {f"All ({len(rows)})": "", **left}


def entry(row: Paper) -> str:
    """One line of the list, as HTML."""
    where = " · ".join((CHAPTERS[row.chapter], FAMILIES[row.family], KINDS[row.kind]))
    verdicts = Counter(row.verdicts)
    chips = chip(row.stage) + "".join(
        chip(code, f"{count} {VERDICTS[code].lower()}") for code in VERDICTS if (count := verdicts[code])
    )
    says = row.why_none if row.stage == "not built" else row.claim or row.mechanism
    return (
        f'<li><span class="id">{row.id}</span><div><a href="./paper?id={row.id}">{escape(row.title)}</a>'
        f'<p class="where">{where}</p><p class="says">{escape(says or "")}</p></div><div class="chips">{chips}</div></li>'
    )


def title(_session: Session) -> str:
    """The name of the page in the browser's tab."""
    return "Papers"


def build(session: Session) -> list[Any]:
    """The contents of the page."""
    listing = PaperList(session)
    problems = [html(f'<p class="message error">{escape(text)}</p>') for text in evidence().problems]
    lead = (
        f"{len(listing.all)} papers on the layers and learning rules of neural networks: what each claims, and what came "
        "out when it was measured here. Open one to see its verdicts, its code and its study."
    )
    return [heading("Papers", lead), *problems, *listing.view()]
