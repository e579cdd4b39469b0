"""Reads what other people's routers return into `Routing`.

They return, in any order: a whole-number tensor (..., K) of chosen experts with their weights (..., K), and scores
(..., E); or a mask (..., E) of zeros and ones; or scores alone, of which the largest are chosen. Symbols: E experts,
K chosen for each input.
"""

from typing import Any

import torch
from torch import Tensor, nn

from labkit.parts.gate import Routing, everything


def routing_of(output: Any, choices: int, chosen: int | None, gate: nn.Module) -> tuple[Routing, str] | None:
    """The routing that a router's output stands for, and how it was read; None where it is no routing.

    Shapes: output tensors (..., K) and (..., E). `chosen` is K where it is known and the output does not tell.
    """
    parts = [part for part in _flat(output) if isinstance(part, Tensor) and part.ndim]
    whole = [part for part in parts if not part.is_floating_point() and part.dtype != torch.bool]
    real = [part for part in parts if part.is_floating_point()]
    scores = next((part for part in real if part.shape[-1] == choices), None)
    for index in whole:
        weights = next((part for part in real if part.shape == index.shape and part is not scores), None)
        if weights is not None:
            return _given(index, weights, choices, scores, gate)
    for mask in [part for part in parts if not part.is_floating_point() and part.shape[-1] == choices]:
        return _masked(mask, real, choices, scores)
    if scores is None:
        return None
    others = [part for part in real if part.shape == scores.shape and part is not scores]
    if others and chosen:
        scores, weights = sorted((scores, others[0]), key=_zeros)
        kept, index = weights.topk(chosen, -1)
        kept, how = _at_most_one(kept, gate)
        return Routing(index, kept, choices, scores), f"as the router weighs its choice{how}"
    return best_of(scores, choices, chosen)


def best_of(scores: Tensor, choices: int, chosen: int | None, picked: Tensor | None = None) -> tuple[Routing, str]:
    """A routing from scores alone: the largest, or the ones that were seen to be picked, or all where nothing tells."""
    shares = scores if _is_distribution(scores) else torch.softmax(scores, -1)
    if picked is not None and picked.shape[:-1] == scores.shape[:-1]:
        index, how = picked, "the experts that the block was seen to pick; weights: their shares, made to sum to 1"
    elif chosen is not None and chosen < choices:
        index, how = scores.topk(chosen, -1).indices, f"the {chosen} largest scores; weights: a softmax over them"
    elif chosen == choices:
        return everything(shares, scores), "all experts, weighted by their shares"
    else:
        return everything(shares, scores), "how many are chosen is not known: the shares of all are kept"
    kept = shares.gather(-1, index)
    return Routing(index, kept / kept.sum(-1, keepdim=True).clamp_min(1e-20), choices, scores), how


def _given(index: Tensor, weights: Tensor, choices: int, scores: Tensor | None, gate: nn.Module) -> tuple[Routing, str]:
    order = weights.detach().sort(dim=-1, descending=True, stable=True).indices
    if not torch.equal(order, torch.arange(order.shape[-1], device=order.device).expand(order.shape)):
        index, weights = index.gather(-1, order), weights.gather(-1, order)
    dropped = (index < 0) | (index >= choices)
    if dropped.any():
        index, weights = index.masked_fill(dropped, -1), weights.masked_fill(dropped, 0)
    weights, how = _at_most_one(weights, gate)
    return Routing(index, weights, choices, scores), f"as the router returns it{how}"


def _masked(mask: Tensor, real: list[Tensor], choices: int, scores: Tensor | None) -> tuple[Routing, str]:
    """A mask of chosen experts, as Switch returns; an input whose row is empty was dropped."""
    taken = mask != 0
    most = max(int(taken.sum(-1).max()), 1) if taken.numel() else 1
    kept, index = taken.to(torch.int8).topk(most, -1)
    own = next((part for part in real if part.shape == (*mask.shape[:-1], 1)), None)
    if own is not None:
        weights = own.expand(index.shape)
    elif scores is not None:
        weights = torch.softmax(scores, -1).gather(-1, index)
    else:
        weights = torch.full(index.shape, 1 / most, device=index.device)
    weights = weights * (kept != 0)
    return Routing(index.masked_fill(kept == 0, -1), weights, choices, scores), "from the router's mask"


def _at_most_one(weights: Tensor, gate: nn.Module) -> tuple[Tensor, str]:
    """Weights without the factor by which some models scale the sum of their experts, and what was done to them."""
    factor, how = getattr(gate, "routed_scaling_factor", None), ""
    if isinstance(factor, int | float) and factor > 0 and factor != 1:
        weights, how = weights / factor, f", divided by its scaling factor {factor:g}"
    total = weights.sum(-1, keepdim=True)
    if total.numel() and bool((total > 1.01).any()):
        weights, how = weights / total.clamp_min(1e-20), ", as shares, since its weights sum to more than 1"
    return weights, how


def _zeros(values: Tensor) -> int:
    return int((values == 0).sum())


def _is_distribution(scores: Tensor) -> bool:
    total = scores.detach().float().sum(-1)
    return bool((scores.detach() >= 0).all()) and torch.allclose(total, torch.ones_like(total), atol=1e-2)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return [part for inner in value for part in _flat(inner)]
    return [value]
