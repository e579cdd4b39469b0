"""An activation that says something near zero only: a bump and an odd wave, whose heights and common width are learnt.

ReLU and its relatives speak for half of all inputs. This one fades like 1/x on both sides, so a unit answers for inputs
near its own threshold and is silent elsewhere; a network of such units puts its answer together from local pieces.

    y = λ₁ x / (x² + d²)  +  λ₂ / (x² + d²)

Symbols: x an activation before the function, y after it; λ₁ the height of the odd part, λ₂ of the even part (at x = 0 it is
λ₂ / d²); |d| the width, at which the odd part is largest. The two parts are what is left of Cauchy's kernel λ / (x - id)
when only real numbers are kept. All three are learnt: by every unit for itself, or one set for the layer (`shared`).

The denominator is kept at 10⁻⁶ or more: where d and x go to 0 together, the formula has no value.

Source: "Cauchy activation function and XNet" (P429), whose XNet is a shallow network of such units. The formula agrees with
public descriptions; the starts (all three at 1, as public implementations have it) and the floor are reconstructed.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.shapes import shaped

FLOOR = 1e-6


class CauchyActivation(nn.Module):
    """A local activation with learnt heights and width, for each unit or shared by the layer.

    Shapes: x (*batch, width) -> the same.
    Raises: ShapeError for inputs of another shape or type; ValueError for a start of no width.
    Source: "Cauchy activation function and XNet" (P429).
    """

    elementwise = True

    def __init__(self, width: int, *, shared: bool = False, odd: float = 1.0, even: float = 1.0, spread: float = 1.0):
        super().__init__()
        if spread == 0:
            raise ValueError("CauchyActivation cannot start with spread 0: at x = 0 it would have no value.")
        self.width = width
        own = 1 if shared else width
        self.odd = nn.Parameter(torch.full((own,), float(odd)))
        self.even = nn.Parameter(torch.full((own,), float(even)))
        self.spread = nn.Parameter(torch.full((own,), float(spread)))

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.width}"]) -> Float[Tensor, "*batch {self.width}"]:
        return (self.odd * x + self.even) / (x * x + self.spread * self.spread).clamp_min(FLOOR)


def slowly(layer: CauchyActivation, x: Tensor) -> Tensor:
    """One unit at a time, the two parts apart."""
    units = []
    for unit in range(layer.width):
        place, value = min(unit, len(layer.odd) - 1), x[..., unit]
        below = value**2 + layer.spread[place] ** 2
        units.append(layer.odd[place] * value / below + layer.even[place] / below)
    return torch.stack(units, -1)


example = Example(lambda: CauchyActivation(5), reference=slowly)
