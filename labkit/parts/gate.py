"""Routing: what was chosen, how much it contributes, and out of how many. Every tree, mixture and memory speaks it.

A gate is a module that returns a `Routing`; the recorder finds gates by that type, so one set of measurements and
views serves fast feedforward trees, mixtures of experts, top-k activations and product-key memories alike.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Routing(NamedTuple):
    """Which of `choices` were chosen for each input, and with what weight.

    Shapes: index (..., K), weights (..., K), scores (..., choices). K is how many were chosen.
    """

    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] - a tuple's index() is not wanted here
    """(..., K) integers, best first; -1 where nothing was chosen. In the order 0..choices-1 where all take part."""
    weights: Tensor
    """(..., K) what each chosen one contributes: non-negative, sums to at most 1; 0 where index is -1."""
    choices: int
    """Of how many: experts, leaves, memory slots, neurons."""
    scores: Tensor | None = None
    """(..., choices) before temperature, noise and top-k; None where they are never computed."""

    @property
    def soft(self) -> bool:
        """Whether every choice takes part: then `weights` is the whole mixture, in order."""
        return self.index.shape[-1] == self.choices

    def mixture(self) -> Tensor:
        """The weights of all choices, shape (..., choices), zero where not chosen."""
        if self.soft:
            return self.weights
        full = self.weights.new_zeros(*self.weights.shape[:-1], self.choices)
        return full.scatter_add(-1, self.index.clamp_min(0), self.weights * (self.index >= 0))


def everything(weights: Tensor, scores: Tensor | None = None) -> Routing:
    """A soft routing: all choices take part with these weights (..., choices)."""
    choices = weights.shape[-1]
    index = torch.arange(choices, device=weights.device).expand(weights.shape)
    return Routing(index, weights, choices, scores)


def only(index: Tensor, choices: int, like: Tensor) -> Routing:
    """A hard routing: each input goes to one choice, index (...), with weight 1 in the type of `like`."""
    chosen = index.unsqueeze(-1)
    return Routing(chosen, torch.ones(chosen.shape, dtype=like.dtype, device=like.device), choices)
