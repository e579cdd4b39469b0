"""What a run did: its branches, what was changed at which step, and how to get back to any step.

A branch begins at a step of its parent. What was done to the run between two steps (a dial turned, a unit ablated) is
kept as a deed, so that a replay from a checkpoint does the same again. The state of a branch "at step s" is the one
right after the s-th step, before the deeds at s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labkit.errors import LabError
from labkit.workbench.hold.checkpoint import State
from labkit.workbench.hold.journal import Branch, Journal
from labkit.workbench.hold.timeline import Timeline


@dataclass(frozen=True)
class Deed:
    """Something done between step `step` and the next: "change" (a dial's name and value), "touch", "untouch"."""

    step: int
    what: str
    name: str = ""
    value: Any = None


class Past:
    """Branches with their deeds, over a journal and a timeline of checkpoints."""

    def __init__(self, journal: Journal, timeline: Timeline):
        self.journal, self.timeline = journal, timeline
        self.branches: dict[str, Branch] = {}
        self._deeds: dict[str, list[Deed]] = {}
        self._last: dict[str, int] = {}

    def begin(self, name: str | None, parent: str | None, start: int) -> Branch:
        """A new branch; without a name it is called "branch 2", "branch 3", and so on.

        Raises: LabError when there is one of this name.
        """
        if name is None:
            count = len(self.branches) + 1
            while (name := f"branch {count}") in self.branches:
                count += 1
        if name in self.branches:
            raise LabError(f"There is a branch {name!r} already; take another name, or switch to it.")
        branch = Branch(name, parent, start)
        self.branches[name], self._deeds[name], self._last[name] = branch, [], start
        self.journal.branch(branch)
        return branch

    def reached(self, branch: str, step: int) -> None:
        """The branch has got to this step."""
        self._last[branch] = step

    def last(self, branch: str) -> int:
        """The last step of a branch."""
        return self._last[self.known(branch)]

    def known(self, branch: str) -> str:
        """The name itself. Raises: LabError when there is no such branch."""
        if branch not in self.branches:
            raise LabError(f"There is no branch {branch!r}; there is {', '.join(self.branches)}.")
        return branch

    def did(self, branch: str, deed: Deed) -> None:
        """Keep a deed."""
        self._deeds[branch].append(deed)
        told = {name: [vars(one) for one in deeds] for name, deeds in self._deeds.items() if deeds}
        self.journal.note(deeds=told)

    def deeds(self, branch: str, step: int) -> Iterator[Deed]:
        """What was done at this step of a branch or, before its start, of its ancestors, in order."""
        while step < self.branches[branch].start and (parent := self.branches[branch].parent) is not None:
            branch = parent
        return (deed for deed in self._deeds[branch] if deed.step == step)

    def lineage(self, branch: str) -> Iterator[tuple[str, int, int]]:
        """(branch, first step, last step) from this branch back to the first one."""
        last = self._last[self.known(branch)]
        while True:
            one = self.branches[branch]
            yield branch, one.start, last
            if one.parent is None:
                return
            branch, last = one.parent, one.start

    def kept(self, branch: str) -> list[int]:
        """The steps of the checkpoints of a branch and, before its start, of its ancestors, ascending."""
        steps: set[int] = set()
        for name, _, last in self.lineage(branch):
            steps |= {step for step in self.timeline.steps(name) if step <= last}
        return sorted(steps)

    def find(self, branch: str, step: int) -> tuple[int, State]:
        """The nearest checkpoint at or before a step: its step and its state.

        Raises: LabError when none is kept so early.
        """
        for name, _, last in self.lineage(branch):
            found = self.timeline.at(name, min(step, last))
            if found is not None:
                return found
        raise LabError(f"No checkpoint at or before step {step:,} of {branch} is kept any more.")

    def nearest(self, branch: str, step: int) -> int:
        """The kept step that is nearest. Raises: LabError when none is kept."""
        steps = self.kept(branch)
        if not steps:
            raise LabError("No checkpoint is kept yet: let the run take a step first.")
        return min(steps, key=lambda one: abs(one - step))

    def resume(self) -> tuple[str, int]:
        """Take up what an earlier run left in the same folder: branches, deeds, checkpoints.

        Returns the branch that was trained last and the step of its last checkpoint. What was done after that step was
        done to a future that will be trained again, and is forgotten.
        Raises: LabError when it left no checkpoint.
        """
        facts = self.journal.about
        for branch in self.journal.branches:
            self.branches[branch.name] = Branch(branch.name, branch.parent, branch.start)
            self._deeds[branch.name] = [Deed(**deed) for deed in facts.get("deeds", {}).get(branch.name, [])]
            self._last[branch.name] = branch.last
        kept = {name: steps for name in self.branches if (steps := self.timeline.steps(name))}
        if not kept:
            raise LabError("The earlier run left its curves, but no checkpoint to go on from.")
        name = facts.get("branch")
        name = name if name in kept else max(kept, key=lambda one: kept[one][-1])
        step = kept[name][-1]
        self._deeds[name] = [deed for deed in self._deeds[name] if deed.step <= step]
        self._last[name] = step
        return name, step
