"""Residual blocks for the one slot of a network: stacks of layers, each added to what it reads."""

from collections.abc import Callable

from torch import Tensor, nn

Layer = Callable[[int, int], nn.Module]


class Residual(nn.Module):
    """A normalisation and a layer, added to what they read. (..., width) -> (..., width)."""

    def __init__(self, width: int, layer: nn.Module):
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(width), layer

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(self.norm(x))


def blocks(*layers: Layer) -> Layer:
    """A layer that is one residual block after the other, each with one of these layers."""

    def stack(in_width: int, out_width: int) -> nn.Module:
        if in_width != out_width:
            raise ValueError(f"residual blocks keep the width, and {in_width} is not {out_width}.")
        return nn.Sequential(*(Residual(in_width, layer(in_width, in_width)) for layer in layers))

    return stack
