"""A linear layer with a fixed block-sparse pattern plus a low-rank part: sparse from the start, nothing is searched.

The product of butterfly factors that stay near the identity is, to first order, their sum: one matrix instead of many,
with a few entries in each row, at the row's own place and 1, 2, 4, ... places away. Each entry becomes a whole block, as
processors like it. A low-rank part carries what is common to all, and a trained number weighs the two.

    y = γ x B + (1 - γ) (x D) U + b
    B has a block at (i, j) where i = j or i = j XOR 2^m, m < M

Symbols: B (in, out) of blocks of size p, M the factors, D (in, r), U (r, out), r the rank, γ trained. Where the widths
differ the pattern of the smaller one is stretched.

Source: "Pixelated Butterfly: Simple and Efficient Sparse training for Neural Network Models" (P010). The equation and the
pattern are the paper's. That γ starts at 1/2 and is not kept between 0 and 1, and that all parts start as normal numbers
that keep the size of their input, is reconstructed.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.blocks import flat_butterfly
from labkit.parts.kernels.blocks import block_sparse
from labkit.parts.kernels.low_rank import low_rank
from labkit.parts.shapes import shaped


class PixelatedButterfly(nn.Module):
    """Flat block butterfly plus low rank, weighed by a trained number.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError where the widths are no powers of two of blocks,
    or there are more factors than the smaller width has.
    Source: "Pixelated Butterfly: Simple and Efficient Sparse training for Neural Network Models" (P010).
    """

    sources: Tensor

    def __init__(self, in_width: int, out_width: int, *, block: int, rank: int, factors: int, bias: bool = True):
        super().__init__()
        if block < 1 or rank < 1 or in_width % block or out_width % block:
            raise ValueError(
                f"blocks of {block} do not divide widths of {in_width} and {out_width}, or rank {rank} < 1."
            )
        self.in_width, self.out_width = in_width, out_width
        pattern = torch.tensor(flat_butterfly(in_width // block, out_width // block, factors))
        self.register_buffer("sources", pattern, persistent=False)
        met = pattern.shape[1] * block
        self.weight = nn.Parameter(torch.randn(*pattern.shape, block, block) / met**0.5)
        self.down = nn.Parameter(torch.randn(in_width, rank) / in_width**0.5)
        self.up = nn.Parameter(torch.randn(rank, out_width) / rank**0.5)
        self.blend = nn.Parameter(torch.tensor(0.5))
        self.bias = nn.Parameter(torch.zeros(out_width)) if bias else None

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        sparse = block_sparse(x, self.weight, self.sources, None)
        smooth = low_rank(x, self.down, self.up, None)
        out = torch.lerp(smooth, sparse, self.blend)
        return out if self.bias is None else out + self.bias

    def dense(self) -> Tensor:
        """The sparse part B as a matrix, (in_width, out_width)."""
        count, terms, depth, width = self.weight.shape
        whole = self.weight.new_zeros(self.in_width // depth, depth, count, width)
        for block in range(count):
            for term in range(terms):
                whole[self.sources[block, term], :, block] = self.weight[block, term]
        return whole.flatten(0, 1).flatten(1)


def slowly(layer: PixelatedButterfly, x: Tensor) -> Tensor:
    """Both parts as dense matrices."""
    weight = layer.blend * layer.dense() + (1 - layer.blend) * layer.down @ layer.up
    return x @ weight + layer.bias


example = Example(lambda: PixelatedButterfly(8, 16, block=2, rank=3, factors=2), reference=slowly)
