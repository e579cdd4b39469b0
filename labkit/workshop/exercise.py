"""Exercises that check themselves: what is wrong is said in a sentence, and the right answer is not given away.

In a class each finding is also told to the board of whoever teaches, through the seat that `labkit.join` took.
"""

import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.widgets.words import message


class Passed(str):
    """What a test found that is right and worth saying, such as by how much; a test that returns one is passed."""


Test = Callable[[Any], str | None]
"""Takes the answer; returns what is wrong with it as a sentence, or None, or `Passed` with what is right."""
OPEN = "Not answered yet: put your answer where the three dots are, then run this cell again."
ANSWER_CELLS = ("exercise", "check-", "solution")
"""How the ids of the cells begin that belong to an exercise; cells that a person adds are called by chance."""

OTHERS = (str(Path(__file__).parents[1]), *(sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib")))
"""Where code lies that no learner wrote: labkit, installed packages, Python."""


@dataclass(frozen=True)
class Finding:
    """What a check found: whether the answer is right, and a sentence about it, which a notebook shows."""

    right: bool
    says: str
    kind: str

    def __repr__(self) -> str:
        return self.says

    def _repr_html_(self) -> str:
        return message(self.says, self.kind)


def check(answer: Callable[[], Any], *tests: Test, name: str = "") -> Finding:
    """Work out the answer and hold it against each test in turn; the first that finds something wrong has its say.

    `answer` is a function without arguments, `lambda: my_function(inputs)`, so that an error in it is a finding too.
    An answer that is still `...`, or None, counts as not given. `name` is what a class calls the exercise where the
    notebook does not say in which cell it stands.
    """
    finding = found(answer, tests)
    if finding.says != OPEN:  # running all cells is no attempt
        tell_the_class(finding, name)
    return finding


def found(answer: Callable[[], Any], tests: tuple[Test, ...]) -> Finding:
    """The same without a word to anybody."""
    right = []
    try:
        given = answer()
    except Exception as error:  # a learner's own code may raise anything, and must hear of it in a sentence
        return Finding(False, _stopped(error), "error")
    if given is None or given is ...:
        return Finding(False, OPEN, "info")
    for test in tests:
        try:
            said = test(given)
        except Exception as error:  # a test may run what was answered, a layer for instance
            if not (isinstance(error, LabError) or _own_line(error) or _in_a_layer(error)):
                raise  # our own mistake, and not to be laid at anybody's door
            return Finding(False, _stopped(error), "error")
        if isinstance(said, Passed):
            right.append(str(said))
        elif said is not None:
            return Finding(False, f"Not yet: {said}", "error")
    return Finding(True, " ".join(["Right.", *right]), "done")


def tell_the_class(finding: Finding, name: str = "") -> None:
    """Say the finding to the class, where this notebook has a seat in one."""
    seat = sys.modules.get("labkit.workshop.seat")  # whoever joined a class has loaded it
    here = seat.joined() if seat else None
    if here is not None:
        here.tell("check", exercise=exercise_name(name), right=finding.right, says=finding.says)


def exercise_name(name: str = "") -> str:
    """What a class calls the exercise of the cell that runs now: "notebook/cell", else `name`."""
    notebook, cell = running_cell()
    own = cell.startswith(ANSWER_CELLS) or not name
    return "/".join(filter(None, (notebook, cell.removeprefix("check-")))) if cell and own else name or "an exercise"


def running_cell() -> tuple[str, str]:
    """The notebook and the id of the cell that runs now, as Jupyter says them; empty where it says nothing."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    kernel = getattr(shell, "kernel", None)
    try:
        cell = kernel.get_parent("shell")["metadata"]["cellId"]
    except (AttributeError, KeyError, TypeError):  # a script, or a front end that does not say it
        cell = ""
    return Path(os.environ.get("JPY_SESSION_NAME", "")).stem, str(cell)


def _stopped(error: Exception) -> str:
    if isinstance(error, LabError):
        return f"Not yet: {error}"
    line = _own_line(error)
    where = f', at "{line}"' if line else ""
    return f"Not yet: your code stopped with {type(error).__name__}: {error}{where}."


def _own_line(error: Exception) -> str:
    """The last line of a learner's own code on the way to an error; empty where there is none."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return next((frame.line for frame in frames if frame.line and not frame.filename.startswith(OTHERS)), "")


def _in_a_layer(error: Exception) -> bool:
    """Whether it was raised inside a layer that was called, or in a worker process, whose frames only a note tells."""
    called = any(frame.name == "_call_impl" for frame in traceback.extract_tb(error.__traceback__))
    return called or any("worker process" in note for note in getattr(error, "__notes__", ()))
