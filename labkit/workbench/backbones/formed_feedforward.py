"""A feedforward layer whose two linear layers have any form: dense, low rank, of blocks."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

Linear = Callable[[int, int, bool], nn.Module]
"""Makes a linear layer from its width in, its width out and whether it has a bias."""


class FormedFeedforward(nn.Module):
    """Into the hidden width, GELU, and back out. (..., in_width) -> (..., out_width)."""

    def __init__(self, in_width: int, out_width: int, *, hidden: int, linear: Linear):
        super().__init__()
        self.into, self.out = linear(in_width, hidden, True), linear(hidden, out_width, True)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.into(x)))


def dense(in_width: int, out_width: int, bias: bool = True) -> nn.Linear:
    """A dense layer that starts as layers of factors do: normal weights of deviation 1/√in_width, a bias of 0."""
    layer = nn.Linear(in_width, out_width, bias=bias)
    nn.init.normal_(layer.weight, std=in_width**-0.5)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
