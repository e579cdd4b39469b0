"""Take an expert's or a leaf's word away: `with silence(model, "blocks.0.slot", [3]): model(x)`.

What the gate says is changed on its way out, at every call, in training and in evaluation. The chosen one contributes
nothing and is given no gradient. **The others are not made louder**: each keeps the weight that it had. So exactly one
thing is missing from the sum, in a soft mixture and in a hard choice alike; where one expert is chosen there would be
nobody left to be made louder. An input whose only choice is silent gets 0 from the layer.

    soft   y = Σ_{e ≠ silent} weight_e f_e(x)           hard   its index becomes -1 and its weight 0

`Routing.scores`, what the gate itself thought, stay. By the form of what other people's routers return:

- weights and index of the chosen: the weight becomes 0, the index stays, since their experts need a valid one;
- weights of all experts, or a table of who is dispatched where: the entry becomes 0;
- scores or shares, from which the layer itself then chooses: the score becomes the lowest number there is, the share 0.
  That is not the same: the silent one is never chosen, and **the others take over** its inputs. `Silencing.others` tells.

Weight decay and the momentum of an optimizer may still move the weights of a silent expert.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.materials import nonlinear, projection
from labkit.recording.record import _by_its_parts as by_its_parts
from labkit.recording.router_blocks import chosen_of
from labkit.recording.router_forms import form_of, replaced, router_at
from labkit.recording.staying import Staying


@contextmanager
def silence(model: nn.Module, layer: str, choices: int | Sequence[int]) -> Iterator["Silencing"]:
    """While the block runs, these choices of a layer say nothing, at every call of the layer.

    `layer` is the name of a gate or of the block that holds one. Of what is yielded, `.others` is True where the others
    take over what the silent ones were chosen for.

    Raises: LabError when there is no such layer or choice, when the gate's output is of no known form, when nobody would
    be left whom a layer could choose, and on leaving when the gate did not run.
    """
    name, gate, block = router_at(model, layer)
    silencing = Silencing(gate, [choices] if isinstance(choices, int) else choices, name, block and block.holder)
    handle = gate.register_forward_hook(Staying(silencing), prepend=True)
    try:
        with by_its_parts():
            yield silencing
    finally:
        handle.remove()
    if not silencing.ran:
        raise LabError(f"{name} did not run inside the block, so nothing was silenced.")


class Silencing:
    """A forward hook of a gate that keeps some of its choices silent."""

    def __init__(
        self, gate: nn.Module, choices: Iterable[int], name: str = "the gate", holder: nn.Module | None = None
    ):
        if only_reports(gate):
            raise LabError(f"{name} only reports choices that were made elsewhere: silencing it changes nothing.")
        self.choices, self.name = tuple(sorted(set(choices))), name
        if not self.choices:
            raise LabError(f"Name at least one choice of {name} that is to say nothing.")
        self._scores = _scoring(gate)
        """Whether the gate's one tensor holds scores rather than weights; None until its numbers tell."""
        self._chosen = chosen_of(gate, holder)
        self.others = bool(self._scores or (self._scores is False and self._chosen))
        """Whether the others take over: by what the gate is made of, and from its first call on by what it returns."""
        self.ran = False
        self._places: dict[torch.device, Tensor] = {}
        self._settled = False

    def __call__(self, _module: nn.Module, _inputs: tuple, output: Any) -> Any:
        form = form_of(output, self.name)
        if not self.ran:
            self.ran, self.others = True, False
        if form.kind == "routing":
            return self._routing(output)
        if form.kind == "scores":
            return self._numbers(output)
        if form.kind == "chosen":
            if form.scores_at is not None:
                self._check(output[form.scores_at].shape[-1])
            return replaced(output, {form.weights_at: self._weights(output[form.index_at], output[form.weights_at])})
        if form.kind == "dispatched":
            return replaced(output, {0: self._filled(output[0], 0)})
        return self._both(output)

    def _routing(self, said: Routing) -> Routing:
        self._check(said.choices)
        if said.soft:
            return said._replace(weights=self._weights(said.index, said.weights))
        silent = self._among(said.index)
        return said._replace(index=said.index.masked_fill(silent, -1), weights=said.weights.masked_fill(silent, 0))

    def _weights(self, index: Tensor, weights: Tensor) -> Tensor:
        return weights.masked_fill(self._among(index), 0)

    def _among(self, index: Tensor) -> Tensor:
        silent = index == self.choices[0]
        for choice in self.choices[1:]:
            silent = silent | (index == choice)
        return silent

    def _numbers(self, values: Tensor) -> Tensor:
        """Scores or weights (..., E) in which the silent ones have the lowest score, or the weight 0."""
        scores = self._scores
        if scores is None:
            scores, sure = _are_scores(values)
            self._scores = scores if sure else None
        if scores:
            return self._lowest(values)
        if self._chosen and not self._settled and values.numel():
            self.others = int((values != 0).sum(-1).max()) > self._chosen  # the layer has still to choose
            self._settled = True
        return self._filled(values, 0)

    def _both(self, output: tuple) -> tuple:
        """Weights of all with the scores they come from, or scores with the shares made of them."""
        first, second = output
        if not _are_scores(first)[0]:
            return replaced(output, {0: self._filled(first, 0)})
        parts = {0: self._lowest(first)}
        return replaced(output, parts if _are_scores(second)[0] else {**parts, 1: self._filled(second, 0)})

    def _lowest(self, values: Tensor) -> Tensor:
        if len(self.choices) == values.shape[-1]:
            raise LabError(
                f"{self.name} must choose somebody: not all of its {values.shape[-1]} choices can be silent."
            )
        self.others = True
        return self._filled(values, torch.finfo(values.dtype).min)

    def _filled(self, values: Tensor, with_what: float) -> Tensor:
        self._check(values.shape[-1])
        if values.device not in self._places:  # a training asks thousands of times
            self._places[values.device] = torch.tensor(self.choices, device=values.device)
        return values.index_fill(-1, self._places[values.device], with_what)

    def _check(self, count: int) -> None:
        check_choices(self.choices, count, self.name)


