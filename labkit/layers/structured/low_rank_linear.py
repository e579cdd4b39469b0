"""A linear layer that is the product of two thin ones: everything passes through a few numbers.

A weight of size in x out is replaced by one of size in x r and one of size r x out. It has fewer parameters and
multiplications wherever r is below in·out / (in + out), and its rank is at most r.

    y = (x D) U + b

Symbols: D (in, r) leads down to r numbers, U (r, out) up again, r the rank.

By default both factors start as normal numbers that keep the size of their input, of deviation 1/√in and 1/√r. A spectral
start takes the two that come nearest to such a dense weight: the first r singular values, a root of each in both.

Source: LowRank in "Building on Efficient Foundations: Effectively Training LLMs with Structured Feedforward Layers"
(P126); both ways to start as in its authors' code.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.kernels.low_rank import low_rank
from labkit.parts.low_rank import nearest_low_rank
from labkit.parts.shapes import shaped


class LowRankLinear(nn.Module):
    """A linear layer through a bottleneck of `rank` numbers.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for a rank below 1, or a spectral start with a rank
    above the smaller width.
    Source: "Building on Efficient Foundations: Effectively Training LLMs with Structured Feedforward Layers" (P126).
    """

    def __init__(self, in_width: int, out_width: int, *, rank: int, bias: bool = True, spectral: bool = False):
        super().__init__()
        if rank < 1 or (spectral and rank > min(in_width, out_width)):
            raise ValueError(f"a weight of {in_width} x {out_width} has no rank {rank}.")
        self.in_width, self.out_width, self.rank = in_width, out_width, rank
        if spectral:
            down, up = nearest_low_rank(torch.randn(in_width, out_width) / in_width**0.5, rank)
        else:
            down, up = torch.randn(in_width, rank) / in_width**0.5, torch.randn(rank, out_width) / rank**0.5
        self.down, self.up = nn.Parameter(down.contiguous()), nn.Parameter(up.contiguous())
        self.bias = nn.Parameter(torch.zeros(out_width)) if bias else None

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        return low_rank(x, self.down, self.up, self.bias)


def slowly(layer: LowRankLinear, x: Tensor) -> Tensor:
    """The dense weight, written out."""
    weight = sum(torch.outer(layer.down[:, r], layer.up[r]) for r in range(layer.rank))
    return x @ weight + layer.bias


example = Example(lambda: LowRankLinear(7, 5, rank=2), reference=slowly)
