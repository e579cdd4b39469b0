"""A table that is learnt: an input looks for what it resembles among stored patterns and reads what is filed there.

The patterns are parameters, not inputs, so it stands where a dense layer would. Every row of the table takes part, weighted
by a softmax; with several steps the input first moves towards the pattern that it resembles.

    ξ = norm(x),    ξ ← Σ_i softmax(β k·ξ)_i k_i   (steps - 1 times),     out = Σ_i softmax(β k·ξ)_i v_i

Symbols: k_i learnt patterns, v_i what is filed under each, β how sharply patterns are told apart: 1/√in_width where none is
given.

Source: "Hopfield Networks is All You Need" (P517), where it is called HopfieldLayer. One head, and no projection of the
input: both are options of the authors' code, left out here.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.hopfield import associate
from labkit.parts.shapes import shaped


class HopfieldLookup(nn.Module):
    """A learnt table of `patterns` rows that is read by content, softly.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for less than one pattern or step and for a beta that
    is not above 0.
    Source: "Hopfield Networks is All You Need" (P517).
    """

    def __init__(self, in_width: int, out_width: int, *, patterns: int, steps: int = 1, beta: float | None = None):
        super().__init__()
        if patterns < 1 or steps < 1:
            raise ValueError(f"HopfieldLookup needs a pattern and a step, not patterns={patterns} and steps={steps}.")
        self.in_width, self.out_width, self.patterns, self.steps = in_width, out_width, patterns, steps
        self.beta = 1 / math.sqrt(in_width) if beta is None else beta
        if not self.beta > 0:
            raise ValueError(f"HopfieldLookup needs a beta above 0, not {beta}.")
        self.norm = nn.LayerNorm(in_width)
        self.keys = nn.Parameter(torch.randn(patterns, in_width))
        self.values = nn.Parameter(torch.randn(patterns, out_width) * out_width**-0.5)

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        state = self.norm(x).reshape(-1, self.in_width)
        read = associate(state, self.keys, beta=self.beta, steps=self.steps, value=self.values)
        return read.view(*x.shape[:-1], self.out_width)


def slowly(layer: HopfieldLookup, x: Tensor) -> Tensor:
    """One input at a time."""
    rows = []
    for state in layer.norm(x):
        for _ in range(layer.steps - 1):
            state = (layer.beta * layer.keys @ state).softmax(0) @ layer.keys
        rows.append((layer.beta * layer.keys @ state).softmax(0) @ layer.values)
    return torch.stack(rows)


example = Example(lambda: HopfieldLookup(6, 5, patterns=7, steps=2), reference=slowly)
