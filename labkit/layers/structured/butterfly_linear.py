"""A linear layer of log2(n) sparse factors: like a fast Fourier transform whose numbers are trained.

In each factor every number meets one other, 1, 2, 4, ... places away; after all of them every input has reached every
output. There are 2 n log2(n) parameters instead of n², and as many multiplications.

    x^(s+1)_i = keep_si x^(s)_i + mix_si x^(s)_{i XOR 2^s},   s = 0, ..., log2(n) - 1
    y = x^(log2 n) + b

Symbols: n the least power of two that holds both widths; a narrower input is filled with zeros, a narrower output is cut.

All factors start as normal numbers of variance 1/2, which keeps the size of the input.

Source: Dao et al., "Learning Fast Algorithms for Linear Transforms Using Butterfly Factorizations" (2019), without its
permutation; it is where "Pixelated Butterfly: Simple and Efficient Sparse training for Neural Network Models" (P010) starts.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.kernels.butterfly import butterfly
from labkit.parts.shapes import shaped


class ButterflyLinear(nn.Module):
    """A product of log2(n) butterfly factors.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for widths below 1.
    Source: "Learning Fast Algorithms for Linear Transforms Using Butterfly Factorizations"; starting point of P010.
    """

    def __init__(self, in_width: int, out_width: int, *, bias: bool = True):
        super().__init__()
        if min(in_width, out_width) < 1:
            raise ValueError(f"widths are at least 1, not {in_width} and {out_width}.")
        self.in_width, self.out_width = in_width, out_width
        depth = max(1, (max(in_width, out_width) - 1).bit_length())
        self.size = 1 << depth
        self.factors = nn.Parameter(torch.randn(depth, 2, self.size) / 2**0.5)
        self.bias = nn.Parameter(torch.zeros(out_width)) if bias else None

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        if self.in_width == self.out_width == self.size:
            return butterfly(x, self.factors, self.bias)
        filled = F.pad(x, (0, self.size - self.in_width))
        out = butterfly(filled, self.factors, None)[..., : self.out_width]
        return out if self.bias is None else out + self.bias


def slowly(layer: ButterflyLinear, x: Tensor) -> Tensor:
    """Every factor as a matrix."""
    x = F.pad(x, (0, layer.size - layer.in_width))
    places = torch.arange(layer.size)
    for stride, (keep, mix) in enumerate(layer.factors):
        x = x @ (torch.diag(keep) + torch.diag(mix)[:, places ^ (1 << stride)]).t()
    return x[:, : layer.out_width] + layer.bias


example = Example(lambda: ButterflyLinear(7, 6), reference=slowly)
