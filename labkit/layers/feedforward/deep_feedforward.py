"""A feedforward layer of any number of linear layers: none, one, the usual two, or three and more.

    y = W_L f(W_{L-1} f( ... f(W_1 x + b_1) ... ) + b_{L-1}) + b_L

Symbols: x an input of size in_width, L the number of linear layers, f the activation, which stands only between two of
them; W_1 is (units, in_width), W_L is (out_width, units), those between are (units, units). With L = 1 there is no
activation and no hidden unit, and with L = 0 the answer is 0: a block that adds it to what it read adds nothing.

With units = 4 in_width, as is usual, two layers hold 8 in_width² weights and three 24 in_width², beside the 4 in_width² of
a block's attention. So ten blocks with three layers have fewer weights (280 in_width²) than twenty-four with two
(288 in_width²): the paper makes an exchange of this kind.

The weights of all layers but the last start so that the variance is kept, W ~ N(0, g²/n) with n inputs and g² = 2 behind
an activation, else 1 (He et al., "Delving Deep into Rectifiers", 2015), with biases of 0. PyTorch's own start is smaller:
what a layer hands on gets weaker with each further one, and three layers then learn much more slowly than two. The last
layer starts as PyTorch's does, so that a block at first adds little.

Source: "Attention Is Not All You Need: The Importance of Feedforward Networks in Transformer Models" (P123). That it
compares zero to three linear layers is confirmed; that the layer in the middle is (units, units), that a single layer has
no activation, and how the weights start is reconstructed.
"""

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.shapes import shaped

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu}


class DeepFeedforward(nn.Module):
    """So many linear layers, with an activation between two of them; with `activation=None` they make one matrix.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for fewer than 0 layers, for hidden layers without
    units, or for an activation that is not known.
    Source: "Attention Is Not All You Need: The Importance of Feedforward Networks in Transformer Models" (P123).
    """

    def __init__(
        self, in_width: int, out_width: int, *, layers: int = 3, units: int = 256, activation: str | None = "gelu"
    ):
        super().__init__()
        if layers < 0 or (layers > 1 and units < 1):
            raise ValueError(f"DeepFeedforward has 0 or more layers of 1 or more units, not {layers} of {units}.")
        if activation is not None and activation not in ACTIVATIONS:
            raise ValueError(f"DeepFeedforward knows {', '.join(ACTIVATIONS)} and None, not {activation!r}.")
        self.in_width, self.out_width, self.activation = in_width, out_width, activation
        sizes = [in_width, *[units] * (layers - 1), out_width] if layers else []
        self.linears = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(sizes))
        for place, fan in enumerate(sizes[:-2]):
            gain = 2.0 if place and activation else 1.0
            nn.init.normal_(self.linears[place].weight, 0, math.sqrt(gain / fan))
            nn.init.zeros_(self.linears[place].bias)

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        if not len(self.linears):
            return x.new_zeros(*x.shape[:-1], self.out_width)
        bend = ACTIVATIONS[self.activation] if self.activation else None
        hidden = self.linears[0](x)
        for linear in self.linears[1:]:
            hidden = linear(hidden if bend is None else bend(hidden))
        return hidden


def slowly(layer: DeepFeedforward, x: Tensor) -> Tensor:
    """One unit at a time: the sum over what it reads, then z Φ(z) by the error function."""
    values = x
    for place, linear in enumerate(layer.linears):
        if place:
            values = values * (1 + torch.erf(values / 2**0.5)) / 2
        units = [(values * row).sum(-1) + bias for row, bias in zip(linear.weight, linear.bias, strict=True)]
        values = torch.stack(units, -1)
    return values


example = Example(lambda: DeepFeedforward(6, 5, layers=3, units=7), reference=slowly)
