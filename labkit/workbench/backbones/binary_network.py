"""A small convolutional network for pictures whose inner layers work with bits: weights and activations of one bit each.

    patches -> [ norm -> bits -> one-bit convolution -> norm, plus the input -> bend ] a few times -> means of 16 parts -> classes

The first layer and the last stay as they are, as in published binary networks. The norm before the bits has no learnt scale or
shift, so that whatever moves the threshold is in the layer under test. What is added is the real-valued input of the block.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.parts.binary import BinaryConv2d, ShiftedPReLU

SIDE, PATCH = 28, 4
Layer = Callable[[int], nn.Module]
"""Channels -> a layer (rows, channels, h, w) -> the same."""


class BinaryBlock(nn.Module):
    """Bits, a one-bit convolution, the input added, and a bend. (rows, channels, h, w) -> the same."""

    def __init__(self, channels: int, bits: Layer, bend: Layer, convolution: Layer):
        super().__init__()
        self.before, self.bits = nn.BatchNorm2d(channels, affine=False), bits(channels)
        self.convolution, self.after = convolution(channels), nn.BatchNorm2d(channels)
        self.bend = bend(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bend(x + self.after(self.convolution(self.bits(self.before(x)))))


class BinaryNetwork(nn.Module):
    """(rows, 784) -> (rows, classes). `bits` makes the activation under test, `bend` what follows each convolution."""

    def __init__(
        self,
        classes: int,
        bits: Layer,
        *,
        bend: Layer = ShiftedPReLU,
        convolution: Layer | None = None,
        channels: int = 24,
        blocks: int = 3,
    ):
        super().__init__()
        make = convolution or (lambda many: BinaryConv2d(many, many))
        self.patches = nn.Conv2d(1, channels, PATCH, stride=PATCH)
        self.blocks = nn.ModuleList([BinaryBlock(channels, bits, bend, make) for _ in range(blocks)])
        self.answer = nn.Linear(channels * 16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x.view(-1, 1, SIDE, SIDE))
        for block in self.blocks:
            x = block(x)
        return self.answer(F.adaptive_avg_pool2d(x, 4).flatten(1))

    @torch.no_grad()
    def before_bits(self, x: Tensor) -> Iterator[tuple[nn.Module, Tensor]]:
        """Each block's activation under test and what comes to it, in evaluation."""
        x = self.patches(x.view(-1, 1, SIDE, SIDE))
        for block in self.blocks:
            assert isinstance(block, BinaryBlock)
            yield block.bits, block.before(x)
            x = block(x)
