"""A character transformer whose blocks compute attention and feedforward one after the other, side by side, or attention only.

    series           u = x + Attention(norm(x)),   y = u + FFN(norm'(u))
    parallel         y = x + Attention(norm(x)) + FFN(norm'(x))
    attention only   y = x + Attention(norm(x))

where x has first mixed with its neighbours, as in the other character transformer. Every addition is made by a `Sum`, so
that a recording sees what is added to what. In the parallel block attention is added first; the sum is the same.

Source: "Investigating the Role of Feed-Forward Networks in Transformers Using Parallel Attention and Feed-Forward Net
Design" (P204).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layer = Callable[[int, int], nn.Module]
SERIES, PARALLEL, ALONE = "series", "parallel", "attention only"


@dataclass(frozen=True)
class Design:
    """How the blocks are built, and from which feedforward layer. Called, it makes one layer, as a study's arm must."""

    layer: Layer
    order: str
    depth: int = 4

    def __call__(self, in_width: int, out_width: int) -> nn.Module:
        return self.layer(in_width, out_width)


class Sum(nn.Module):
    """Adds what a part of a block says to what is there. Shapes: x (...), update (...) -> (...)."""

    def forward(self, x: Tensor, update: Tensor) -> Tensor:
        return x + update


class Attention(nn.Module):
    """Every place looks at every other. Shapes: x (rows, length, width) -> the same."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.look, self.gather = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.look(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.gather(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2))


class ParallelBlock(nn.Module):
    """A block of one of the three orders. Shapes: x (rows, length, width) -> the same."""

    def __init__(self, width: int, heads: int, design: Design):
        super().__init__()
        self.order = design.order
        self.near = nn.Conv1d(width, width, 5, padding=2, groups=width)
        self.before, self.attention, self.add_attention = nn.LayerNorm(width), Attention(width, heads), Sum()
        if design.order != ALONE:
            self.between, self.slot, self.add_slot = nn.LayerNorm(width), design(width, width), Sum()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.near(x.transpose(-1, -2)).transpose(-1, -2)
        seen = self.add_attention(x, self.attention(self.before(x)))
        if self.order == ALONE:
            return seen
        return self.add_slot(seen, self.slot(self.between(x if self.order == PARALLEL else seen)))


class ParallelTransformer(nn.Module):
    """Reads a window of characters in both directions: (rows, length) numbers -> (rows, length, symbols) scores.

    Raises: ValueError for an order that is not known.
    """

    def __init__(self, task, design: Design, *, width: int = 64, heads: int = 4):
        super().__init__()
        if design.order not in (SERIES, PARALLEL, ALONE):
            raise ValueError(f"blocks are {SERIES}, {PARALLEL} or {ALONE}, not {design.order!r}.")
        self.symbol = nn.Embedding(task.symbols, width)
        self.place = nn.Parameter(torch.randn(task.length, width) * 0.02)
        self.blocks = nn.ModuleList([ParallelBlock(width, heads, design) for _ in range(design.depth)])
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, task.symbols)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.symbol(x) + self.place[: x.shape[-1]]
        for block in self.blocks:
            hidden = block(hidden)
        return self.out(self.norm(hidden))
