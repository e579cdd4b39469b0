"""Run a built notebook from top to bottom, and read what its checks say."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.workshop.building.cells import Exercise, Notebook

OPEN, RIGHT = "Not answered yet", "Right"
SECONDS = 1800
"""How long one cell may take: full trainings on a slow machine."""


@dataclass(frozen=True)
class Executed:
    """A notebook with its outputs, and what each check said, by the id of its cell."""

    notebook: Notebook
    said: Mapping[str, str]


def execute(
    notebook: Notebook, folder: Path, *, scale: str | None = None, last: Callable[[Notebook], str] | None = None
) -> Executed:
    """Run all cells in a kernel of their own, in `folder`; `scale` is what LABKIT_SCALE says there.

    `last(notebook)` gives the code of one cell more, made when the others have run; it does not stay in the notebook.
    Raises: LabError with the first error of a cell.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from nbformat.v4 import new_code_cell

    if last is not None:
        notebook.cells.append(new_code_cell("pass", id="after-the-last-cell"))

    def begins(cell: Any, cell_index: int) -> None:
        if last is not None and cell is notebook.cells[-1]:
            cell.source = last(notebook)

    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
        on_cell_start=begins,
        # a kernel on this machine alone warns that it speaks unencrypted: nothing that whoever builds can act on
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    surroundings = dict(os.environ) | ({"LABKIT_SCALE": scale} if scale else {})
    try:
        client.execute(env=surroundings)
    except CellExecutionError as error:
        where = next((cell.id for cell in notebook.cells if _failed(cell)), "a cell")
        raise LabError(f"The cell {where} stopped with {error.ename}: {error.evalue}") from error
    except (CellTimeoutError, DeadKernelError) as error:
        raise LabError(f"The notebook did not run to its end: {error}") from error
    finally:
        if last is not None:
            notebook.cells.pop()
    found = {cell.id: said(cell) for cell in notebook.cells if cell.id.startswith("check-exercise")}
    return Executed(notebook, found)


def said(cell: object) -> str:
    """What a check's cell answered: its last result as text."""
    results = [one for one in getattr(cell, "outputs", []) if one.output_type in ("execute_result", "display_data")]
    return str(results[-1].data.get("text/plain", "")) if results else ""


def complaints(found: Executed, tasks: list[Exercise], *, solved: bool, scale: str | None) -> list[str]:
    """What is not as it should be: a solution that is not right, or an exercise that answers itself."""
    wanted, wrong = (RIGHT if solved else OPEN), []
    for one in tasks:
        told = found.said.get(one.check, "")
        brief = solved and one.trains and scale == "smoke"  # trained too short to be right, and said so
        if not told.startswith(wanted) and not (brief and told and not told.startswith(OPEN)):
            wrong.append(f"{one.check} should say “{wanted}” and says “{told or 'nothing'}”")
    return wrong


def _failed(cell: object) -> bool:
    return any(one.output_type == "error" for one in getattr(cell, "outputs", []))
