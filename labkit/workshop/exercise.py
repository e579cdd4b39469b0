"""Exercises that check themselves: what is wrong is said in a sentence, and the right answer is not given away."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labkit.errors import LabError
from labkit.widgets.words import message

Test = Callable[[Any], str | None]
"""Takes the answer; returns what is wrong with it as a sentence, or None."""
OPEN = "Not answered yet: put your answer where the three dots are, then run this cell again."


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


def check(answer: Callable[[], Any], *tests: Test) -> Finding:
    """Work out the answer and hold it against each test in turn; the first that finds something wrong has its say.

    `answer` is a function without arguments, `lambda: my_function(inputs)`, so that an error in it is a finding too.
    An answer that is still `...`, or None, counts as not given.
    """
    try:
        given = answer()
    except Exception as error:  # a learner's own code may raise anything, and must hear of it in a sentence
        return Finding(False, _stopped(error), "error")
    if given is None or given is ...:
        return Finding(False, OPEN, "info")
    for test in tests:
        wrong = test(given)
        if wrong is not None:
            return Finding(False, f"Not yet: {wrong}", "error")
    return Finding(True, "Right.", "done")


def _stopped(error: Exception) -> str:
    if isinstance(error, LabError):
        return f"Not yet: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    line = next(
        (f', at "{frame.line}"' for frame in reversed(frames) if frame.line and "labkit" not in frame.filename), ""
    )
    return f"Not yet: your code stopped with {type(error).__name__}: {error}{line}."
