"""What each output of a bilinear layer looks for: the strongest eigenvectors of its quadratic form, read off the weights.

    y_a = xᵀ Q_a x = Σ_m λ_m (v_m · x)²

An output a grows with the square of what the input has along v_m where λ_m > 0, and falls with it where λ_m < 0. Where
inputs are images, each v_m is one. No data are needed: the weights alone say it.

Source: "A technical note on bilinear layers for interpretability" (P070) writes the layer as a third-order tensor; that
its slices are decomposed into eigenvectors follows Pearce, Dooms, Rigg, Oramas and Sharkey, "Bilinear MLPs enable
weight-based mechanistic interpretability" (2025).
"""

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.quadratic import Factors, Quadratic, directions_of
from labkit.recording.materials import named
from labkit.recording.record import NothingRecorded
from labkit.recording.tables import layered

MOST = 8


def quadratic_directions(model: nn.Module, batch: tuple[Tensor, ...] = (), *, most: int = MOST) -> xr.DataArray:
    """The `most` eigenvectors of largest modulus of every output of every layer that is a quadratic form.

    A layer says so by a method `factors()` (`labkit.parts.quadratic`). The batch is not looked at. With biases the last
    entry along `input` is that of the constant 1.

    Shapes: -> (layer, output, direction, input), each of length 1; NaN where a layer is smaller; the coordinate
    `eigenvalue` (layer, output, direction), of largest modulus first.
    Raises: NothingRecorded when the model has no such layer.
    """
    values, vectors = {}, {}
    for name, module in named(model):
        if isinstance(module, Quadratic):
            found = directions_of(module.factors())
            values[name], vectors[name] = (part[:, :most].float().cpu().numpy() for part in found)
    if not vectors:
        raise NothingRecorded(f"{type(model).__name__} has no layer that is a quadratic form of its input.")
    strengths = layered(values, ("output", "direction"), name="eigenvalue", long_name="eigenvalue")
    return layered(
        vectors,
        ("output", "direction", "input"),
        name="quadratic_directions",
        long_name="direction that an output looks for",
        coords={"eigenvalue": strengths.variable},
    )


class _Products(nn.Module):
    """The smallest quadratic layer: this file reads alone, and no mechanism imports another."""

    def __init__(self, inputs: int, width: int, outputs: int):
        super().__init__()
        self.left, self.right = nn.Linear(inputs, width, bias=False), nn.Linear(inputs, width, bias=False)
        self.out = nn.Linear(width, outputs, bias=False)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Tensor:
        return self.out(self.left(x) * self.right(x))

    def factors(self) -> Factors:
        return Factors(*(layer.weight.detach() for layer in (self.left, self.right, self.out)))


example = Example(
    lambda: nn.Sequential(_Products(6, 2, 3), _Products(3, 4, 2)),
    inputs=lambda seed: (torch.randn(9, 6), torch.arange(9) % 2),
)
