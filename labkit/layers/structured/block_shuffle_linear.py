"""A linear layer of two block-diagonal ones with a shuffle between: every input reaches every output in two small steps.

A block-diagonal weight only mixes numbers of the same block. Between the two the numbers are dealt out like cards, one of
each block to each of the next blocks, so that the second step mixes across. This is the Monarch form; with √n blocks it
costs 2 n√n multiplications instead of n².

    h = x W,   W = diag(W_1, ..., W_B)
    y_sl = Σ_r h_rl V_srl + b_sl         with h_rl = h[r B + l], y_sl = y[s B + l]

Symbols: B the number of blocks of both factors, W_k (in / B, m), V_l = V_··l (out / B, m), m = min(in, out) / B.

Both factors start as normal numbers that keep the size of their input.

Source: BlockShuffle in "Building on Efficient Foundations: Effectively Training LLMs with Structured Feedforward Layers"
(P126), which takes it from Dao et al., "Monarch: Expressive Structured Matrices for Efficient and Accurate Training"
(2022). The start is that of P126's code without its optional step to orthogonal blocks.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.kernels.blocks import block_shuffle
from labkit.parts.shapes import shaped


class BlockShuffleLinear(nn.Module):
    """Block diagonal, shuffle, block diagonal, shuffle back.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError where the blocks do not divide both widths.
    Source: "Building on Efficient Foundations: Effectively Training LLMs with Structured Feedforward Layers" (P126).
    """

    def __init__(self, in_width: int, out_width: int, *, blocks: int, bias: bool = True):
        super().__init__()
        if blocks < 1 or in_width % blocks or out_width % blocks:
            raise ValueError(f"{blocks} blocks do not divide widths of {in_width} and {out_width}.")
        self.in_width, self.out_width, self.blocks = in_width, out_width, blocks
        depth, width = in_width // blocks, out_width // blocks
        middle = min(depth, width)
        self.first = nn.Parameter(torch.randn(blocks, depth, middle) / depth**0.5)
        self.second = nn.Parameter(torch.randn(width, middle, blocks) / middle**0.5)
        self.bias = nn.Parameter(torch.zeros(out_width)) if bias else None

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        return block_shuffle(x, self.first, self.second, self.bias)


def slowly(layer: BlockShuffleLinear, x: Tensor) -> Tensor:
    """Two block-diagonal matrices and two permutations, written out."""
    count = layer.blocks
    between = x @ torch.block_diag(*layer.first)
    dealt = torch.arange(between.shape[1]).view(-1, count).t().flatten()
    mixed = between[:, dealt] @ torch.block_diag(*layer.second.permute(2, 1, 0))
    back = torch.arange(layer.out_width).view(count, -1).t().flatten()
    return mixed[:, back] + layer.bias


example = Example(lambda: BlockShuffleLinear(12, 6, blocks=3), reference=slowly)
