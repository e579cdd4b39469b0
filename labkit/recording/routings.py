"""Routings by layer, from a live recording or from a file, brought into one form: what every measurement starts from.

A mapping name -> `Routing` (or a list of them, one for each call) is all that is needed: a `Trace` is one, what
`open_routing` reads is one, and a plain dict is one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate

Routings = Mapping[str, Any]
"""Name of a layer -> its Routing, or the list of its calls."""

WORDS = {
    "neuron": ("neuron",),
    "leaf": ("leaf", "leaves", "tree"),
    "slot": ("memory", "slot"),
    "expert": ("expert", "moe", "router"),
}
"""Which parts of a module's name or class tell what is chosen there."""


def calls_of(routings: Routings, name: str) -> list[Routing]:
    """Every call of one layer, in order.

    Raises: LabError when something other than Routing was recorded there.
    """
    found = routings[name]
    calls = [found] if isinstance(found, Routing) else list(found)
    if not calls or not all(isinstance(call, Routing) for call in calls):
        kinds = ", ".join(sorted({type(call).__name__ for call in calls})) or "nothing"
        raise LabError(f"{name} holds {kinds}, not Routing: record with record(model, Routing).")
    return calls


def joined(routings: Routings) -> dict[str, Routing]:
    """One flat routing for each layer: all calls, inputs and tokens one after the other.

    Shapes: index, weights (tokens, K); scores (tokens, choices) or None. Half precision becomes float32.
    Raises: LabError when there is no layer, or when a layer's calls do not choose among equally many.
    """
    if not len(routings):
        raise LabError("There is no routing to measure: the recording is empty.")
    return {name: _flat(name, calls_of(routings, name)) for name in routings}


def _flat(name: str, calls: Sequence[Routing]) -> Routing:
    choices = {call.choices for call in calls}
    if len(choices) > 1:
        raise LabError(f"The calls of {name} choose among {sorted(choices)} choices: measure them one by one.")
    widest = max(call.index.shape[-1] for call in calls)
    index = torch.cat([_widened(call.index.flatten(0, -2), widest, -1) for call in calls])
    weights = torch.cat([_widened(_full(call.weights).flatten(0, -2), widest, 0) for call in calls])
    given = [call.scores for call in calls if call.scores is not None]
    scores = torch.cat([_full(part).flatten(0, -2) for part in given]) if len(given) == len(calls) else None
    return Routing(index.long(), weights, choices.pop(), scores)


def _full(values: Tensor) -> Tensor:
    values = values.detach().cpu()
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def _widened(values: Tensor, width: int, fill: int) -> Tensor:
    values = values.detach().cpu()
    return nn.functional.pad(values, (0, width - values.shape[-1]), value=fill)


def only_rows(routing: Routing, kept: Tensor) -> Routing:
    """The tokens of a flat routing that are kept: a mask, places or a slice."""
    scores = None if routing.scores is None else routing.scores[kept]
    return Routing(routing.index[kept], routing.weights[kept], routing.choices, scores)


def loads(routing: Routing) -> Tensor:
    """The mean weight that each choice gets over all tokens of a flat routing: (choices,) in float64."""
    tokens = max(1, len(routing.index))
    return _summed(routing, routing.weights.double()) / tokens


def assigned(routing: Routing) -> Tensor:
    """How often each choice was chosen, whatever its weight: (choices,). Of a soft routing, its summed weights."""
    return _summed(routing, routing.weights.double() if routing.soft else torch.ones_like(routing.weights).double())


def _summed(routing: Routing, amount: Tensor) -> Tensor:
    kept = routing.index >= 0
    return torch.bincount(routing.index[kept], weights=amount[kept], minlength=routing.choices)


