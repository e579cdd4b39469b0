"""The curves of a held run: a line for each branch that leaves its parent where it begins, and the axes that fit."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from labkit.widgets.curve_lines import Curve, Labels

POINTS = 2_000
FIRST = ("training_loss", "loss")
"""What is shown first, where it was recorded."""


def branch_lines(run: Any, quantity: str) -> list[Curve]:
    """One line for each branch that has values, in a colour and dash of its own; a fork where it leaves its parent."""
    found: Mapping[str, tuple[np.ndarray, np.ndarray]] = run.curves(quantity)
    lines = []
    for place, branch in enumerate(run.branches):
        steps, values = found.get(branch.name, ((), ()))
        if len(steps):
            fork = fork_of(found, run.branches, branch)
            lines.append(Curve(branch.name, steps, values, place, fork=fork))
    return lines


def fork_of(found: Mapping[str, tuple], branches: Any, branch: Any) -> tuple[float, float] | None:
    """The last value at or before a branch's start on the branch that it comes from, or on that one's parents."""
    parents = {one.name: one.parent for one in branches}
    name = branch.parent
    while name is not None:
        steps, values = found.get(name, ((), ()))
        place = int(np.searchsorted(steps, branch.start, side="right")) - 1
        if place >= 0:
            return float(steps[place]), float(values[place])
        name = parents.get(name)
    return None


def words_of(quantity: str) -> str:
    """A quantity as people say it."""
    words = quantity.replace("_", " ").strip() or "value"
    return words[0].upper() + words[1:]


def labels_of(run: Any, quantity: str, height: int = 280) -> Labels:
    """The words and the ends of the axes around the curves of a quantity."""
    fraction = quantity.endswith("accuracy")
    return Labels(
        x="Step",
        y=f"{words_of(quantity)}{' (fraction)' if fraction else ''}",
        across=(0, None),
        limits=(0, 1) if fraction else (None, None),
        height=height,
        empty="The curve begins with the first step.",
        tools=True,
        points=POINTS,
    )


def ordered(quantities: list[str]) -> list[str]:
    """The loss first, then the others as they were recorded."""
    return sorted(quantities, key=lambda one: one not in FIRST)
