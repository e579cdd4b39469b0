"""A linear layer of a block-diagonal and a dense one: a bottleneck whose way down is block diagonal.

As in a low-rank layer everything passes through a few numbers, but each of these sees one block of the inputs only. What is
saved on the way down can be spent on a larger bottleneck.

    y = (x W) U + b,    W = diag(W_1, ..., W_B)

Symbols: B blocks, W_k (in / B, r / B), U (r, out), r the width of the bottleneck.

Both factors start as normal numbers that keep the size of their input.

Source: BlockDense in "Building on Efficient Foundations: Effectively Training LLMs with Structured Feedforward Layers"
(P126); the start is that of its code without the optional step to orthogonal blocks.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.kernels.blocks import block_diagonal
from labkit.parts.shapes import shaped


class BlockDenseLinear(nn.Module):
    """Block diagonal down to `rank` numbers, then dense.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError where the blocks do not divide in_width and rank.
    Source: "Building on Efficient Foundations: Effectively Training LLMs with Structured Feedforward Layers" (P126).
    """

    def __init__(self, in_width: int, out_width: int, *, blocks: int, rank: int, bias: bool = True):
        super().__init__()
        if blocks < 1 or rank < 1 or in_width % blocks or rank % blocks:
            raise ValueError(f"{blocks} blocks do not divide a width of {in_width} and a rank of {rank}.")
        self.in_width, self.out_width = in_width, out_width
        depth = in_width // blocks
        self.down = nn.Parameter(torch.randn(blocks, depth, rank // blocks) / depth**0.5)
        self.up = nn.Parameter(torch.randn(rank, out_width) / rank**0.5)
        self.bias = nn.Parameter(torch.zeros(out_width)) if bias else None

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        out = block_diagonal(x, self.down, None) @ self.up
        return out if self.bias is None else out + self.bias


def slowly(layer: BlockDenseLinear, x: Tensor) -> Tensor:
    """The dense weight, written out."""
    return x @ (torch.block_diag(*layer.down) @ layer.up) + layer.bias


example = Example(lambda: BlockDenseLinear(6, 5, blocks=2, rank=4), reference=slowly)