def probabilities(routing: Routing) -> Tensor | None:
    """How sure a flat routing was of every choice, (tokens, choices), or None where that was not recorded.

    Scores that are already shares of 1 are taken as they are; other scores go through a softmax.
    """
    if routing.scores is None:
        return routing.weights if routing.soft else None
    scores = routing.scores
    sums = scores.sum(-1)
    if bool((scores >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        return scores
    return scores.softmax(-1)


def bits(shares: Tensor) -> Tensor:
    """Entropy in bits over the last axis of non-negative shares, which are first made to sum to 1; NaN where all are 0."""
    shares = shares.double()
    shares = shares / shares.sum(-1, keepdim=True)
    return -torch.xlogy(shares, shares).sum(-1) / math.log(2)


def ranked(routing: Routing) -> tuple[Tensor, Tensor]:
    """Index and weights of a flat routing, best first, places where nothing was chosen last."""
    order = routing.weights.masked_fill(routing.index < 0, -1).argsort(dim=-1, descending=True, stable=True)
    return routing.index.gather(-1, order), routing.weights.gather(-1, order)


def first_choice(routing: Routing) -> Tensor:
    """The choice with the largest weight, (tokens,); -1 where nothing was chosen."""
    return ranked(routing)[0][:, 0]


def token_labels(labels: Tensor, routings: Routings, name: str) -> Tensor:
    """One label for each token of a layer, call after call: labels (inputs,) are repeated for the tokens of an input.

    Raises: LabError when the labels do not fit the layer's tokens.
    """
    flat, parts = labels.detach().cpu().flatten().long(), []
    positions, extent = getattr(routings, "positions", None), getattr(routings, "extent", None)
    for call in calls_of(routings, name):
        tokens = here = call.index.shape[:-1].numel()
        if positions is not None and len(positions) == tokens:
            tokens = math.prod(extent) if extent else max(positions, default=-1) + 1
        if not len(flat) or tokens % len(flat):
            raise LabError(
                f"{name} routed {tokens} tokens, but there are {len(flat)} labels: give one label for each input "
                "or one for each token."
            )
        each = flat.repeat_interleave(tokens // len(flat))
        parts.append(each if tokens == here else each[torch.as_tensor(positions)])
    return torch.cat(parts)


def label_table(routing: Routing, labels: Tensor, classes: int) -> Tensor:
    """How much weight of each choice fell on tokens of each class: (choices, classes) in float64. Labels < 0 are left out.

    Shapes: labels (tokens,) of a flat routing.
    """
    kept = (routing.index >= 0) & (labels >= 0).unsqueeze(-1)
    cell = routing.index * classes + labels.unsqueeze(-1)
    counted = torch.bincount(cell[kept], weights=routing.weights.double()[kept], minlength=routing.choices * classes)
    return counted.view(routing.choices, classes)


def noun_of(name: str, model: nn.Module | None = None) -> str:
    """What is chosen at a layer: "leaf", "expert", "slot", "neuron", or "choice" where nothing tells.

    A tree's gate chooses leaves; a module that holds, or lies next to, `experts` chooses experts; otherwise the name of
    the layer and the classes of its modules tell.
    """
    here = _modules_at(model, name) if model is not None else []
    if any(isinstance(module, TreeGate) for module in here):
        return "leaf"
    if any("experts" in dict(module.named_children()) for module in here):
        return "expert"
    told = " ".join([name, *(type(module).__name__ for module in here)]).lower()
    return next((noun for noun, words in WORDS.items() if any(word in told for word in words)), "choice")


def _modules_at(model: nn.Module, name: str) -> list[nn.Module]:
    """The module of this name and the one that holds it; nothing where the model has no such name."""
    known = dict(model.named_modules())
    return [known[path] for path in (name, name.rpartition(".")[0]) if path in known]


def common_noun(routings: Routings, model: nn.Module | None = None) -> str:
    """The one word that fits all layers: what the recording says of itself, or what `noun_of` finds; else "choice"."""
    said = getattr(routings, "noun", None)
    nouns = {said} if said else {noun_of(name, model) for name in routings}
    return nouns.pop() if len(nouns) == 1 else "choice"
