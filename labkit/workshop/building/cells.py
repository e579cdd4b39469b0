"""What the cells of a notebook are for: exercises with their checks and solutions, words for whoever teaches, slides.

The marks are Jupyter's own: ids, tags and slide types. An exercise is a code cell whose id begins with `exercise`, its check
the cell `check-` and that id, its solution the cell tagged `solution` that follows the check.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from labkit.errors import LabError

ROOT = Path(__file__).resolve().parents[3]
SOLUTION, INSTRUCTOR, TRAINS = "solution", "instructor", "needs-lesson-scale"
"""Tags. `needs-lesson-scale` stands beside `solution` where the check trains, and is right only when it trains long enough."""
VEIL = "# A solution: click on the dots to see it."
"""A first line that gives nothing away: JupyterLab shows the first line of a cell that is folded away."""
MINUTES = re.compile(r"<summary>For whoever teaches this · (\d+) minutes?</summary>")
Notebook = Any
"""An `nbformat.NotebookNode`."""


@dataclass(frozen=True)
class Exercise:
    """The ids of the cells that belong to one exercise; `trains` where its check needs trainings of full length."""

    cell: str
    check: str
    solution: str | None
    trains: bool


def notebooks_folder() -> Path:
    """Where the notebooks lie: beside labkit in its checkout, else in the folder that we are in.

    Raises: LabError where there are none.
    """
    for folder in (ROOT / "notebooks", Path.cwd() / "notebooks"):
        if folder.is_dir():
            return folder
    raise LabError("There is no folder notebooks here: run this in labkit's own folder, or in that of a bundle.")


def notebook_names() -> list[str]:
    """All notebooks in the order in which they are read: the first one, the chapters, then the tools."""
    folder = notebooks_folder()
    paths = [path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    names = [path.relative_to(folder).as_posix() for path in paths]
    return sorted(names, key=lambda name: (not name[:1].isdigit(), name))


def find(name: str | Path) -> Path:
    """The notebook of this path or name, such as `01_feedforward/fast_feedforward` or `fast_feedforward`.

    Raises: LabError when there is none, or several.
    """
    wanted = str(name).removesuffix(".ipynb")
    if Path(f"{wanted}.ipynb").is_file():
        return Path(f"{wanted}.ipynb").resolve()
    known = [one.removesuffix(".ipynb") for one in notebook_names()]
    found = [one for one in known if one == wanted or one.endswith(f"/{wanted}")]
    if len(found) == 1:
        return notebooks_folder() / f"{found[0]}.ipynb"
    if found:
        raise LabError(f"{wanted} may be one of {', '.join(found)}: give its folder too.")
    raise LabError(f"There is no notebook and no plan {wanted!r}; labkit workshop list shows what there is.")


def read(path: Path) -> Notebook:
    """A notebook from its file. Raises: LabError where it is none."""
    try:
        return nbformat.read(path, as_version=4)
    except OSError as error:
        raise LabError(f"{path}: {error.strerror or error}.") from error
    except Exception as error:  # nbformat and json raise many kinds
        raise LabError(f"{path} is no notebook that can be read: {error}.") from error


def written(notebook: Notebook) -> str:
    """A notebook as the text of its file."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


def exercises(notebook: Notebook) -> list[Exercise]:
    """The exercises of a notebook in order. Raises: LabError for one without a check."""
    ids = [cell.id for cell in notebook.cells]
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.id.startswith("exercise"):
            continue
        check = f"check-{cell.id}"
        if check not in ids:
            raise LabError(f"The exercise {cell.id} has no cell {check}.")
        after = notebook.cells[ids.index(check) + 1 :]
        answer = next((one for one in after[:1] if SOLUTION in tags(one)), None)
        found.append(Exercise(cell.id, check, answer.id if answer else None, bool(answer) and TRAINS in tags(answer)))
    return found


def minutes(cell: Any) -> int:
    """How long the step of an instructor's cell takes, as its summary says; 0 for any other cell."""
    found = MINUTES.search(cell.source) if INSTRUCTOR in tags(cell) else None
    return int(found[1]) if found else 0


def part(notebook: Notebook, first: str, last: str) -> list[Any]:
    """The cells from one id to another, both included, with the solution or the words for whoever teaches right after them.

    Raises: LabError where they are not there in this order.
    """
    ids = [cell.id for cell in notebook.cells]
    for name in (first, last):
        if name not in ids:
            raise LabError(f"There is no cell {name!r} in this notebook.")
    start, end = ids.index(first), ids.index(last)
    if end < start:
        raise LabError(f"The cell {last!r} comes before {first!r}.")
    while end + 1 < len(ids) and {SOLUTION, INSTRUCTOR} & set(tags(notebook.cells[end + 1])):
        end += 1
    return notebook.cells[start : end + 1]


def title(notebook: Notebook) -> str:
    """The first heading."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if line.startswith("# "):
                    return line[2:].strip()
    return "A notebook"
