"""A small transformer over characters, with one slot a block for the feedforward layer under test.

Each block first lets neighbours mix by a depthwise convolution: without it, attention needs thousands of steps before
it finds the neighbouring characters, and a lesson would measure nothing but that wait.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layer = Callable[[int, int], nn.Module]


class Block(nn.Module):
    """Neighbours, attention, then the slot; each is added to what it read."""

    def __init__(self, width: int, heads: int, layer: Layer):
        super().__init__()
        self.heads = heads
        self.near = nn.Conv1d(width, width, 5, padding=2, groups=width)
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look, self.gather = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.slot = layer(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.near(x.transpose(-1, -2)).transpose(-1, -2)
        query, key, value = self.look(self.before(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2)
        x = x + self.gather(seen)
        return x + self.slot(self.between(x))


class CharacterTransformer(nn.Module):
    """Reads a window of characters in both directions: (rows, length) numbers -> (rows, length, symbols) scores."""

    def __init__(self, task, layer: Layer, *, width: int = 64, depth: int = 2, heads: int = 4):
        super().__init__()
        self.symbol = nn.Embedding(task.symbols, width)
        self.place = nn.Parameter(torch.randn(task.length, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width, heads, layer) for _ in range(depth)])
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, task.symbols)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.symbol(x) + self.place[: x.shape[-1]]
        for block in self.blocks:
            hidden = block(hidden)
        return self.out(self.norm(hidden))
