"""Three versions of a notebook from one source: for students, with the solutions, and for whoever teaches."""

import copy
import re
from typing import Any

import nbformat

from labkit.errors import LabError
from labkit.workshop.building.answered import answered, is_open
from labkit.workshop.building.cells import INSTRUCTOR, SOLUTION, VEIL, Notebook, exercises, minutes, tags

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)\s]+\.ipynb)\)")
ANSWER = "<b>For whoever teaches:</b> the next cell is the solution. The students' version does not have it."


def student(notebook: Notebook, near: set[str] | None = None) -> Notebook:
    """Exercises to be done: hints folded, no solutions, no words for whoever teaches.

    `near` names the notebooks that lie beside it, as it links to them; a link to any other becomes plain text.
    """
    made = _bare(notebook, near)
    made.cells = [cell for cell in made.cells if not {SOLUTION, INSTRUCTOR} & set(tags(cell))]
    for one in exercises(made):
        cell = _cell(made, one.cell)
        if not is_open(cell.source):
            raise LabError(f"The exercise {one.cell} leaves nothing open: where an answer belongs stand three dots.")
    return _cleaned(made)


def solution(notebook: Notebook, near: set[str] | None = None) -> Notebook:
    """Every exercise answered in its own cell; no words for whoever teaches."""
    made = _bare(notebook, near)
    for one in exercises(made):
        if one.solution is None:
            raise LabError(f"The exercise {one.cell} has no solution: a cell with the tag solution after its check.")
        cell = _cell(made, one.cell)
        cell.source = answered(cell.source, _cell(made, one.solution).source.removeprefix(VEIL).lstrip("\n"))
    made.cells = [cell for cell in made.cells if not {SOLUTION, INSTRUCTOR} & set(tags(cell))]
    return _cleaned(made)


def instructor(notebook: Notebook, near: set[str] | None = None) -> Notebook:
    """Everything: what to say and common mistakes unfolded and with the clock, and the solutions, each marked as one."""
    made, cells, clock = _bare(notebook, near), [], 0
    for cell in made.cells:
        if SOLUTION in tags(cell):
            cells.append(nbformat.v4.new_markdown_cell(ANSWER, id=f"here-is-{cell.id}"[:64]))
        if INSTRUCTOR in tags(cell):
            takes = minutes(cell)  # read before the summary is changed
            cell.source = cell.source.replace("<details>", "<details open>", 1)
            if takes:
                cell.source = cell.source.replace("· ", f"· from {clock_time(clock)} · ", 1)
                clock += takes
        cells.append(cell)
    made.cells = cells
    return _cleaned(made)


def clock_time(passed: int) -> str:
    """Minutes since the beginning as 0:08 or 1:30."""
    return f"{passed // 60}:{passed % 60:02}"


def _bare(notebook: Notebook, near: set[str] | None) -> Notebook:
    """A copy without outputs, with its hints folded and its links to notebooks that are not there as plain text."""
    made = copy.deepcopy(notebook)
    made.metadata.pop("widgets", None)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = cell.source.replace("<details open>", "<details>")
            if near is not None:
                cell.source = LINK.sub(lambda link: link[0] if link[2] in near else f"“{link[1]}”", cell.source)
    return made


def _cleaned(made: Notebook) -> Notebook:
    """Without the marks that only the source needs."""
    for cell in made.cells:
        cell.metadata.pop("tags", None)
        cell.metadata.pop("jupyter", None)
    return made


def _cell(notebook: Notebook, name: str) -> Any:
    return next(cell for cell in notebook.cells if cell.id == name)
