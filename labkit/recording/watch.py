"""Watch a training from inside, at a cost that is measured: `with watch(model, optimizer=optimizer) as watching: ...`.

The training loop stays as it is. On some steps ("looks") hooks read what hidden units and routers say, add it up and
are removed again; in between the model runs without them. How often, and at how many rows, follows from the budget:
the share of the training's time that looking may take, paid out of a purse (`labkit.recording.budget`).

What is read:  units      active fraction, mean, variance of every hidden unit
               density    the distribution of each layer
               health     dead, saturated and duplicate units
               gradients  norm of each gradient; change of each parameter in a step, relative to its size
               routing    load, entropy and margin of each router; flips of the first choice on `probe`

Names and axes of the result: `labkit.recording.history_arrays`; events: `labkit.recording.events`.
"""

import html
import math
import time
import warnings
from typing import Any

from torch import nn

from labkit.errors import LabError
from labkit.recording.budget import Budget, Overhead
from labkit.recording.counting import Clock, Counter
from labkit.recording.events import Alarms
from labkit.recording.history import ROWS, History, Row
from labkit.recording.looking import Looker
from labkit.recording.proof import Proof, few, hooks_of, prove
from labkit.recording.provenance import about
from labkit.recording.watchable import WHAT, refuse_to_watch

SELDOM, PROBED = 64, 16
"""Steps at least between two checks for duplicates, and between two evaluations of the probe."""
APART = 4
"""Steps at least between two rows, and between two looks at densities and at the answer."""


def watch(
    model: nn.Module,
    every: int | None = None,
    budget: float = 0.03,
    what: str | tuple[str, ...] = WHAT,
    optimizer: Any = None,
    probe: Any = None,
    *,
    names: str = "*",
    keep: int = ROWS,
) -> "Watching":
    """Watch a model while it is trained inside the block; `watching.history` is what was seen.

    A step ends with a step of `optimizer`; without one given, of the first optimizer of torch that moves this model's
    parameters; in a loop without such an optimizer, each training forward is a step. So passes whose gradients are
    accumulated belong to one step. A loop that calls `watching.step()` says it explicitly.

    every: look at each n-th step, at all rows; each look becomes a row, of several where they are less than `APART`
        steps apart. The budget is then not kept, and what it really costs is only reported
    budget: the share of the training's own time that looking may take
    what: some of "units", "density", "health", "gradients", "routing"
    probe: inputs as the model takes them (a tensor, a tuple, a Mapping), on which flips and the proof are measured
    names: a pattern for the names of the layers and routers
    keep: rows in memory at most; when they are reached, neighbouring rows are put together

    Raises: LabError when the model is compiled, or an argument makes no sense.
    """
    return Watching(model, every, budget, what, optimizer, probe, names, keep)


