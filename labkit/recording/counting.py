"""What a step of somebody's training loop is, found out from outside, and who calls when one begins and ends.

A step ends where an optimizer of torch moves the model's parameters: the optimizer that was given, or else the first
one that is seen to hold any of them. Passes whose gradients are accumulated thus belong to one step. A loop that
moves the parameters by hand has a step with each training forward; that is assumed when so many have passed without
an optimizer. Whoever calls `step()` says it explicitly, and then nothing else counts.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from labkit.recording.recomputing import in_backward

UNDECIDED = 16
"""Training forwards without an optimizer's step after which each forward counts as a step."""


class Clock:
    """Seconds spent in the watch's own code since the last step ended."""

    def __init__(self) -> None:
        self.own = 0.0


class Counter:
    """Counts the steps of a training while it is open.

    `ended()` is called after each step; while `looking`, `before(parameters)` and `after()` around the optimizer's own
    step, with the numbers (`id`) of the parameters that it moves, and `entered(arguments, named)` at a training forward.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        clock: Clock,
        *,
        ended: Callable[[], None],
        before: Callable[[set[int]], None],
        after: Callable[[], None],
        entered: Callable[[tuple, dict], None],
    ):
        self._model, self._given, self._clock = model, optimizer, clock
        self._ended, self._before, self._after, self._entered = ended, before, after, entered
        self._mine = {id(parameter) for parameter in model.parameters()}
        self._moved: set[int] = set()
        self._optimizer = optimizer
        self._handles: list[Any] = []
        self.counts: str | None = "optimizer" if optimizer is not None else None
        """What a step is: "optimizer", "forward" or "call"; None as long as that is open."""
        self.forwards = self.steps = self.examples = 0
        self.unfinished = False
        """Whether a forward has run whose step has not ended."""
        self.looking = True
        """Whether anyone wants to know what an optimizer's step does."""

    def open(self) -> list[Any]:
        """Install the hooks and return them."""
        self._handles = [self._model.register_forward_pre_hook(self._forward, with_kwargs=True)]
        if self._given is not None:
            self._handles.append(self._given.register_step_pre_hook(self._step_begins))
            self._handles.append(self._given.register_step_post_hook(self._step_ends))
        else:
            self._handles.append(register_optimizer_step_pre_hook(self._step_begins))
            self._handles.append(register_optimizer_step_post_hook(self._step_ends))
        return self._handles

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def step(self) -> None:
        """A step ended, says the loop itself."""
        first, self.counts = self.counts != "call", "call"
        if not (first and self.steps == 1):  # the first one may have been counted by the optimizer already
            self._end()

    def finish(self) -> None:
        """The loop is over: the last forward of a loop without an optimizer was a step too."""
        if self.unfinished and self.counts in (None, "forward"):
            self.steps += self.forwards - 1 if self.counts is None else 0
            self.counts = "forward"
            self._end()

    def _end(self) -> None:
        self.steps += 1
        self.unfinished = False
        self._ended()

    def _forward(self, module: nn.Module, arguments: tuple, named: dict) -> None:
        if torch.compiler.is_compiling() or not module.training or in_backward():
            return
        if self.counts == "forward" and self.unfinished:
            self._end()
        elif self.counts is None and self.forwards >= UNDECIDED:
            self.counts, self.steps = "forward", self.forwards - 1
            self._end()
        start = time.perf_counter()
        self.forwards += 1
        self.unfinished = True
        first = arguments[0] if arguments else None
        if isinstance(first, Tensor) and first.ndim:
            self.examples += len(first)
        else:
            self.examples += size_of((*arguments, *named.values()))
        if self.looking:
            self._entered(arguments, named)
        self._clock.own += time.perf_counter() - start

    def _step_begins(self, optimizer: Any, _arguments: tuple, _named: dict) -> None:
        if self.looking and self._is_mine(optimizer):
            start = time.perf_counter()
            self._before(self._moved)
            self._clock.own += time.perf_counter() - start

    def _step_ends(self, optimizer: Any, _arguments: tuple, _named: dict) -> None:
        if not self._is_mine(optimizer):
            return
        if self.looking:
            start = time.perf_counter()
            self._after()
            self._clock.own += time.perf_counter() - start
        if self.counts is None:
            self.counts = "optimizer"
        if self.counts == "optimizer":
            self._end()

    def _is_mine(self, optimizer: Any) -> bool:
        if self._optimizer is None:
            if not self._mine.isdisjoint(moved_by(optimizer)):
                self._optimizer = optimizer
            else:
                return False
        if optimizer is not self._optimizer:
            return False
        if not self._moved:
            self._moved = moved_by(optimizer)
        return True


def moved_by(optimizer: Any) -> set[int]:
    """The numbers (`id`) of the parameters that an optimizer moves."""
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def size_of(values: Any) -> int:
    """How many examples a call is given: the length of the first tensor in its arguments."""
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, Tensor):
            return len(value) if value.ndim else 1
        if isinstance(value, dict | list | tuple) and (found := size_of(value)):
            return found
    return 0
