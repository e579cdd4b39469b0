"""A gated linear unit as a feedforward layer: what one linear map says is let through by what another one says.

    y = W (σ(G x) ∘ (V x))

Symbols: x an input of size in_width, y the output of size out_width, G the map whose units are the gates, V the map whose
units carry the value, W the map out of the hidden units, ∘ the product unit by unit, σ the activation of the gates:

    "sigmoid"  GLU        "relu"  ReGLU        "gelu"  GEGLU        "silu"  SwiGLU: σ(z) = z / (1 + e⁻ᶻ)

It has three matrices where the ordinary layer has two: between layers of the same width, at two thirds of the hidden
units it has as many parameters. Without σ it is the bilinear layer.

Source: Shazeer, "GLU Variants Improve Transformer" (2020), without biases as there, after the gated convolutions of
Dauphin et al., "Language Modeling with Gated Convolutional Networks" (2017). It is what the bilinear layer of "A technical
note on bilinear layers for interpretability" (P070) is compared with.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.shapes import shaped

ACTIVATIONS = {"sigmoid": F.sigmoid, "relu": F.relu, "gelu": F.gelu, "silu": F.silu}


class GatedFeedforward(nn.Module):
    """Hidden units that are a value times a gate.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for an activation that is not known or a width
    below 1.
    Source: compared in "A technical note on bilinear layers for interpretability" (P070).
    """

    def __init__(self, in_width: int, out_width: int, *, width: int, activation: str = "silu", bias: bool = False):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"GatedFeedforward is gated by one of {', '.join(ACTIVATIONS)}, not {activation!r}.")
        if width < 1:
            raise ValueError(f"GatedFeedforward needs one hidden unit or more, not {width}.")
        self.in_width, self.out_width, self.activation = in_width, out_width, activation
        self.opening, self.value = nn.Linear(in_width, width, bias), nn.Linear(in_width, width, bias)
        self.out = nn.Linear(width, out_width, bias)

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        return self.out(ACTIVATIONS[self.activation](self.opening(x)) * self.value(x))


def slowly(layer: GatedFeedforward, x: Tensor) -> Tensor:
    """One hidden unit at a time, σ from its definition."""
    y = x.new_zeros(*x.shape[:-1], layer.out_width) if layer.out.bias is None else layer.out.bias.expand(len(x), -1)
    for unit in range(layer.opening.out_features):
        score, value = (x @ one.weight[unit] for one in (layer.opening, layer.value))
        y = y + (score / (1 + (-score).exp()) * value).unsqueeze(-1) * layer.out.weight[:, unit]
    return y


example = Example(lambda: GatedFeedforward(6, 5, width=7), reference=slowly)
