"""A small vision transformer: an image is cut into patches, and each block has one slot for the layer under test.

Between the attention and the slot nothing is shared, so that replacing the slot replaces the whole feedforward layer.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.workbench.backbones.patches import cut, side_of

Layer = Callable[[int, int], nn.Module]


class Block(nn.Module):
    """Attention over all patches, then the slot; each is added to what it read, after a normalisation."""

    def __init__(self, width: int, heads: int, layer: Layer):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look, self.gather = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.slot = layer(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.look(self.before(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2)
        x = x + self.gather(seen)
        return x + self.slot(self.between(x))


class VisionTransformer(nn.Module):
    """Reads square images in patches: (rows, side * side) grey values -> (rows, classes) scores.

    `patch` is the side of a patch in pixels; it divides the side of the image. The answer is read from the mean of all
    patches.
    """

    def __init__(self, task, layer: Layer, *, width: int = 64, depth: int = 2, heads: int = 4, patch: int = 7):
        super().__init__()
        self.side, self.patch = side_of(task.in_width, patch), patch
        count = (self.side // patch) ** 2
        self.embed = nn.Linear(patch * patch, width)
        self.place = nn.Parameter(torch.randn(count, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width, heads, layer) for _ in range(depth)])
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, task.out_width)

    def patches(self, x: Tensor) -> Tensor:
        """(rows, side * side) -> (rows, patches, patch * patch), row by row of the image."""
        return cut(x, self.side, self.patch)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.embed(self.patches(x)) + self.place
        for block in self.blocks:
            hidden = block(hidden)
        return self.out(self.norm(hidden).mean(1))
