"""Hold a training loop of your own: `live = LiveRun.attach(model, optimizer)`, and `live.tick(loss=loss)` after each step.

The loop stays where it is, in a cell or a script. At each tick the step is recorded, checkpoints are kept, what was asked
for meanwhile is done, and while the run is paused the tick waits. Batches are the loop's own: a branch takes back model and
optimizer, not the data.
"""

import time
from collections.abc import Callable
from concurrent.futures import wait
from threading import Lock, current_thread
from typing import Any

import torch
from torch import nn

from labkit.errors import LabError
from labkit.workbench.fit import Stopped
from labkit.workbench.hold.live_run import LiveRun
from labkit.workbench.hold.stepping import Job, Stepping

WAITING: list[Callable[[], None]] = []
"""Called at each tick, and again and again while one waits: a notebook lets its clicks through here."""
REST, LOOK, GONE = 0.02, 0.1, 3.0
"""Seconds between two looks at the door while a tick waits, between two looks whether a loop still ticks, and without a
tick after which it has ended; a loop of long steps has ten of them."""


class OwnLoop:
    """Stands where a trainer stands: what can be taken back is the optimizer."""

    def __init__(self, optimizer: torch.optim.Optimizer | None):
        self.optimizer = optimizer

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        """The loop has its own beginning."""

    def step(self, model: nn.Module, batch: Any) -> dict[str, float]:
        raise LabError("The steps of an attached run are taken by your own loop; it cannot be replayed.")

    def state_dict(self) -> dict[str, Any]:
        return {} if self.optimizer is None else self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state)


class Ticking(Stepping):
    """Steps that somebody else takes: jobs are done at the next tick, or at once where no loop runs any more."""

    def __init__(self) -> None:
        super().__init__()
        self.ticked, self.waiting, self._apart = 0.0, False, 0.0
        self._serving = Lock()

    @property
    def there(self) -> bool:
        """Whether a loop is running, or waits in a tick."""
        return time.monotonic() - self.ticked < max(GONE, 10 * self._apart)

    def now(self, job: Job) -> Any:
        if self.there and current_thread() is not self._stepper:
            done = self.soon(job)
            while self.there and not self.closed:  # the loop may end before it has another tick
                if wait([done], LOOK).done:
                    return done.result()
            self._alone()
            return done.result()
        self._alone()
        return job()

    def _alone(self) -> None:
        """Do the jobs that wait, where no loop will."""
        with self._serving:
            self.serve()

    def hold(self) -> None:
        if self.there and current_thread() is not self._stepper:
            super().hold()
        else:
            self._held += 1

    def arrive(self) -> None:
        """A tick has come."""
        before, self.ticked, self._stepper = self.ticked, time.monotonic(), current_thread()
        self._apart = self.ticked - before if before else 0.0

    def wait(self) -> None:
        """Do what was asked for, and wait until the next step may be taken. Raises: Stopped when the run was stopped."""
        for call in WAITING:
            call()
        try:
            while not self.serve():
                if self.closed:
                    raise Stopped("This run was stopped, and so your loop ends here.")
                self.waiting = True
                for call in WAITING:
                    call()
                self.rest(REST)
                self.ticked = time.monotonic()
        finally:
            self.waiting = False


class AttachedRun(LiveRun):
    """A run whose steps are taken by a loop of your own. It runs until it is paused.

    `probe` is what pictures look at: inputs, or (inputs, labels). Without an optimizer there is no dial for the learning
    rate, and a branch takes back the weights only.
    """

    _stepping: Ticking

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None, **settings: Any):
        super().__init__(model, None, OwnLoop(optimizer), **{"name": "own loop", **settings})
        self._stepping.allow()

    def tick(self, loss: Any, **values: Any) -> None:
        """A step of the loop has ended, with this loss and any other numbers worth a curve. Waits while it is paused.

        Raises: Stopped when the run was stopped.
        """
        if self._stepping.closed:
            raise Stopped("This run was stopped, and so your loop ends here.")
        self._stepping.arrive()
        self.training.took({"training_loss": _number(loss), **{name: _number(one) for name, one in values.items()}})
        self._stepping.wait()

    def branch(
        self, step: int | None = None, name: str | None = None, changes: dict[str, float] | None = None
    ) -> LiveRun:
        """Take model and optimizer back to the nearest kept step at or before this one; the loop goes on with its own data."""
        step = self.viewing if step is None else step
        if step is not None:
            step = self.training.past.find(self.branch_name, step)[0]
        super().branch(step, name, changes)
        self.training.says = "Model and optimizer were taken back; your loop goes on with its own batches."
        return self

    def proof(self, seconds: float = 5.0) -> Any:
        """Raises: LabError: the loop's steps are not ours to repeat."""
        raise LabError("An attached run cannot be trained again: its steps and batches are those of your own loop.")

    @property
    def going(self) -> bool:
        """Whether the loop takes steps; also while it ends the one that it is at."""
        stepping = self._stepping
        return bool(self.training.busy) or (stepping.there and (stepping.on or not stepping.waiting))

    def _new_stepping(self) -> Stepping:
        return Ticking()


def _number(value: Any) -> float:
    return float(value.detach() if isinstance(value, torch.Tensor) else value)
