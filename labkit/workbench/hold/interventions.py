"""Put a finger into a model while it trains: ablate or hold a unit, silence an expert or leaf, edit a weight; undo.

    ablate    a hidden unit (a channel of a convolution) is set to zero
    clamp     it is held at a value, whatever the input; no gradient passes it, here and in an ablation
    silence   an expert or leaf says nothing (`labkit.recording.silence` tells what that means for each kind of gate)
    edit      one entry of a parameter is set to a value, and trained on from there

The first three are hooks: they act at every call, in training and in evaluation, until they are undone, and as long as
none is applied the model has no hook. Several at one place add up in their order: what was applied later has the last
word. An edit is a write, and undone by writing the old value back to the bit. The optimizer is left alone: its momentum
may pull an edited weight, and weight decay still moves the weights of a silent expert.

A copy of the model (`copy.deepcopy`) is free of the hooks: `interventions.on(copied)` applies the same to the copy.
Everything is plain data: `to_list` and `restore` carry it into checkpoints and back. Apply and undo between two steps,
in the thread that trains.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.batches import answer, evaluating
from labkit.recording.block import Block, listen
from labkit.recording.intervene import Change, beside, changeable, clamp, with_change
from labkit.recording.silence import Silencing
from labkit.recording.staying import Staying, swept
from labkit.workbench.hold.intervention import Intervention
from labkit.workbench.hold.reachable import at_a_place, parameters_of, refuse_hooks, router_of

__all__ = ["Intervention", "Interventions"]


class Interventions:
    """What is done to one model, in order; the last is undone first.

    With a `batch`, as the model's measurements take it, each hook is first tried on a copy of the model in evaluation:
    what would not act is refused at once. Without one, a mistake that structure does not show is told by a LabError when
    the model next runs.
    """

    def __init__(self, model: nn.Module, batch: Any = None):
        self.model, self._batch = swept(model), batch
        self._active: list[Intervention] = []
        self._handles: list[Any] = []
        self._silencing: dict[str, Silencing] = {}
        self._acted: set[str] = set()

    @property
    def active(self) -> tuple[Intervention, ...]:
        """What is applied, oldest first."""
        return tuple(self._told(one) for one in self._active)

    @property
    def idle(self) -> tuple[Intervention, ...]:
        """Those of a layer that did not run since: they have changed nothing yet."""
        return tuple(one for one in self.active if one.kind != "edit" and one.layer not in self._acted)

    def apply(self, one: Intervention) -> Intervention:
        """Apply one more. Returned is what it became: with the layer's own name, its noun, the weight before.

        Raises: LabError, and nothing is changed, when there is no such place, when exactly this is applied already, when
        the model is compiled (an edit can be made all the same), or when a trial on the batch shows that it cannot act.
        """
        one = at_a_place(self.model, one)
        if any(one.same(other) for other in self._active if one.kind != "edit" or one.value == one.before):
            raise LabError(f"That is done already: {one.says}")
        if one.kind == "edit":
            _write(self.model, one, one.value)
            self._active.append(one)
            return one
        refuse_hooks(self.model)
        if self._batch is not None:
            one = self._tried(one)
        self._put([*self._active, one])
        return one

    def undo(self) -> Intervention | None:
        """Take back the last one; None where there is none. Its `undone` is the sentence.

        Of an edit the value from before is written back; `found` is what it had become.
        """
        if not self._active:
            return None
        one = self._told(self._active[-1])
        if one.kind == "edit":
            one = replace(one, found=float(parameters_of(self.model)[one.layer].detach()[one.place]))
            _write(self.model, one, one.before)
            self._active.pop()
        else:
            self._put(self._active[:-1])
        return one

    def clear(self) -> None:
        """Undo all. To take the hooks away and leave edited weights as they are: `restore([])`."""
        while self.undo() is not None:
            pass

    def to_list(self) -> list[dict[str, Any]]:
        """What is applied, as data that JSON holds; it does not depend on whether the model has run since."""
        return [one.to_dict() for one in self._active]

    def restore(self, them: Iterable[Mapping[str, Any]]) -> None:
        """Exactly these are applied from now on. No weight is written: edited weights are in the model's own state.

        Raises: LabError, and nothing is changed, when one has no place in this model.
        """
        wanted = [Intervention.from_dict(one) for one in them]
        if wanted == self._active:
            return
        placed = [at_a_place(self.model, one) for one in wanted]
        placed = [_with_what_was_known(one, old) for one, old in zip(placed, wanted, strict=True)]
        if any(one.kind != "edit" for one in placed):
            refuse_hooks(self.model)
        self._put(placed)

    def on(self, model: nn.Module) -> "Interventions":
        """The same on a copy of the model, whose weights are as they are."""
        others = Interventions(model)
        others.restore(self.to_list())
        return others

    def _told(self, one: Intervention) -> Intervention:
        """With what the layer's runs have shown."""
        silencing = self._silencing.get(one.layer) if one.kind == "silence" else None
        return replace(one, others=silencing.others) if silencing and silencing.ran else one

    def _put(self, them: Sequence[Intervention]) -> None:
        """New hooks for all of these, in place of the old ones."""
        handles, silencing, acted = [], {}, set(self._acted) & {one.layer for one in them}
        try:
            handles += self._on_units([one for one in them if one.kind in ("ablate", "clamp")])
            for layer in dict.fromkeys(one.layer for one in them if one.kind == "silence"):
                choices = [
                    choice for one in them if one.kind == "silence" and one.layer == layer for choice in one.each
                ]
                _, gate, block = router_of(self.model, layer)
                silencing[layer] = Silencing(gate, choices, layer, block and block.holder)
                hook = self._on_gate(silencing[layer], block)
                handles.append(gate.register_forward_hook(Staying(hook), prepend=True))
        except BaseException:
            _remove(handles)
            raise
        _remove(self._handles)
        new = {one.layer for one in them if one not in self._active}
        self._handles, self._silencing, self._acted, self._active = handles, silencing, acted - new, list(them)

    def _on_units(self, them: Sequence[Intervention]) -> list[Any]:
        if not them:
            return []
        held: dict[str, dict[int, float]] = {}
        for one in them:
            held.setdefault(one.layer, {}).update(dict.fromkeys(one.each, one.value or 0.0))
        changes = {layer: _by_value(units) for layer, units in held.items()}

        def hear(block: Block, value: Tensor) -> Tensor | None:
            for change in changes.get(block.name, ()):
                value = with_change(value, block, change)
                self._acted.add(block.name)
            return value if block.name in changes else None

        return listen(beside(changeable(self.model), changes), hear)

    def _on_gate(self, silencing: Silencing, block: Block | None) -> Any:
        def hook(module: nn.Module, inputs: tuple, output: Any) -> Any:
            if block is None and not isinstance(output, Routing):
                raise LabError(f"{silencing.name} is no router, it returns {type(output).__name__}: undo its silence.")
            said = silencing(module, inputs, output)
            self._acted.add(silencing.name)
            return said

        return hook

    def _tried(self, one: Intervention) -> Intervention:
        """The same with what a run of a copy shows of it."""
        copied = copy.deepcopy(self.model)
        trial = Interventions(copied)
        trial._put([*self._active, one])
        cards = {part.device for part in copied.parameters() if part.device.type == "cuda"}
        with torch.random.fork_rng(sorted(card.index for card in cards)), evaluating(copied):
            answer(copied, self._batch)
        if one.layer not in trial._acted:
            raise LabError(f"{one.layer} does not run when the model is used, so nothing would change there.")
        return trial.active[-1]


def _by_value(units: Mapping[int, float]) -> list[Change]:
    """One change for all units that are held at the same value, since each costs a pass over all of them."""
    together: dict[float, list[int]] = {}
    for unit, value in units.items():
        together.setdefault(value, []).append(unit)
    return [clamp(some, value) for value, some in together.items()]


def _with_what_was_known(one: Intervention, old: Intervention) -> Intervention:
    return replace(one, before=one.before if old.before is None else old.before, others=old.others)


def _write(model: nn.Module, one: Intervention, value: float | None) -> None:
    assert value is not None
    with torch.no_grad():
        parameters_of(model)[one.layer][one.place] = value


def _remove(handles: Iterable[Any]) -> None:
    for handle in handles:
        handle.remove()
