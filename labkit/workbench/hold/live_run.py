"""A training that you can hold: run, pause, step, change, rewind, branch, while everything else stays usable.

The training runs in a thread of its own. Buttons, cells and pictures only leave notes, which are read between two steps.
Checkpoints are kept as it goes, in memory and on disk within bounds, so that the run can be looked at as it was at an
earlier step, and so that a second future can begin there. What is recorded is on disk at once: it outlives the browser's
tab, the kernel, and an exception in the training step.
"""

import atexit
import math
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit.errors import LabError
from labkit.workbench.arithmetic import compute_plainly
from labkit.workbench.backprop import Backprop
from labkit.workbench.hold.interventions import Intervention
from labkit.workbench.hold.journal import Journal
from labkit.workbench.hold.machine import Machine
from labkit.workbench.hold.observer import Lens, Look, Observer
from labkit.workbench.hold.past import Deed, Past
from labkit.workbench.hold.proof import Proof, prove
from labkit.workbench.hold.readout import Readout
from labkit.workbench.hold.shelf import Recording, earlier, new_folder
from labkit.workbench.hold.stepping import Stepping, StepThread
from labkit.workbench.hold.timeline import Timeline
from labkit.workbench.hold.training import Training

_runs: "weakref.WeakValueDictionary[str, LiveRun]" = weakref.WeakValueDictionary()


