"""A feedforward layer that keeps the k strongest hidden units of each input: the second half is computed for them only.

    a_u = relu(w1_u · x + b1_u)                       for all units u
    y   = Σ_{u ∈ T} a_u w2_u + b2,                     T the k largest of the a_u

Symbols: x an input of size in_width, u one of `units` hidden units, w1_u and w2_u its ingoing and outgoing weights.

The first half is dense, because which units are strongest is only known once all are computed: with a share s of the units
left out the whole layer is at best 2 / (2 - s) times as fast as a dense one. A unit at 0 says nothing and is not chosen, so
fewer than k may be. The gate's routing weights are the shares a_u / Σ_T a_u.

Source: "Approximating Two-Layer Feedforward Networks for Efficient Transformers" (P122), which reads the top-k activation
function as the simplest of the approximations that it compares; experts and product keys are the others.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.gate import Routing
from labkit.parts.gathered import chosen_sum, known_units
from labkit.parts.shapes import shaped


class StrongestUnits(nn.Module):
    """Chooses the k largest of the units, exact zeros left out. Shapes: hidden (..., units) -> Routing over units."""

    def __init__(self, chosen: int):
        super().__init__()
        self.chosen = chosen

    def forward(self, hidden: Float[Tensor, "*batch units"]) -> Routing:
        strongest, index = hidden.topk(self.chosen, dim=-1)
        total = strongest.sum(-1, keepdim=True).clamp_min(torch.finfo(hidden.dtype).tiny)
        return Routing(index.masked_fill(strongest == 0, -1), strongest / total, hidden.shape[-1], hidden)


class TopKFeedforward(nn.Module):
    """Two layers with the k strongest units of each input between them.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError unless 1 <= chosen <= units.
    Source: "Approximating Two-Layer Feedforward Networks for Efficient Transformers" (P122).
    """

    def __init__(self, in_width: int, out_width: int, *, units: int, chosen: int):
        super().__init__()
        if not 1 <= chosen <= units:
            raise ValueError(f"From 1 to {units} of {units} units can be chosen, not {chosen}.")
        self.in_width, self.out_width = in_width, out_width
        self.gate = StrongestUnits(chosen)
        first, second = 1 / math.sqrt(in_width), 1 / math.sqrt(units)
        self.in_weight = nn.Parameter(torch.empty(units, in_width).uniform_(-first, first))
        self.in_bias = nn.Parameter(torch.empty(units).uniform_(-first, first))
        self.out_weight = nn.Parameter(torch.empty(units, out_width).uniform_(-second, second))
        self.out_bias = nn.Parameter(torch.empty(out_width).uniform_(-second, second))

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        hidden = F.relu(F.linear(x, self.in_weight, self.in_bias))
        index = self.gate(hidden).index
        values = known_units(hidden, index, x, self.in_weight, self.in_bias)
        return chosen_sum(values, index, self.out_weight, self.out_bias)


def slowly(layer: TopKFeedforward, x: Tensor) -> Tensor:
    """One input at a time: sort its units, add up those of the first k that are not 0."""
    outs = []
    for row in x:
        hidden, out = F.relu(layer.in_weight @ row + layer.in_bias), layer.out_bias
        for unit in hidden.argsort(descending=True)[: layer.gate.chosen].tolist():
            out = out + hidden[unit] * layer.out_weight[unit]
        outs.append(out)
    return torch.stack(outs)


example = Example(lambda: TopKFeedforward(6, 5, units=24, chosen=4), reference=slowly)
