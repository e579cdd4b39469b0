"""Turns a set of any size into one vector: learnt questions look for what they resemble in the set, in several steps.

Each head holds one question, the same for every input. It moves by the Hopfield update towards those members of the set
that resemble it, and what these have to say is the answer. One step is pooling by attention with a learnt query.

    k_i = W_k norm(y_i),   v_i = W_v norm(y_i),   ξ = q
    ξ ← Σ_i softmax(β k·ξ)_i k_i   (steps - 1 times),     out = W_o Σ_i softmax(β k·ξ)_i v_i + bias

Symbols: y_i members of the set (stored patterns), q the learnt question of a head, β how sharply members are told apart:
1/√(width of a head) where none is given.

Source: "Hopfield Networks is All You Need" (P517). The authors iterate until a state moves less than a threshold; here
the number of steps is fixed, so that no input's answer depends on another's. Of their optional parts only the
normalisation of the patterns is kept.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.hopfield import associate
from labkit.parts.shapes import shaped


class HopfieldPooling(nn.Module):
    """Pools the members of a set by what they have in common with a learnt question.

    Shapes: stored (*batch, patterns, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for heads that do not divide in_width, for less than
    one step and for a beta that is not above 0.
    Source: "Hopfield Networks is All You Need" (P517).
    """

    def __init__(self, in_width: int, out_width: int, *, heads: int = 1, steps: int = 1, beta: float | None = None):
        super().__init__()
        if heads < 1 or in_width % heads:
            raise ValueError(f"HopfieldPooling needs heads that divide in_width={in_width}, not heads={heads}.")
        if steps < 1:
            raise ValueError(f"HopfieldPooling takes one step or more, not steps={steps}.")
        self.in_width, self.out_width, self.heads, self.steps = in_width, out_width, heads, steps
        self.beta = 1 / math.sqrt(in_width // heads) if beta is None else beta
        if not self.beta > 0:
            raise ValueError(f"HopfieldPooling needs a beta above 0, not {beta}.")
        self.norm = nn.LayerNorm(in_width)
        self.question = nn.Parameter(torch.randn(heads, in_width // heads))
        self.key, self.value = nn.Linear(in_width, in_width, bias=False), nn.Linear(in_width, in_width, bias=False)
        self.out = nn.Linear(in_width, out_width)

    @shaped
    def forward(
        self, stored: Float[Tensor, "*batch patterns {self.in_width}"]
    ) -> Float[Tensor, "*batch {self.out_width}"]:
        stored = self.norm(stored)
        key, value = (
            whole.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for whole in (self.key(stored), self.value(stored))
        )
        state = self.question.unsqueeze(-2).expand(*key.shape[:-2], 1, -1)
        read = associate(state, key, beta=self.beta, steps=self.steps, value=value)
        return self.out(read.squeeze(-2).flatten(-2))


def slowly(layer: HopfieldPooling, stored: Tensor) -> Tensor:
    """One set and head at a time."""
    size, answers = layer.in_width // layer.heads, []
    for members in layer.norm(stored):
        parts = []
        for head in range(layer.heads):
            own = slice(head * size, (head + 1) * size)
            keys, values = members @ layer.key.weight[own].T, members @ layer.value.weight[own].T
            state = layer.question[head]
            for _ in range(layer.steps - 1):
                state = (layer.beta * keys @ state).softmax(0) @ keys
            parts.append((layer.beta * keys @ state).softmax(0) @ values)
        answers.append(layer.out.weight @ torch.cat(parts) + layer.out.bias)
    return torch.stack(answers)


example = Example(
    lambda: HopfieldPooling(6, 5, heads=2, steps=3),
    reference=slowly,
    exempt={"the past does not see the future": "it pools a whole set, whose members have no order"},
)
