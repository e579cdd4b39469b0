"""A dense layer whose inputs first pass a curve that is learnt: a fraction of two polynomials, shared by groups of channels.

A Kolmogorov-Arnold layer has a curve for every pair of an input and an output. Here the curve depends only on the group
of the input, and a matrix mixes what the curves say, so the layer costs hardly more than a dense one.

    y = W F(x) + bias,      F(x_c) = P(x_c) / (1 + |Q_g(x_c)|),      g the group of channel c

    P(x) = a_0 + a_1 x + ... + a_5 x⁵   shared by all groups,      Q_g(x) = b_g1 x + ... + b_g4 x⁴   each group's own

Symbols: in_width channels in `groups` groups of neighbours; W (out_width, in_width).

It starts where F is a known function ("swish", "gelu" or "identity") and with weights that keep the variance:
Var(W) = E[x²] / (in_width E[F(x)²]) for normal x. Two of them, the first "identity", take the place of a transformer's
feedforward layer.

Source: "Kolmogorov-Arnold Transformer" (P485). That all groups share the numerator is what the authors' code does; the
starting coefficients are fitted here.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.kernels.engine import suits
from labkit.parts.kernels.rational import group_rational
from labkit.parts.rational import STARTS, gain, rational
from labkit.parts.shapes import shaped


class GroupRational(nn.Module):
    """A learnt curve for each group of inputs, then a dense layer.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for groups that do not divide in_width or for a
    start that is not known.
    Source: "Kolmogorov-Arnold Transformer" (P485).
    """

    def __init__(self, in_width: int, out_width: int, *, groups: int = 8, start: str = "swish", bias: bool = True):
        super().__init__()
        if groups < 1 or in_width % groups:
            raise ValueError(f"the {in_width} channels of GroupRational do not make {groups} groups of one size.")
        if start not in STARTS:
            raise ValueError(f"GroupRational starts as one of {', '.join(STARTS)}, not {start!r}.")
        self.in_width, self.out_width, self.groups = in_width, out_width, groups
        above, below = STARTS[start]
        self.numerator = nn.Parameter(torch.tensor(above))
        self.denominator = nn.Parameter(torch.tensor(below).repeat(groups, 1))
        self.weight = nn.Parameter(torch.empty(out_width, in_width).normal_(0, math.sqrt(gain(start) / in_width)))
        self.bias = nn.Parameter(torch.zeros(out_width)) if bias else None

    def curve(self, x: Tensor) -> Tensor:
        """F of every channel. Shapes: x (..., in_width) -> the same."""
        numerator = self.numerator.expand(self.groups, -1)
        if suits(x, numerator, self.denominator, worth=x.numel() >= 256):
            return group_rational(x, numerator, self.denominator)
        return rational(x, numerator, self.denominator)

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        return F.linear(self.curve(x), self.weight, self.bias)


def slowly(layer: GroupRational, x: Tensor) -> Tensor:
    """One channel at a time, power by power."""
    curves = []
    for channel in range(layer.in_width):
        value, below = x[..., channel], layer.denominator[channel * layer.groups // layer.in_width]
        top = sum((a * value**power for power, a in enumerate(layer.numerator)), torch.zeros_like(value))
        bottom = sum((b * value ** (power + 1) for power, b in enumerate(below)), torch.zeros_like(value))
        curves.append(top / (1 + bottom.abs()))
    return torch.stack(curves, -1) @ layer.weight.T + layer.bias


example = Example(lambda: GroupRational(6, 5, groups=2), reference=slowly)