def check_choices(choices: Sequence[int], count: int | None, name: str) -> None:
    """Raises: LabError when one of them does not exist; `count` is None where it is not known how many there are."""
    wrong = [choice for choice in choices if choice < 0 or (count is not None and choice >= count)]
    if wrong:
        many = "its choices are numbered from 0" if count is None else f"it has {count} choices, 0 to {count - 1}"
        raise LabError(f"{name} has no choice {wrong[0]}: {many}.")


def only_reports(gate: nn.Module) -> bool:
    """Whether a module is merely told what was chosen: it has no parameters and is given the index."""
    return "index" in signature(gate.forward).parameters and not any(True for _ in gate.parameters())


def _scoring(gate: nn.Module) -> bool | None:
    """Whether a router that returns one number for each expert returns scores, by its last step; None if unknown."""
    last = gate
    while isinstance(last, nn.Sequential) and len(last):
        last = last[-1]
    if projection(last):
        return True
    return False if nonlinear(last) or isinstance(last, nn.Softmax) else None


def _are_scores(values: Tensor) -> tuple[bool, bool]:
    """Whether numbers are scores rather than weights, and whether that is sure.

    Weights are shares of 1, or lie between 0 and 1, or are 0 for those not chosen. A negative number is a score.
    """
    seen = values.detach().float()
    if not seen.numel() or not bool(seen.any()):
        return True, False
    if bool((seen < 0).any()):
        return True, True
    total = seen.sum(-1)
    if torch.allclose(total, torch.ones_like(total), atol=1e-2):
        return False, True
    return not bool((seen <= 1).all() or (seen == 0).any()), False
