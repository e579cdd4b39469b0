"""A ReLU with a small bump around zero, and one learnt number that says how high the bump is.

ReLU says nothing for negative inputs and has a kink at zero. Here a term is added that is odd, largest at x = ±1 and gone
beyond |x| = 4, so that a layer can lift or lower what it says near zero while far from zero it stays a ReLU.

    y = max(0, x) + ε x exp(-x² / 2)

Symbols: x an activation before the function, y after it; ε one learnt scalar a layer, 0.01 at the start. ε = 0 is ReLU.
With ε > 0 small negative inputs get small negative answers and a gradient of about ε.

The paper finds the term by asking which small change of an activation lowers the entropy of what it says most when its
inputs are normal, and solving that for ReLU. Only its result is here.

Source: "A Method on Searching Better Activation Functions" (P289), where it is called CRReLU. The formula and the start
agree with public implementations.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.shapes import shaped


class CorrectedReLU(nn.Module):
    """ReLU plus ε x exp(-x²/2), with one learnt ε for the layer.

    Shapes: x (*batch, width) -> the same, value by value.
    Raises: ShapeError for an input that is not made of real numbers.
    Source: "A Method on Searching Better Activation Functions" (P289).
    """

    elementwise = True

    def __init__(self, *, start: float = 0.01):
        super().__init__()
        self.epsilon = nn.Parameter(torch.tensor(float(start)))

    @shaped
    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return F.relu(x) + self.epsilon * x * torch.exp(-0.5 * x * x)


def slowly(layer: CorrectedReLU, x: Tensor) -> Tensor:
    """One value at a time."""
    said = [
        (value if value > 0 else 0 * value) + layer.epsilon * value / (math.e ** (value**2 / 2))
        for value in x.flatten()
    ]
    return torch.stack(said).view_as(x)


example = Example(CorrectedReLU, reference=slowly)
