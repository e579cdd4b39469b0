"""Soft while training, hard in evaluation: what the methods that relax a discrete choice share.

A module that behaves softly in training and hard in evaluation says so with a class attribute `relaxed = True`;
`softened` then evaluates a model softly without its noise, which is how the *hardening gap* is measured.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def binary_entropy(scores: Tensor) -> Tensor:
    """Entropy in nats of a decision taken with probability σ(score): ln 2 at score 0, near 0 where it is decided."""
    return F.softplus(scores) - scores * torch.sigmoid(scores)


class RegionLeak(nn.Module):
    """In training, swaps left and right at each node with probability `rate`: leaves see their neighbours' inputs.

    Swapping the two probabilities of a decision is the same as changing the sign of its score.
    """

    def __init__(self, rate: float):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"a region leak is a probability from 0 to below 1, not {rate}.")
        self.rate = rate

    @property
    def active(self) -> bool:
        return self.training and self.rate > 0

    def forward(self, scores: Tensor) -> Tensor:
        if not self.active:
            return scores
        return torch.where(torch.rand_like(scores) < self.rate, -scores, scores)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


@contextmanager
def softened(model: nn.Module) -> Iterator[None]:
    """Within this block the model evaluates softly: relaxed modules as in training, noise and dropout off.

    Every module's mode is put back on leaving, also after an error.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = getattr(module, "relaxed", False)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
