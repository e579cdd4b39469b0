"""What can be read of a run at any time, from any thread: where it stands, its dials, branches, events and curves."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from labkit.recording.history import Event
from labkit.workbench.hold.dials import Dial
from labkit.workbench.hold.interventions import Interventions
from labkit.workbench.hold.journal import Branch, Journal
from labkit.workbench.hold.stepping import Stepping
from labkit.workbench.hold.training import Training


class Readout:
    """The side of a held run that is only looked at; nothing here waits for the training."""

    steps: int | None
    journal: Journal
    training: Training
    _stepping: Stepping
    _ended = False
    _viewing: int | None = None
    _speed: tuple[float, int, float | None] = (0.0, 0, None)
    ahead: Callable[[], int] | None = None
    """How many runs must end before this one may begin, where runs queue."""

    @property
    def branch_name(self) -> str:
        return self.training.branch

    @property
    def step_number(self) -> int:
        return self.training.at

    @property
    def viewing(self) -> int | None:
        """The step that the pictures show, None where they show the present."""
        return self._viewing

    @property
    def going(self) -> bool:
        """Whether steps are taken, or something is done between two steps."""
        stepping = self._stepping
        return stepping.on or self.training.under_way or bool(self.training.busy)

    @property
    def state(self) -> str:
        """ready, queued, running, paused, finished, stopped or failed."""
        if self._ended:
            return "failed" if self.training.error else "stopped"
        if self.ahead is not None and self.ahead() > 0:
            return "queued"
        if self.going:
            return "running"
        if self.training.error:
            return "failed"
        if self.steps is not None and self.step_number >= self.steps:
            return "finished"
        return "paused" if self.step_number else "ready"

    def status(self) -> dict[str, Any]:
        """Where the run is, as plain values; cheap enough to ask ten times a second."""
        state = self.state
        return {
            "state": state,
            "step": self.step_number,
            "steps": self.steps,
            "branch": self.branch_name,
            "speed": self._steps_a_second() if state == "running" else None,
            "says": self.training.busy or self.training.says or self.problem,
            "error": self.training.error,
            "viewing": self._viewing,
            "ahead": self.ahead() if self.ahead is not None else 0,
        }

    @property
    def problem(self) -> str:
        """Why something could not be kept, as a sentence; empty when all is."""
        return self.journal.problem or self.training.past.timeline.problem or ""

    def _steps_a_second(self) -> float | None:
        when, step, speed = self._speed
        now = time.monotonic()
        if now - when > 0.5:
            speed = max(0, self.step_number - step) / (now - when)
            self._speed = now, self.step_number, speed
        return speed

    @property
    def dials(self) -> list[Dial]:
        """What can be changed while it runs."""
        return self.training.machine.dials

    @property
    def touches(self) -> Interventions:
        """The interventions; those in force are `touches.active`, the oldest first."""
        return self.training.machine.touches

    @property
    def branches(self) -> list[Branch]:
        """All futures with where they begin and end; the first one is where the run began."""
        past = self.training.past
        return [replace(branch, last=past.last(branch.name)) for branch in list(past.branches.values())]

    def last(self, branch: str) -> int:
        """The last step of a branch. Raises: LabError when there is none of this name."""
        return self.training.past.last(branch)

    @property
    def events(self) -> list[Event]:
        """What happened, in the order in which it did; `where` is the branch."""
        return list(self.journal.events)

    def kept(self, branch: str | None = None) -> list[int]:
        """The steps that can be viewed, of this branch and, before its start, of its ancestors."""
        return self.training.past.kept(branch or self.branch_name)

    @property
    def quantities(self) -> list[str]:
        """What is recorded: training_loss, penalties by name, and test_accuracy or test_loss."""
        return list(self.journal.quantities)

    def curve(self, quantity: str, branch: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of a quantity on one branch, from its own start on."""
        return self.journal.curve(quantity, branch or self.branch_name)

    def curves(self, quantity: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """`curve` for every branch."""
        return {branch.name: self.curve(quantity, branch.name) for branch in self.branches}
