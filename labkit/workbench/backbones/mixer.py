"""A tiny MLP-Mixer: an image is cut into patches, and two small networks mix them by turns, across and within.

One network looks at the same number of all patches, the other at all numbers of one patch. Nothing else mixes, so that the
linear layers that are put in are all that the network has between its first and its last layer.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

Layer = Callable[[int, int], nn.Module]
"""Makes a network from its width in and its width out, such as a feedforward layer."""


class MixingBlock(nn.Module):
    """Mix the patches, then the numbers of each; both are added to what they read, after a normalisation.

    Shapes: (rows, patches, width) -> the same.
    """

    def __init__(self, patches: int, width: int, layer: Layer):
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across, self.within = layer(patches, patches), layer(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.before(x).transpose(1, 2)).transpose(1, 2)
        return x + self.within(self.between(x))


class Mixer(nn.Module):
    """Reads square images in patches: (rows, side * side) grey values -> (rows, classes) scores.

    `across` is the number of patches in a row of the image and in a column; `width` the numbers that stand for each. Both are
    powers of two, because layers of blocks ask for it. An image whose side they do not divide gets a black margin.
    The answer is read from the mean of all patches.
    """

    def __init__(self, task, layer: Layer, *, width: int = 64, depth: int = 1, across: int = 8):
        super().__init__()
        side = round(task.in_width**0.5)
        if side**2 != task.in_width:
            raise ValueError(f"{task.in_width} features are no square image.")
        if any(size < 1 or size & (size - 1) for size in (width, across)):
            raise ValueError(f"a width of {width} and {across} patches across are not both powers of two.")
        self.side, self.across, self.patch = side, across, -(-side // across)
        margin = self.patch * across - side
        self.margin = (margin // 2, margin - margin // 2) * 2
        self.embed = nn.Linear(self.patch**2, width)
        self.blocks = nn.ModuleList([MixingBlock(across**2, width, layer) for _ in range(depth)])
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, task.out_width)

    def patches(self, x: Tensor) -> Tensor:
        """(rows, side * side) -> (rows, patches, patch * patch), row by row of the image."""
        image = F.pad(x.reshape(-1, self.side, self.side), self.margin)
        cut = image.unflatten(2, (self.across, self.patch)).unflatten(1, (self.across, self.patch)).transpose(2, 3)
        return cut.reshape(len(x), self.across**2, self.patch**2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.embed(self.patches(x))
        for block in self.blocks:
            hidden = block(hidden)
        return self.out(self.norm(hidden).mean(1))
