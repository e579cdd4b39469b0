"""How evenly a routing spreads its inputs: shares, imbalance, crowding."""

from collections.abc import Sequence

import torch
from torch import Tensor

from labkit.parts.gate import Routing


def shares(routing: Routing) -> Tensor:
    """The mean weight that each choice gets over all inputs: (choices,), sums to at most 1."""
    return routing.mixture().flatten(0, -2).mean(0)


def imbalance(load: Tensor) -> Tensor:
    """Squared coefficient of variation of shares (..., choices): 0 if all are equal, choices - 1 if one takes all."""
    mean = load.mean(-1, keepdim=True)
    return ((load - mean) ** 2).mean(-1) / mean.squeeze(-1).clamp_min(1e-12) ** 2


def crowding(routings: Sequence[Routing]) -> Tensor:
    """Frequency times probability of the choices over all tokens of these routings at once: 1 if even, `choices` at most.

    A soft routing is taken as chosen in the shares of its weights; where a gate tells no scores its weights stand in for
    the probabilities. All routings must choose equally many of equally many.
    """
    often = torch.cat([_chosen(routing) for routing in routings])
    probability = torch.cat([_probable(routing) for routing in routings])
    return often.shape[-1] * (often.detach().mean(0) * probability.mean(0)).sum()


def _chosen(routing: Routing) -> Tensor:
    """Which were chosen for each token, as shares of 1: (tokens, choices)."""
    if routing.soft:
        return routing.weights.flatten(0, -2)
    index = routing.index.flatten(0, -2)
    full = routing.weights.new_zeros(len(index), routing.choices)
    return full.scatter_add(-1, index.clamp_min(0), (index >= 0).to(full)) / index.shape[-1]


def _probable(routing: Routing) -> Tensor:
    scores = routing.scores
    return (routing.mixture() if scores is None else scores.softmax(-1)).flatten(0, -2)
