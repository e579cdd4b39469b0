"""One paper's page: what it claims, how it works, what was measured here, or why it will not be built."""

from html import escape
from typing import Any

from labkit.catalogue.evidence import RecordedRun
from labkit.catalogue.papers import Paper, paper, papers
from labkit.catalogue.words import BUILDS, CHAPTERS, CORES, EFFORTS, FAMILIES, KINDS, VERDICTS
from labkit.dashboard.layout import Session, card, chip, grid, heading, html
from labkit.dashboard.provenance import provenance
from labkit.views.claims import claims

RELATED = 6


def authors(row: Paper) -> str:
    """Who wrote it, when, and a link to it, as HTML; empty where no public source has confirmed that yet."""
    found = row.reference
    if found is None:
        return ""
    name = f"arXiv {found.arxiv}" if found.arxiv else f"DOI {found.doi}"
    return f'{escape(", ".join(found.authors))}, {found.year} · <a href="{found.address}">{name}</a>'


def text(row: Paper) -> list[Any]:
    """What the paper claims, how it works, and what there is to measure."""
    claimed = escape(row.claim) if row.claim else '<span class="soft">Its abstract states no measurable claim.</span>'
    plan = "This is the plan; details are checked when it is built." if row.stage == "planned" else ""
    experiment = escape(row.experiment[:1].upper() + row.experiment[1:])
    cards = [
        card(html(f"<p>{claimed}</p>"), title="What it claims"),
        card(html(f"<p>{escape(row.mechanism)}</p>"), title="How it works", hint=plan),
    ]
    if row.stage == "not built":
        reason = escape(row.why_none or "")
        return [card(html(f"<p>{reason[:1].upper()}{reason[1:]}.</p>"), title="Why it will not be built here"), *cards]
    return [*cards, card(html(f"<p>{experiment}</p>"), title="How to test it")]


def facts(row: Paper) -> Any:
    """The row's own facts, as a small table."""
    pairs = {
        "Id": f"<code>{row.id}</code>",
        "Status": chip(row.stage),
        "Chapter": f'<a href="./papers?chapter={row.chapter}">{CHAPTERS[row.chapter]}</a>',
        "Family": f'<a href="./papers?family={row.family}">{FAMILIES[row.family]}</a>',
        "Kind": f'<a href="./papers?kind={row.kind}">{KINDS[row.kind]}</a>',
    }
    if row.build != "none":
        pairs |= {"To build": BUILDS[row.build].capitalize(), "Effort": EFFORTS[row.effort].capitalize()}
        pairs |= {"Weight": CORES[row.core].capitalize()}
    lines = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in pairs.items())
    return card(html(f'<table class="plain facts">{lines}</table>'), title="At a glance")


def places(row: Paper) -> Any:
    """Where the paper lives in this lab: module, study, notebook."""
    groups = {
        "Code": [(f"./source?file={place}", place.removeprefix("labkit/")) for place in row.modules],
        "Study": [(f"./study?name={_stem(place)}", _stem(place).replace("_", " ")) for place in row.studies],
        "Notebook": [(f"./source?file={place}", place.removeprefix("notebooks/")) for place in row.notebooks],
    }
    lines = "".join(
        f'<h3>{name}</h3><ul class="links">{"".join(_link(address, label) for address, label in links)}</ul>'
        for name, links in groups.items()
        if links
    )
    return card(html(lines), title="In this lab") if lines else None


def related(row: Paper) -> Any:
    """Other papers that need the same parts."""
    shared = [(len(set(row.shares) & set(other.shares)), other) for other in papers() if other.id != row.id]
    near = sorted((pair for pair in shared if pair[0]), key=lambda pair: (-pair[0], pair[1].id))[:RELATED]
    if not near:
        return None
    lines = "".join(_link(f"./paper?id={other.id}", other.title) for _, other in near)
    return card(html(f'<ul class="links">{lines}</ul>'), title="Papers that share parts with it")


def measured(run: RecordedRun) -> Any:
    """The verdict table of a recorded run."""
    link = f'<p style="margin-top:12px"><a href="./study?name={run.study}">Open the study: curves, trees, and run it here</a></p>'
    counts = "".join(
        chip(code, f"{run.verdicts.count(code)} {word.lower()}") + " "
        for code, word in VERDICTS.items()
        if code in run.verdicts
    )
    table = html(claims(list(run.claims)))
    return card(
        table,
        html(provenance(run.scale, run.provenance) + link, margin=(12, 0, 0, 0)),
        title="What we measured",
        hint=counts,
    )


def build(session: Session) -> list[Any]:
    """The contents of the page of the paper in the address, `?id=P120`."""
    row = paper(session.arguments.get("id", ""))
    crumbs = f'<a href="./papers">Papers</a> / <a href="./papers?chapter={row.chapter}">{CHAPTERS[row.chapter]}</a>'
    side = [part for part in (facts(row), places(row)) if part is not None]
    near = related(row)
    columns = grid(
        _column(*text(row), *([near] if near else [])),
        _column(*side),
        columns="minmax(0, 1fr) minmax(260px, 340px)",
        narrow="minmax(0, 1fr)",
    )
    return [heading(row.title, authors(row), crumbs), *[measured(run) for run in row.runs], columns]


def title(session: Session) -> str:
    """The name of the page in the browser's tab."""
    return paper(session.arguments.get("id", "")).title


def _column(*contents: Any) -> Any:
    return grid(*contents, columns="minmax(0, 1fr)", gap="0")


def _stem(place: str) -> str:
    return place.rsplit("/", 1)[-1].removesuffix(".py")


def _link(address: str, label: str) -> str:
    return f'<li><a href="{escape(address)}">{escape(label).replace("/", "/<wbr>")}</a></li>'
