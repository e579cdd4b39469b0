"""How evenly a routing spreads its inputs: shares, imbalance."""

from torch import Tensor

from labkit.parts.gate import Routing


def shares(routing: Routing) -> Tensor:
    """The mean weight that each choice gets over all inputs: (choices,), sums to at most 1."""
    return routing.mixture().flatten(0, -2).mean(0)


def imbalance(load: Tensor) -> Tensor:
    """Squared coefficient of variation of shares (..., choices): 0 if all are equal, choices - 1 if one takes all."""
    mean = load.mean(-1, keepdim=True)
    return ((load - mean) ** 2).mean(-1) / mean.squeeze(-1).clamp_min(1e-12) ** 2
