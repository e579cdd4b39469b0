"""One look of a watch: hooks that are there for one step, and what they add up until a row is made of it."""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labkit.parts.gate import Routing
from labkit.parts.kernels.unit_sums import load
from labkit.recording.counting import Clock
from labkit.recording.gathering import Choices, Steps, Units, first_choice
from labkit.recording.history import GateRow, UnitRow
from labkit.recording.kinds import Activations
from labkit.recording.listening import Ears
from labkit.recording.moments import Scratch
from labkit.recording.observe import observe
from labkit.recording.proof import evaluating
from labkit.recording.recomputing import in_backward

ANSWER = 2**20
"""Numbers of the model's answer that are checked for NaN at a look, its first ones."""
LARGE = 2**15
"""Parameters from which a model's layers are worth loading the compiled sums before its first step."""


class Looker:
    """Reads a model's units, routers and parameters while it is open."""

    def __init__(self, model: nn.Module, names: str, what: tuple[str, ...], clock: Clock):
        self._model, self._what, self._clock = model, what, clock
        self._ears = Ears(model, names, what, self._hear)
        self._scratch = Scratch()
        self._units: dict[str, Units] = {}
        self._choices: dict[str, Choices] = {}
        self._answer: Any = None
        self._stride, self._offset, self._sample, self._dense, self._always = 1, 0, False, True, False
        self.steps = Steps(model.named_parameters()) if "gradients" in what else None
        self.problems: dict[str, str] = {}
        """What could not be read, by name, and why."""
        self.own: set[int] = set()
        """Numbers of all hooks that were ever installed."""
        self.rows = 1
        """Rows of the largest layer at the last look, before any was left out."""
        self.finite = True
        """Whether the model's answers were numbers at the last look."""
        self.looking = False

    def load(self) -> None:
        """Load what looks at a large model need, so that no step of the training waits for it."""
        if {"units", "health"} & set(self._what) and sum(one.numel() for one in self._model.parameters()) >= LARGE:
            load()

    def open(
        self, stride: int = 1, offset: int = 0, *, sample: bool = False, dense: bool = True, always: bool = False
    ) -> None:
        """Install the hooks: each `stride`-th row is read.

        With `sample`, rows are kept to find duplicates; with `dense`, values are counted and the model's answer is
        checked; with `always`, evaluation is read too.
        """
        self._stride, self._offset, self._sample, self._dense, self._always = stride, offset, sample, dense, always
        self.finite = True
        if self.looking:
            return
        self._ears.open()
        self._answer = self._model.register_forward_hook(self._answered)
        self.own |= self._ears.own | {self._answer.id}
        self.looking = True

    def close(self) -> None:
        """Remove the hooks."""
        self._ears.close()
        if self._answer is not None:
            self._answer.remove()
        self._answer, self.looking = None, False

    def forget(self) -> None:
        """Drop what was read since the last row."""
        for one in (*self._units.values(), *self._choices.values()):
            one.row()

    def units(self) -> dict[str, UnitRow]:
        """What was read of the units since the last row."""
        rows = {name: one.row() for name, one in self._units.items()}
        return {name: row for name, row in rows.items() if row is not None}

    def gates(self, firsts: Mapping[str, np.ndarray]) -> dict[str, GateRow]:
        """What was read of the routers since the last row."""
        rows = {name: one.row(firsts.get(name)) for name, one in self._choices.items()}
        return {name: row for name, row in rows.items() if row is not None}

    def expected(self) -> list[str]:
        """Layers and routers that there are, whether or not they ran."""
        return self._ears.expected()

    def routers(self) -> bool:
        """Whether any router was heard."""
        return bool(self._choices)

    @property
    def unknown(self) -> tuple[tuple[str, str], ...]:
        """Parts of the model that are not recognised, by name, and why."""
        return self._ears.unknown

    def word(self) -> str:
        """What a choice is called in this model."""
        return self._ears.word()

    def firsts(self, probe: Any) -> dict[str, np.ndarray]:
        """The first choice of every router for every token of the probe, in evaluation."""
        with evaluating(self._model):
            trace = observe(self._model, probe, Routing)
        return {
            name: np.concatenate([first_choice(call) for call in trace.calls(name) if isinstance(call, Routing)])
            for name in trace
            if name in self._choices
        }

    def _hear(self, name: str, value: Any) -> None:
        if not (self._model.training or self._always) or torch.compiler.is_compiling() or in_backward():
            return
        start = time.perf_counter()
        try:
            device = (value.values if isinstance(value, Activations) else value.index).device.type
            if torch.is_autocast_enabled(device):
                with torch.autocast(device, enabled=False):
                    self._read(name, value)
            else:
                self._read(name, value)
        except Exception as error:  # what cannot be read must not end somebody's training
            self.problems[name] = f"{type(error).__name__}: {str(error).split(chr(10))[0]}"
            self._ears.skip(name)
        self._clock.own += time.perf_counter() - start

    def _read(self, name: str, value: Any) -> None:
        if isinstance(value, Routing):
            if name not in self._choices:
                self._choices[name] = Choices()
            self._choices[name].add(value)
            return
        values = value.values.detach()
        if name not in self._units:
            kinds = {kind: kind in self._what for kind in ("units", "density", "health")}
            rectified = self._ears.rectified(name)
            self._units[name] = Units(self._scratch, self._ears.bounds(name), rectified=rectified, **kinds)
        self.rows = max(self.rows, values.numel() // max(1, values.shape[-1]))
        self._units[name].add(values, self._stride, self._offset, sample=self._sample, dense=self._dense)

    def _answered(self, module: nn.Module, _arguments: Any, output: Any) -> None:
        if not self._dense or torch.compiler.is_compiling() or in_backward() or not module.training:
            return
        start = time.perf_counter()
        for tensor in _numbers_of(output):
            some = tensor.detach().flatten()[:ANSWER]
            self.finite &= math.isfinite(float(some.float().sum())) or bool(torch.isfinite(some).all())
        self._clock.own += time.perf_counter() - start


def _numbers_of(output: Any) -> list[Tensor]:
    """The answer's own tensors of real numbers: the output, or its loss and logits, or its first tensor."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    named = [getattr(output, name, None) for name in ("loss", "logits")]
    found = [one for one in named if isinstance(one, Tensor)]
    entries = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    first = [one for one in entries if isinstance(one, Tensor) and one.is_floating_point()][:1]
    return found or first
