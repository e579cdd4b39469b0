"""A small vision transformer whose two sublayers can both be exchanged: what mixes the patches, and what works on each.

A sublayer here is a whole one, with its norm and its residual connection, because some layers bring their own: they use
another norm, or fold the residual into a matrix. `Added` makes such a sublayer of an ordinary layer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.workbench.backbones.patches import cut, side_of

Layer = Callable[[int, int], nn.Module]


class Added(nn.Module):
    """What a layer says of the normalised input, added to the input: the usual sublayer. (..., width) -> the same."""

    def __init__(self, width: int, layer: nn.Module):
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(width), layer

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(self.norm(x))


@dataclass(frozen=True)
class Sized:
    """A maker of sublayers that also says how wide the model around them is, so that a study can compare two widths."""

    make: Callable[[int], nn.Module]
    width: int

    def __call__(self, in_width: int, out_width: int) -> nn.Module:
        return self.make(in_width)


class Feedforward(nn.Module):
    """The usual layer for each patch alone, with GELU. (..., width) -> the same."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.into, self.out = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.into(x)))


class SelfAttention(nn.Module):
    """Every patch looks at every patch. (rows, patches, width) -> the same."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.look, self.gather = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.look(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.gather(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2))


def attention(patches: int, width: int) -> nn.Module:
    """The usual mixer: attention as a sublayer."""
    return Added(width, SelfAttention(width))


class MixingBlock(nn.Module):
    """The mixer, then the slot."""

    def __init__(self, mixer: nn.Module, slot: nn.Module):
        super().__init__()
        self.mixer, self.slot = mixer, slot

    def forward(self, x: Tensor) -> Tensor:
        return self.slot(self.mixer(x))


class MixingTransformer(nn.Module):
    """Reads square images in patches: (rows, side * side) grey values -> (rows, classes) scores.

    `mixer(patches, width)` and `layer(width, width)` make the two sublayers of a block. `patch` is the side of a patch in
    pixels; it divides the side of the image. The answer is read from the mean of all patches.
    """

    def __init__(
        self, task, layer: Layer, *, mixer: Layer = attention, width: int = 64, depth: int = 2, patch: int = 7
    ):
        super().__init__()
        self.side, self.patch = side_of(task.in_width, patch), patch
        count = (self.side // patch) ** 2
        self.embed = nn.Linear(patch * patch, width)
        self.place = nn.Parameter(torch.randn(count, width) * 0.02)
        self.blocks = nn.ModuleList([MixingBlock(mixer(count, width), layer(width, width)) for _ in range(depth)])
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, task.out_width)

    def patches(self, x: Tensor) -> Tensor:
        """(rows, side * side) -> (rows, patches, patch * patch), row by row of the image."""
        return cut(x, self.side, self.patch)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.embed(self.patches(x)) + self.place
        for block in self.blocks:
            hidden = block(hidden)
        return self.out(self.norm(hidden).mean(1))
