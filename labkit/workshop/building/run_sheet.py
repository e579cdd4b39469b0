"""The run sheet of a workshop: one HTML page with the clock, what to say in each step, and the mistakes to expect."""

import html
import re
from dataclasses import dataclass

from labkit.workshop.building.cells import INSTRUCTOR, Notebook, minutes, part, tags, title
from labkit.workshop.building.typeset import formulas_script, in_script, page
from labkit.workshop.building.versions import clock_time
from labkit.workshop.plans.plan import Plan, Step

INSIDE = re.compile(r"(?s)<details[^>]*>\s*<summary>.*?</summary>(.*)</details>")


@dataclass(frozen=True)
class Row:
    """One line of the sheet. `start` is in minutes; `text` is HTML."""

    start: int
    minutes: int
    title: str
    where: str
    text: str
    pause: bool = False


def sheet_of_plan(plan: Plan, notebooks: dict[str, Notebook]) -> str:
    """The page of a plan; `notebooks` holds the source of each notebook by its name."""
    rows = []
    for start, step in zip(plan.starts(), plan.steps, strict=True):
        told = [markdown(step.say)] if step.say else []
        if step.notebook:
            told += [
                markdown(words(cell.source))
                for cell in part(notebooks[step.notebook], step.first, step.last)
                if INSTRUCTOR in tags(cell)
            ]
        if step.mistakes:
            told.append(markdown("**Common mistakes.**\n\n" + "\n".join(f"- {one}" for one in step.mistakes)))
        rows.append(Row(start, step.minutes, step.title, _where(step, notebooks), "\n".join(told), step.pause))
    head = [markdown(f"**For** {plan.for_whom}")] if plan.for_whom else []
    lists = {
        "Afterwards everyone can": plan.afterwards,
        "What people should know": plan.prerequisites,
        "Before it begins": plan.before,
    }
    head += [
        f"<h2>{name}</h2>" + markdown("\n".join(f"- {one}" for one in told)) for name, told in lists.items() if told
    ]
    tail = f"<h2>Afterwards</h2>{markdown(plan.after)}" if plan.after else ""
    return _page(plan.title, plan.minutes, "\n".join(head), rows, tail)


def sheet_of_notebook(notebook: Notebook, name: str) -> str:
    """The page of one notebook, from its cells for whoever teaches."""
    rows, passed, heading = [], 0, title(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"(?m)^##+ (.+)$", cell.source)):
            heading = found[1]
        if INSTRUCTOR in tags(cell):
            rows.append(Row(passed, minutes(cell), heading, "", markdown(words(cell.source))))
            passed += minutes(cell)
    empty = "" if rows else "<p>This notebook has no cells for whoever teaches yet.</p>"
    link = f'<p><a href="{html.escape(name, quote=True)}">The notebook</a></p>'
    return _page(title(notebook), passed, link + empty, rows, "")


def words(source: str) -> str:
    """What stands inside the folded part of an instructor's cell."""
    found = INSIDE.search(source)
    return (found[1] if found else source).strip()


def markdown(text: str) -> str:
    """Markdown as HTML, as notebooks show it."""
    from nbconvert.filters import markdown2html

    return re.sub(r'<a class="anchor-link".*?</a>', "", str(markdown2html(text)))


def _where(step: Step, notebooks: dict[str, Notebook]) -> str:
    if step.notebook is None:
        return ""
    notebook, found = notebooks[step.notebook], []
    for cell in part(notebook, step.first, step.last):
        heads = re.search(r"(?m)^##? (.+)$", cell.source) if cell.cell_type == "markdown" else None
        found += [html.escape(heads[1])] if heads else []
    sections = f": {found[0]}" + (f" to {found[-1]}" if len(found) > 1 else "") if found else ""
    address = html.escape(f"instructor/{step.notebook}", quote=True)
    exercise = f" · exercise <code>{html.escape(step.exercise)}</code>" if step.exercise else ""
    return f'<a href="{address}">{html.escape(title(notebook))}</a>{sections}{exercise}'


def _line(row: Row) -> str:
    where = f'<p class="where">{row.where}</p>' if row.where else ""
    kind = "step pause" if row.pause else "step"
    return (
        f'<section class="{kind}" data-start="{row.start}" data-minutes="{row.minutes}">'
        f'<div class="clock"><time>{clock_time(row.start)}</time><span>{row.minutes} min</span></div>'
        f"<div><h2>{html.escape(row.title)}</h2>{where}{row.text}</div></section>"
    )


def _page(name: str, total: int, head: str, rows: list[Row], tail: str) -> str:
    lines = "\n".join(map(_line, rows))
    return page(
        "run_sheet.html",
        TITLE=html.escape(name),
        TOTAL=clock_time(total),
        HEAD=head,
        ROWS=lines,
        TAIL=tail,
        FORMULAS=in_script(formulas_script()) if "$" in head + lines + tail else "",
    )