class Watching:
    """A watch; on while its `with` block runs. Read `history`, `overhead` and, after the block, `proof`."""

    def __init__(
        self,
        model: nn.Module,
        every: int | None = None,
        budget: float = 0.03,
        what: str | tuple[str, ...] = WHAT,
        optimizer: Any = None,
        probe: Any = None,
        names: str = "*",
        keep: int = ROWS,
    ):
        what = (what,) if isinstance(what, str) else tuple(what)
        refuse_to_watch(model, every, budget, what, optimizer)
        self.model = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
        self.history = History(keep)
        self.history.facts = about(self.model)
        self.proof: Proof | None = None
        self._optimizer, self._probe, self._every = optimizer, probe, every
        self._clock, self._budget, self._alarms = Clock(), Budget(budget, every), Alarms()
        self._looker = Looker(self.model, names, what, self._clock)
        steps = self._looker.steps
        self._counter = Counter(
            self.model,
            optimizer,
            self._clock,
            ended=self._ended,
            before=lambda moved: steps.before(moved) if steps else None,
            after=lambda: steps.after() if steps else None,
            entered=self._entered,
        )
        self._started = self._mark = self._looks_per_row = 0.0
        self._looks = self._looks_in_row = 0
        self._checked = self._dense_at = -SELDOM
        self._probed: float = -PROBED
        self._group = 1
        self._seen: Any = None
        self._passing: Any = None
        self._kept_at = -APART
        self._hooks: set = set()

    @property
    def overhead(self) -> Overhead:
        """What watching has cost so far, and how that was measured. `float(watching.overhead)` is the fraction."""
        return self._budget.overhead()

    @property
    def steps(self) -> int:
        """Steps of the training so far."""
        return self._counter.steps

    @property
    def problems(self) -> dict[str, str]:
        """What could not be read, by name, and why."""
        return self._looker.problems

    @property
    def never_ran(self) -> list[str]:
        """Layers and routers that the model has and that did not run at any look."""
        ran = {name for row in self.history.rows for name in (*row.units, *row.gates)}
        return [name for name in self._looker.expected() if name not in ran]

    def step(self) -> None:
        """Say that a step of the training has ended; for loops whose steps cannot be told from outside."""
        if not self._hooks and not self._started:
            raise LabError("watching.step() counts inside the with block only.")
        self._counter.step()

    def __enter__(self) -> "Watching":
        if self._started:
            raise LabError("This watch has been used already: make a new one with watch(model).")
        self._hooks = hooks_of(self.model, self._optimizer)
        self._looker.load()
        self._looker.own |= {handle.id for handle in self._counter.open()}
        self._started = self._mark = time.perf_counter()
        self._look()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                self._counter.finish()
            if self._looks_in_row or self._looker.looking:
                self._keep()
        finally:
            self._looker.close()
            self._counter.close()
        why_not = f"the block ended with {kind.__name__}." if kind is not None else ""
        probe = self._probe if self._probe is not None else self._seen
        self.proof = prove(
            self.model,
            probe,
            lambda: self._looker.open(always=True),
            self._looker.close,
            self._hooks,
            self._looker.own,
            self._optimizer,
            why_not,
        )
        self._looker.forget()
        self._seen = self._passing = None
        if kind is None and (why := self.unseen):
            warnings.warn(why, stacklevel=2)

    def _look(self) -> None:
        """Install the hooks for the next step."""
        self._looks += 1
        sample = self._counter.steps + 1 - self._checked >= SELDOM
        dense = self._counter.steps + 1 - self._dense_at >= APART
        stride = self._budget.stride_for(self._looker.rows)
        self._looker.open(stride, self._looks, sample=sample, dense=dense)
        if self._looker.steps is not None and self._counter.counts == "forward":
            self._looker.steps.remember()
        self._checked = self._counter.steps + 1 if sample else self._checked
        self._dense_at = self._counter.steps + 1 if dense else self._dense_at

    def _entered(self, arguments: tuple, named: dict) -> None:
        if self._probe is None and self._looks % SELDOM == 1:
            self._passing = (arguments, named)

    def _notice_gradients(self) -> None:
        steps = self._looker.steps
        if steps is None:
            return
        if self._counter.counts == "forward":
            steps.norms()
            steps.after()
        for event in self._alarms.gradients(self._counter.steps, steps.gradients):
            self.history.happened(event)

    def _remember(self) -> None:
        """Keep a few inputs of a look now and then, for the proof; of what passed by only these outlive the step."""
        if self._passing is not None:
            self._seen, self._passing = few(self._passing), None

    def _ended(self) -> None:
        """A step of the training has ended: close the look, keep the books, decide about the next step."""
        start = time.perf_counter()
        looked = self._looker.looking
        if looked:
            self._looks_in_row += 1
            self._notice_gradients()
            self._remember()
            full = self._looks_in_row >= self._group * max(1.0, self._looks_per_row)
            if full and self._counter.steps - self._kept_at >= APART:
                self._keep()
        end = time.perf_counter()
        self._budget.step(self._counter.steps, end - self._mark, self._clock.own + end - start, looked)
        self._mark, self._clock.own = end, 0.0
        if self._budget.due():
            self._look()
        elif looked:
            self._looker.close()
        self._counter.looking = self._looker.looking
        self._clock.own += time.perf_counter() - end

    def _keep(self) -> None:
        """Make a row of what was read since the last one."""
        start = time.perf_counter()
        looker, step = self._looker, max(1, self._counter.steps)
        firsts = self._first_choices(step)
        units, gates = looker.units(), looker.gates(firsts)
        gradients, updates = looker.steps.row() if looker.steps is not None else ({}, {})
        self._looks_in_row, self._kept_at = 0, step
        if not (units or gates or gradients):
            return
        row = Row(step, self._counter.examples, start - self._started, units, gates, gradients, updates)
        for event in (*self._alarms.check(row), *self._alarms.answer(step, looker.finite)):
            self.history.happened(event)
        self.history.choice = looker.word()
        if self.history.keep(row):
            self._group *= 2
        self._looks_per_row = self._budget.looks_per_row(time.perf_counter() - start)

    def _first_choices(self, step: int) -> dict:
        """The routers' first choices on the probe, where there are both and the last ones are old enough."""
        if self._probe is None or not self._looker.routers() or step - self._probed < PROBED:
            return {}
        self._probed = step
        try:
            return self._looker.firsts(self._probe)
        except Exception as error:  # a probe that does not fit must not end somebody's training
            self.problems["the probe"] = f"{type(error).__name__}: {str(error).split(chr(10))[0]}"
            self._probed = math.inf
            return {}

    @property
    def unseen(self) -> str:
        """Why no layer and no router was seen, in a sentence; empty where some were."""
        if any(row.units or row.gates for row in self.history.rows) or not self._started:
            return ""
        counter = self._counter
        if not counter.forwards and counter.steps:
            return (
                f"The optimizer took {counter.steps:,} steps, but no hook was called in a training forward: the model ran "
                "compiled (watch it uncompiled), or in evaluation (call model.train())."
            )
        if not counter.forwards:
            return "The model did not run in training mode inside the block: call model.train() and train it there."
        return "The model ran, but none of its layers is one that can be read: see anatomy(model)."

    def __str__(self) -> str:
        step = {"optimizer": "an optimizer's step", "forward": "a training forward", "call": "a call of step()"}
        counted = step.get(self._counter.counts or "", "not decided yet")
        lines = [f"Watched {self.steps:,} steps of {type(self.model).__name__} (a step is {counted})"]
        lines.append(str(self.overhead))
        lines.append(str(self.history))
        lines += [self.unseen] if self.unseen else []
        if self.never_ran and not self.unseen:
            lines.append(
                f"never ran at a look: {', '.join(self.never_ran[:8])}" + (" …" if len(self.never_ran) > 8 else "")
            )
        unknown = self._looker.unknown
        lines += [f"not recognised: {name or 'the model'}: {why}" for name, why in unknown[:4]]
        lines += (
            [f"and {len(unknown) - 4} more that were not recognised; see anatomy(model)"] if len(unknown) > 4 else []
        )
        lines += [f"not read: {name} ({why})" for name, why in self.problems.items()]
        if self.proof is not None:
            lines.append(f"proof that nothing was changed: {self.proof}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        first, *rest = str(self).split("\n")
        items = "".join(f"<li>{html.escape(line.strip())}</li>" for line in rest)
        return f"<div class='labkit-watch'><p><strong>{html.escape(first)}</strong></p><ul>{items}</ul></div>"
