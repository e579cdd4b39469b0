"""A linear layer most of whose weight is missing: it has whole blocks of weights at given places and nothing elsewhere.

The places are fixed before training. So this is what a clever pattern has to beat: the same number of blocks at random
places, or next to the diagonal.

    y_k = Σ_m x_{s(k, m)} W_km + b_k

Symbols: x and y are cut into blocks of p numbers; y_k the k-th block of outputs, x_j the j-th of inputs, s(k, m) which block
of inputs is the m-th that block k meets, W_km (p, p) its weights, b_k the bias. Every block of outputs meets as many.

Source: the fixed sparse patterns that "Pixelated Butterfly: Simple and Efficient Sparse training for Neural Network Models"
(P010) is compared with. Its authors draw random blocks over the whole matrix; here every block of outputs gets as many. How wide
a band is and where it lies in a matrix that is not square is ours.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.blocks import sparse_product
from labkit.parts.shapes import shaped

Pattern = Sequence[Sequence[int]]
"""For each block of outputs the blocks of inputs that it meets, as many for each."""
SMALL = 16
"""Numbers in a side of a block, below which training is faster with the whole matrix and its zeros."""


class BlockSparseLinear(nn.Module):
    """A linear layer with blocks of weights at the places of `pattern` only.

    Blocks start as normal numbers that keep the size of their input. The pattern is a buffer and is saved with the weights.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError where blocks do not divide the widths or the pattern
    does not fit them.
    Source: what "Pixelated Butterfly: Simple and Efficient Sparse training for Neural Network Models" (P010) compares with.
    """

    sources: Tensor

    def __init__(self, in_width: int, out_width: int, *, block: int, pattern: Pattern, bias: bool = True):
        super().__init__()
        if block < 1 or in_width % block or out_width % block:
            raise ValueError(f"blocks of {block} do not divide widths of {in_width} and {out_width}.")
        _check(pattern, in_width // block, out_width // block)
        self.in_width, self.out_width = in_width, out_width
        self.register_buffer("sources", torch.tensor([list(met) for met in pattern]))
        terms = self.sources.shape[1]
        self.weight = nn.Parameter(torch.randn(out_width // block, terms, block, block) / (terms * block) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(out_width)) if bias else None

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        if torch.is_grad_enabled() and self.weight.shape[-1] < SMALL:
            out = x @ self.dense()
            return out if self.bias is None else out + self.bias
        # The compiled product knows the pattern of the flat butterfly only, so this is the one in torch.
        return sparse_product(x, self.weight, self.sources, self.bias)

    def dense(self) -> Tensor:
        """The whole matrix with its zeros, (in_width, out_width)."""
        count, _, depth, width = self.weight.shape
        places = self.sources[:, :, None, None].expand_as(self.weight)
        whole = self.weight.new_zeros(count, self.in_width // depth, depth, width).scatter(1, places, self.weight)
        return whole.permute(1, 2, 0, 3).reshape(self.in_width, self.out_width)


def random_pattern(in_blocks: int, out_blocks: int, terms: int) -> list[list[int]]:
    """Each block of outputs meets `terms` different blocks of inputs, drawn anew by torch's random numbers."""
    _possible(in_blocks, terms)
    return torch.rand(out_blocks, in_blocks).topk(terms, -1).indices.sort(-1).values.tolist()


def local_pattern(in_blocks: int, out_blocks: int, terms: int) -> list[list[int]]:
    """A band: each block of outputs meets the `terms` blocks of inputs around its own place.

    At the ends of the diagonal the band is moved inwards. A band of even width has one block more before its own place
    than after it; where the widths differ the diagonal is stretched.
    """
    _possible(in_blocks, terms)
    firsts = [block * in_blocks // out_blocks - terms // 2 for block in range(out_blocks)]
    firsts = [min(max(first, 0), in_blocks - terms) for first in firsts]
    return [list(range(first, first + terms)) for first in firsts]


def _possible(in_blocks: int, terms: int) -> None:
    if not 1 <= terms <= in_blocks:
        raise ValueError(f"a block of outputs meets 1 to {in_blocks} blocks of inputs, not {terms}.")


def _check(pattern: Pattern, in_blocks: int, out_blocks: int) -> None:
    """Raises ValueError unless the pattern fits so many blocks."""
    if len(pattern) != out_blocks:
        raise ValueError(f"a pattern for {len(pattern)} blocks of outputs does not fit a layer of {out_blocks}.")
    counts = {len(met) for met in pattern}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"every block of outputs meets as many blocks of inputs, not {sorted(counts)} of them.")
    for block, met in enumerate(pattern):
        if len(set(met)) < len(met):
            raise ValueError(f"block {block} of outputs meets a block of inputs twice: {list(met)}.")
        if not all(0 <= one < in_blocks for one in met):
            raise ValueError(
                f"block {block} of outputs meets {list(met)}, and the blocks of inputs are 0 to {in_blocks - 1}."
            )


def slowly(layer: BlockSparseLinear, x: Tensor) -> Tensor:
    """The whole matrix, with zeros where no block is."""
    count, _, depth, width = layer.weight.shape
    whole = layer.weight.new_zeros(layer.in_width, layer.out_width)
    for block in range(count):
        for term, source in enumerate(layer.sources[block].tolist()):
            rows, columns = slice(source * depth, (source + 1) * depth), slice(block * width, (block + 1) * width)
            whole[rows, columns] = layer.weight[block, term]
    return x @ whole + layer.bias


example = Example(
    lambda: BlockSparseLinear(8, 6, block=2, pattern=[[0, 3], [2, 1], [0, 1]]),
    reference=slowly,
)
