"""What happens between two steps of a held run, in the thread that trains: record, keep, change, branch, go back."""

import math
import time
import traceback

from labkit.errors import LabError
from labkit.recording.history import Event
from labkit.workbench.hold.machine import Machine
from labkit.workbench.hold.past import Deed, Past
from labkit.workbench.hold.stepping import Stepping

KEEP_SHARE, KEEP_APART, MARK_APART = 0.01, 0.1, 0.5
"""Share of the time that checkpoints may take, seconds at least between two, and between two before turns of a dial: a
finger that drags it turns it ten times a second."""


class Training:
    """Where a training stands, and everything that moves it. Every method but the constructor runs between two steps."""

    def __init__(self, machine: Machine, past: Past, stepping: Stepping):
        self.machine, self.past, self.stepping = machine, past, stepping
        self.branch, self.at = "", 0
        self.says, self.error, self.busy = "", None, ""
        self.under_way = False
        self.until = math.inf
        """The step at which it pauses."""
        self.version = 0
        """Grows with whatever changes the model but a step."""
        self._keep_at = self._kept_at = 0
        self._kept_when = 0.0

    def begin(self, earlier: bool = False) -> None:
        """Stand at the beginning, or where an earlier run of this folder ended.

        Raises: LabError when that left no checkpoint.
        """
        if not earlier:
            self._stand(self.past.begin("main", None, 0).name, 0)
            return
        self.branch, self.at = self.past.resume()
        self._go_to(self.branch, self.at, after=True)
        self.note("note", f"Goes on where an earlier run ended, at step {self.at:,}.")

    def go(self, until: float) -> None:
        """Let it take steps up to this one."""
        with self.stepping.door:
            self.until, self.error, self.says = until, None, ""
            self.stepping.allow()

    def step(self) -> None:
        """Take a step. An error in it is kept and shown: a thread would swallow it."""
        self.under_way = True
        try:
            if not self._kept_when:
                self.mark()
            self.took(self.machine.step())
        except StopIteration:
            self.halt("The task has no more batches.")
        except Exception as error:  # whatever a user's own trainer raises
            self.fail(error)
        finally:
            self.under_way = False

    def took(self, values: dict[str, float]) -> None:
        """A step has been taken, and the trainer says this of it."""
        self.at += 1
        self.past.reached(self.branch, self.at)
        self.past.journal.add(self.branch, self.at, values)
        if self.at >= self._keep_at:
            self._keep()
        if not self.machine.lost and not all(map(math.isfinite, values.values())):
            self.machine.lost = True
            name = next(name for name, value in values.items() if not math.isfinite(value))
            name = name.replace("_", " ")
            self.halt(f"The {name} is no longer a number. Branch from an earlier step with one thing changed.")
        if self.at >= self.until:
            with self.stepping.door:  # somebody may just let it go on
                if self.at >= self.until:
                    self.stepping.forbid()
        if not self.stepping.on:
            self.mark()

    def mark(self) -> None:
        """Keep this very step, where it is not kept yet and nothing was done at it so far."""
        kept = self.past.timeline.steps(self.branch)
        if (not kept or kept[-1] != self.at) and not any(self.past.deeds(self.branch, self.at)):
            self._keep(marked=True)

    def _keep(self, marked: bool = False) -> None:
        """Keep a checkpoint, and decide when to keep the next: so seldom that it costs about a hundredth of the time."""
        began = time.perf_counter()
        self.past.timeline.keep(self.branch, self.at, self.machine.state(), marked)
        now = time.perf_counter()
        taken = self.at - self._kept_at if self._kept_when else 0
        each = (began - self._kept_when) / taken if taken > 0 else 0.0
        gap = max(KEEP_APART, (now - began) / KEEP_SHARE)
        self._keep_at = self.at + (max(1, math.ceil(gap / each)) if each else 1)
        self._kept_when, self._kept_at = now, self.at

    def do(self, deed: Deed) -> None:
        """Do something to the training, remember it, and say it on the curve."""
        deed = Deed(self.at, deed.what, deed.name, deed.value)
        if deed.what != "change" or time.perf_counter() - self._kept_when > MARK_APART:
            self.mark()
        kind, says = self.machine.do(deed)
        self.past.did(self.branch, deed)
        self.note(kind, says)
        self.version += 1

    def fork(self, step: int, name: str | None, changes: dict[str, float]) -> None:
        """Begin a second future at a step of this branch, with these dials changed."""
        parent = self.branch
        if not 0 <= step <= self.past.last(parent):
            raise LabError(f"{parent} has the steps 0 to {self.past.last(parent):,}, and {step:,} was asked for.")
        if name is not None and name in self.past.branches:
            raise LabError(f"There is a branch {name!r} already; take another name, or switch to it.")
        self.mark()
        self._go_to(parent, step)
        self._stand(self.past.begin(name, parent, step).name, step)
        self._keep(marked=True)
        self.note("branch", f"{self.branch} begins here, from {parent}.")
        for dial, value in changes.items():
            self.do(Deed(step, "change", dial, value))

    def switch(self, branch: str) -> None:
        """Stand at the end of another branch."""
        last = self.past.last(branch)
        if branch == self.branch:
            return
        self.mark()
        self._go_to(branch, last, after=True)
        self._stand(branch, last)

    def _stand(self, branch: str, step: int) -> None:
        self.branch, self.at, self._keep_at, self._kept_at = branch, step, step + 1, step
        self.past.journal.note(branch=branch)
        self.error, self.says = None, ""
        self.version += 1

    def _go_to(self, branch: str, step: int, after: bool = False) -> None:
        """Bring the machine to a step of a branch, or leave it as it is where that fails."""
        here = self.machine.state()
        self.busy = f"Going back to step {step:,} of {branch}."
        try:
            self.machine.go_to(self.past, branch, step, after)
        except BaseException:
            self.machine.restore(here)
            raise
        finally:
            self.busy = ""

    def halt(self, says: str) -> None:
        """Pause and say why."""
        self.stepping.forbid()
        self.says = says
        self.note("trouble", says)

    def fail(self, error: Exception) -> None:
        """A step raised this: pause and show it."""
        self.error = "".join(traceback.format_exception(error))
        self.halt(str(error) if isinstance(error, LabError) else f"The step failed. {type(error).__name__}: {error}")

    def note(self, kind: str, says: str) -> None:
        """An event on the curve, here and now."""
        self.past.journal.event(Event(self.at, self.branch, kind, says))