class LiveRun(Readout):
    """One training of `model` on `task` by `trainer`, in a thread, that can be held. All methods may be called anywhere.

    `task` has `batches(seed)` and `loss`, and for the accuracy `test()` and `accuracy`; `trainer` has `start` and `step`, as
    `fit` takes them; by default it is Backprop at a constant rate. `steps` is where the run pauses by itself; a trainer
    with a schedule needs it. Checkpoints take at most `memory` and `disk` bytes. What is recorded lies in `folder`, by
    default a new one below $LABKIT_HOME/live; False keeps it in memory only. Pictures look at some of the inputs of
    `task.probe()`, or at `probe`. `go_on` is what an earlier run left: it continues in the same folder, from its last
    checkpoint. An earlier run of the same name in this program is stopped.

    Raises: LabError when the trainer refuses to start, or when there is nothing to go on from.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Any,
        trainer: Any = None,
        *,
        steps: int | None = None,
        seed: int = 0,
        name: str = "run",
        memory: float = 256e6,
        disk: float = 1e9,
        folder: Path | str | bool | None = None,
        probe: Any = None,
        go_on: Recording | None = None,
    ):
        self.model, self.task, self.name, self.steps, self.seed = model, task, name, steps, seed
        self.trainer = Backprop(schedule="constant") if trainer is None else trainer
        before = _runs.get(name)
        if before is not None:
            before.stop()
        machine = Machine(model, task, self.trainer, seed, steps)
        if go_on is not None and go_on.lives:
            raise LabError("This run still goes on in another program; stop it there first.")
        given = go_on.folder if go_on is not None else folder
        self.folder = None if given is False else Path(given) if isinstance(given, str | Path) else new_folder(name)
        self.journal = Journal(self.folder)
        facts = {"name": name, "model": type(model).__name__, "trainer": type(self.trainer).__name__}
        self.journal.note(**facts, seed=seed, steps=steps)
        past = Past(self.journal, Timeline(int(memory), int(disk), self.folder))
        self._stepping = self._new_stepping()
        self.training = Training(machine, past, self._stepping)
        self.observer = Observer(self, self.training, getattr(task, "probe", None) if probe is None else probe)
        self._viewing, self._ended = None, False
        self.training.begin(go_on is not None)
        lost = earlier(name)[:1] if given is None else []
        if lost and lost[0].ended is None:
            self.training.says = f"{lost[0].says} LiveRun(..., go_on=LiveRun.earlier({name!r})[0]) goes on from there."
        _runs[name] = self

    def _new_stepping(self) -> Stepping:
        return StepThread(lambda: self.training.step(), f"labkit-run {self.name}", compute_plainly)

    def run(self, until: int | None = None) -> bool:
        """Train on, until told otherwise or until this step; False when it does so already or can no more."""
        end = min(math.inf if until is None else until, math.inf if self.steps is None else self.steps)
        again = self._stepping.on and self.training.until == end
        if self._stepping.closed or again or self.step_number >= end:
            return False
        if not self.going:
            self._speed = time.monotonic(), self.step_number, None
        self.training.go(end)
        self.observer.wake()
        return True

    def pause(self) -> bool:
        """Stop after the step that is under way; False when it does not run."""
        if not self._stepping.on:
            return False
        self._stepping.forbid()
        self._stepping.soon(self.training.mark)
        return True

    def step(self, count: int = 1) -> bool:
        """Take so many steps and pause; False when it runs already or can no more."""
        return not self._stepping.on and self.run(until=self.step_number + self.training.under_way + count)

    def stop(self) -> bool:
        """End the run for good: its thread ends, what was recorded stays. False when it had been ended."""
        if self._ended:
            return False
        self._ended = True
        self._stepping.forbid()
        if self.step_number and not self._stepping.closed:
            self._stepping.soon(self.training.mark)
        self._stepping.close()
        self._stepping.join(5)
        self.observer.close()
        self.training.past.timeline.flush(5)
        self.journal.close("failed" if self.training.error else "stopped")
        return True

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it does not run any more; whether that is so. Interrupting the wait pauses the run."""
        end = math.inf if seconds is None else time.monotonic() + seconds
        try:
            while self.going and time.monotonic() < end:
                time.sleep(0.01)
        except KeyboardInterrupt:
            self.pause()
            raise
        return not self.going

    @contextmanager
    def held(self) -> Iterator["LiveRun"]:
        """While the block runs, the training stands between two steps."""
        if self._stepping.closed:
            yield self
            return
        self._stepping.hold()
        try:
            yield self
        finally:
            self._stepping.free()

    def change(self, name: str, value: float) -> None:
        """Turn a dial between two steps; the change becomes an event on the curve.

        Raises: LabError for a name or a value that does not exist.
        """
        value = self.training.machine.dial(name).checked(value)
        self._do(Deed(0, "change", name, value))

    def touch(self, intervention: Intervention) -> None:
        """Ablate, clamp, silence or edit something in the model, from the next step on.

        Raises: LabError when the model has no such place.
        """
        self._do(Deed(0, "touch", "", intervention.to_dict()))

    def untouch(self) -> None:
        """Take back the last intervention. Raises: LabError when there is none."""
        self._do(Deed(0, "untouch"))

    def _do(self, deed: Deed) -> None:
        self._stepping.now(lambda: self.training.do(deed))
        self.observer.wake()

    def view(self, step: int | None) -> int | None:
        """Let the pictures show the kept step that is nearest to this one; None is live. Returns that step.

        Raises: LabError when no step is kept yet.
        """
        self._viewing = None if step is None else self.training.past.nearest(self.branch_name, step)
        self.observer.wake()
        return self._viewing

    def branch(
        self, step: int | None = None, name: str | None = None, changes: dict[str, float] | None = None
    ) -> "LiveRun":
        """Begin a second future at a step of this branch, with some dials changed; the training stands there, paused.

        The state is exactly that of the step: the nearest checkpoint before it is trained up to it again. By default
        the step is the one that is viewed, else the present one.
        Raises: LabError when the run cannot be rewound, and for a step, name or dial that does not exist.
        """
        step = self._viewing if step is None else step
        turned = {dial: self.training.machine.dial(dial).checked(value) for dial, value in (changes or {}).items()}
        self._stepping.forbid()
        self._stepping.now(lambda: self.training.fork(self.step_number if step is None else step, name, turned))
        self.view(None)
        return self

    def switch(self, branch: str) -> None:
        """Go on with another branch, where it ended. Raises: LabError when there is none of this name."""
        self.training.past.known(branch)
        self._stepping.forbid()
        self._stepping.now(lambda: self.training.switch(branch))
        self.view(None)

    def proof(self, seconds: float = 5.0) -> Proof:
        """Train a stretch between two checkpoints again, for about so long, and compare every bit with the first time.

        Raises: LabError when fewer than two checkpoints are kept, or when the run cannot be rewound.
        """
        training = self.training
        return self._stepping.now(lambda: prove(training.machine, training.past, training.branch, seconds))

    def model_at(self, step: int | None = None, branch: str | None = None) -> nn.Module:
        """A copy in eval mode as the model was at the kept step nearest to this one, or as it is now."""
        return self.observer.copy_at(step, branch or self.branch_name)

    def look(self, lens: Lens) -> Look:
        """Keep measuring this, on a copy of the model, in a thread of its own, about ten times a second."""
        return self.observer.look(lens)

    def on_round(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call this in the observer's thread after each of its rounds; call what is returned to stop that."""
        return self.observer.on_round(callback)

    @staticmethod
    def earlier(name: str | None = None) -> list[Recording]:
        """What earlier runs left, also those whose program was killed; the newest first."""
        return earlier(name)

    @staticmethod
    def attach(model: nn.Module, optimizer: torch.optim.Optimizer | None = None, **settings: Any) -> Any:
        """Hold a loop of your own: call `live.tick(loss=loss)` after each of its steps. See `AttachedRun`."""
        from labkit.workbench.hold.attached import AttachedRun

        return AttachedRun(model, optimizer, **settings)


@atexit.register
def _stop_all() -> None:
    for run in list(_runs.values()):
        run.stop()
