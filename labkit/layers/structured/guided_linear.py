"""A linear layer with a fading teacher: a dense weight leads a structured one through the first part of its training.

A weight that is a product of factors starts slowly: what one factor should learn depends on the other, which has not
learnt yet. So a dense weight W stands beside it, says at first all of what the layer says and learns at once. Its share a
falls to 0, the structured weight takes over, and W is thrown away: nothing of it is computed in evaluation.

    y = a · x W + (1 - a) · s(x) + b,      a = ½ (1 + cos(π t / T)) for t < T, then 0

Symbols: s a structured linear layer without a bias, W (in, out) the guide, b the bias, a the guide's `share`, t the training
step, T the step at which the guide is let go, in the paper half of the training.

W starts as what s is at the start, so that guiding changes nothing before the first step. While a is exactly 1, as in that
step, s gets no gradient. The layer does not know the time: a trainer sets `share` (`labkit.workbench.guiding` does).

Source: self-guided training in "Building on Efficient Foundations: Effectively Training LLMs with Structured Feedforward
Layers" (P126); the guide's start, the cosine and its end at half of the training as in its authors' code.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.shapes import shaped


class GuidedLinear(nn.Module):
    """A structured linear layer, mixed in training with a dense one of share `share`, from 1 (all of it) to 0 (none).

    `structured` is any module that is linear, x (*batch, in_width) -> (*batch, out_width), without a bias: the bias is
    this layer's own, and no part of the mixing. The share is part of the state.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for a structure of another shape or with a bias, or
    for a share that is not between 0 and 1.
    Source: "Building on Efficient Foundations: Effectively Training LLMs with Structured Feedforward Layers" (P126).
    """

    def __init__(self, in_width: int, out_width: int, structured: nn.Module, *, share: float = 1.0, bias: bool = True):
        super().__init__()
        if not 0 <= share <= 1:
            raise ValueError(f"a guide's share is between 0 and 1, and not {share}.")
        with torch.no_grad():
            unit = torch.eye(in_width)
            start = structured(unit)
            if start.shape != (in_width, out_width):
                raise ValueError(
                    f"GuidedLinear needs a structure that takes {tuple(unit.shape)} to {(in_width, out_width)}, and this "
                    f"{type(structured).__name__} gives {tuple(start.shape)}."
                )
            if structured(0 * unit).abs().max() > 0:
                raise ValueError(
                    f"the structure of GuidedLinear has no bias of its own, or it would be mixed with the guide: make the "
                    f"{type(structured).__name__} with bias=False."
                )
        self.in_width, self.out_width, self.share = in_width, out_width, share
        self.structured = structured
        self.guide: nn.Parameter | None = nn.Parameter(start.detach().clone())
        self.bias = nn.Parameter(torch.zeros(out_width)) if bias else None

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        out = self.structured(x)
        if self.training and self.guide is not None and self.share > 0:
            out = torch.lerp(out, x @ self.guide, self.share)
        return out if self.bias is None else out + self.bias

    def let_go(self) -> None:
        """Throw the guide away: from now on the structured path is all there is, in training as well."""
        self.guide, self.share = None, 0.0

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.share, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        self.share = float(state)


def slowly(layer: GuidedLinear, x: Tensor) -> Tensor:
    """The structured weight written out as a dense one, and one weight mixed from both."""
    weight = layer.structured(torch.eye(layer.in_width, dtype=x.dtype))
    if layer.training:
        weight = layer.share * layer.guide + (1 - layer.share) * weight
    return x @ weight + layer.bias


def small() -> GuidedLinear:
    """A weight of rank 2 that is half guided, and a guide that has left its start."""
    structured = nn.Sequential(nn.Linear(7, 2, bias=False), nn.Linear(2, 5, bias=False))
    layer = GuidedLinear(7, 5, structured, share=0.5)
    nn.init.normal_(layer.guide, std=7**-0.5)
    return layer


example = Example(small, reference=slowly)
