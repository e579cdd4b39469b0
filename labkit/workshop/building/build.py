"""Make a workshop from a plan or a single notebook: students' notebooks, solutions, slides, and what whoever teaches needs."""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import LabError
from labkit.workshop.building import cells, versions
from labkit.workshop.building.executed import complaints, execute
from labkit.workshop.building.folder import whole
from labkit.workshop.building.run_sheet import sheet_of_notebook, sheet_of_plan
from labkit.workshop.building.slides import slides
from labkit.workshop.plans.plan import is_plan, open_plan, problems

KIND = "workshop"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """Where a workshop was written, and its notebooks."""

    folder: Path
    notebooks: list[str]
    sheet: Path


def build(
    what: str,
    to: Path | str | None = None,
    *,
    run: bool = False,
    scale: str | None = None,
    say: Say = lambda line: None,
) -> Built:
    """Write the workshop of this plan or notebook to a folder; with `run`, each version is also run from top to bottom.

    `say` hears, line by line, what is done. A version that stops, a solution that its check does not call right, and a
    students' exercise that answers itself are errors: then nothing is written.
    Raises: LabError for what is wrong with the plan, a notebook or the folder.
    """
    plan = open_plan(what) if is_plan(what) else None
    if plan is not None:
        wrong = problems(plan)
        if wrong:
            raise LabError(" ".join(wrong))
        paths = {name: cells.notebooks_folder() / name for name in plan.notebooks}
    else:
        path = cells.find(what)
        paths = {_named(path): path}
    sources = {name: cells.read(path) for name, path in paths.items()}
    folder = Path(to) if to is not None else Path.cwd() / "workshops" / Path(what).stem
    with whole(folder, KIND) as growing:
        for name, source in sources.items():
            _write(growing, name, source, set(sources), run, scale, say)
        if plan is not None:
            sheet = sheet_of_plan(plan, sources)
        else:
            name, source = next(iter(sources.items()))
            sheet = sheet_of_notebook(source, f"instructor/{name}")
        (growing / "run_sheet.html").write_text(sheet, encoding="utf-8")
    folder = folder.resolve()
    return Built(folder, list(sources), folder / "run_sheet.html")


def _write(
    growing: Path, name: str, source: cells.Notebook, names: set[str], run: bool, scale: str | None, say: Say
) -> None:
    near, tasks = _near(name, source, names), cells.exercises(source)
    made = {
        "students": versions.student(source, near),
        "solutions": versions.solution(source, near),
        "instructor": versions.instructor(source, near),
    }
    for kind, notebook in made.items():
        place = growing / kind / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(cells.written(notebook), encoding="utf-8")
    if run:
        for kind in ("students", "solutions") if tasks else ("students",):  # without exercises both are the same
            say(f"{name}: running the version {kind} ...")
            found = execute(made[kind], (growing / kind / name).parent, scale=scale)
            wrong = complaints(found, tasks, solved=kind == "solutions", scale=scale)
            if wrong:
                raise LabError(f"{name}, {kind}: {'; '.join(wrong)}.")
            told = ", ".join(f"{check} “{found.said[check]}”" for check in (one.check for one in tasks))
            say(f"{name}: {kind} run from top to bottom. {told}".rstrip())
    place = growing / "slides" / Path(name).with_suffix(".html")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(slides(made["students"]), encoding="utf-8")
    say(f"{name}: {len(tasks)} exercises, {len(source.cells)} cells; students, solutions, instructor, slides written.")


def _near(name: str, source: cells.Notebook, names: set[str]) -> set[str]:
    """The links of a notebook that lead to another one of the same workshop, as it writes them."""
    folder = posixpath.dirname(name)
    links = {
        link for cell in source.cells if cell.cell_type == "markdown" for _, link in versions.LINK.findall(cell.source)
    }
    return {link for link in links if posixpath.normpath(posixpath.join(folder, link)) in names}


def _named(path: Path) -> str:
    """A notebook's name among labkit's own, or its file name."""
    try:
        return path.relative_to(cells.notebooks_folder()).as_posix()
    except (ValueError, LabError):
        return path.name
