"""A feedforward layer read as a memory whose blocks are chosen by the mean of their keys: a router without weights.

The rows k_i of the first weight are keys, those of the second, v_i, values; `block_size` neighbours form a block. The
blocks whose mean key fits the input best run, each with weight 1; all other units are left out.

    s_b = x · (1/g) Σ_{i ∈ b} k_i                      how well block b fits
    y   = Σ_{b ∈ T} Σ_{i ∈ b} φ(x · k_i) v_i,          T the `chosen` blocks of the largest s_b

Symbols: x an input of size in_width, g the block size, φ the rectifier. A block of size 1 chosen by s_b is the k largest
keys; a block is what a mixture of experts calls an expert.

The mean keys are computed anew at each call, which reads the whole first weight once: it pays from some inputs on. The
gradient reaches the keys through the chosen units; which blocks are chosen is not differentiable. The routing's weights are
1 / chosen for each block, since they have to be shares.

Source: "Towards A Unified View of Sparse Feed-Forward Network in Pretraining Large Language Model" (P203), method Avg-K.
The selection by the blocks' mean is the abstract's; that the chosen blocks are added without a gate's weight and that there
are no biases is from memory.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.gate import Routing
from labkit.parts.gathered import active_units
from labkit.parts.shapes import shaped


class AverageKeyGate(nn.Module):
    """Chooses blocks by their mean key. Shapes: x (..., width), keys (blocks, size, width) -> Routing over blocks."""

    def __init__(self, chosen: int):
        super().__init__()
        self.chosen = chosen

    def forward(self, x: Float[Tensor, "*batch width"], keys: Float[Tensor, "blocks size width"]) -> Routing:
        scores = F.linear(x, keys.mean(1))
        index = scores.topk(self.chosen, dim=-1).indices
        return Routing(
            index, torch.full(index.shape, 1 / self.chosen, dtype=x.dtype, device=x.device), len(keys), scores
        )


class AverageKeyBlocks(nn.Module):
    """Blocks of hidden units, of which those run whose mean key fits the input best.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError unless 1 <= chosen <= blocks.
    Source: "Towards A Unified View of Sparse Feed-Forward Network in Pretraining Large Language Model" (P203).
    """

    def __init__(self, in_width: int, out_width: int, *, blocks: int, block_size: int, chosen: int):
        super().__init__()
        if not 1 <= chosen <= blocks:
            raise ValueError(f"From 1 to {blocks} of {blocks} blocks can be chosen, not {chosen}.")
        self.in_width, self.out_width, self.block_size = in_width, out_width, block_size
        self.gate = AverageKeyGate(chosen)
        first, second = 1 / math.sqrt(in_width), 1 / math.sqrt(blocks * block_size)
        self.keys = nn.Parameter(torch.empty(blocks, block_size, in_width).uniform_(-first, first))
        self.values = nn.Parameter(torch.empty(blocks, block_size, out_width).uniform_(-second, second))

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        index = self.gate(x, self.keys).index
        units = index.unsqueeze(-1) * self.block_size + torch.arange(self.block_size, device=x.device)
        return active_units(x, units.flatten(-2), self.keys.flatten(0, 1), None, self.values.flatten(0, 1), None)


def slowly(layer: AverageKeyBlocks, x: Tensor) -> Tensor:
    """One input and one block at a time."""
    outs = []
    for row in x:
        fits = torch.stack([row @ block.mean(0) for block in layer.keys])
        out = row.new_zeros(layer.out_width)
        for block in fits.argsort(descending=True)[: layer.gate.chosen].tolist():
            out = out + F.relu(layer.keys[block] @ row) @ layer.values[block]
        outs.append(out)
    return torch.stack(outs)


example = Example(lambda: AverageKeyBlocks(6, 5, blocks=8, block_size=3, chosen=2), reference=slowly)
