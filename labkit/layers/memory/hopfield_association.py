"""Each state looks for what it resembles in a set of patterns, again and again: attention that may take several steps.

States and patterns are brought to a common width, split into heads. In each head a state moves by the Hopfield update
`steps` times; then what the patterns have to say is read where it has come to rest. One step is ordinary attention.

    ξ = W_q norm(r),   k_i = W_k norm(y_i),   v_i = W_v norm(y_i)
    ξ ← Σ_i softmax(β k·ξ)_i k_i   (steps - 1 times),     out = W_o Σ_i softmax(β k·ξ)_i v_i + bias

Symbols: r a state (query), y_i the patterns, β how sharply patterns are told apart: 1/√(width of a head) where none is given.

Source: "Hopfield Networks is All You Need" (P517). The authors' layer iterates each head until it moves less than a
threshold; here the number of steps is fixed, so that no input's answer depends on another's. Their layer, too, normalises
states and patterns. That values are made from the patterns, not from the keys, is one of the options of their code.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.hopfield import associate
from labkit.parts.shapes import shaped


class HopfieldAssociation(nn.Module):
    """Draws every state towards what it resembles in the patterns, and reads them there.

    Shapes: state (*batch, states, width), stored (*batch, patterns, width) -> (*batch, states, width).
    Raises: ShapeError for inputs of another shape or type; ValueError for heads that do not divide the width, for less than
    one step and for a beta that is not above 0.
    Source: "Hopfield Networks is All You Need" (P517).
    """

    def __init__(self, width: int, *, heads: int = 1, steps: int = 1, beta: float | None = None):
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"HopfieldAssociation needs heads that divide width={width}, not heads={heads}.")
        if steps < 1:
            raise ValueError(f"HopfieldAssociation takes one step or more, not steps={steps}.")
        self.width, self.heads, self.steps = width, heads, steps
        self.beta = 1 / math.sqrt(width // heads) if beta is None else beta
        if not self.beta > 0:
            raise ValueError(f"HopfieldAssociation needs a beta above 0, not {beta}.")
        self.state_norm, self.stored_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.value, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width)

    @shaped
    def forward(
        self, state: Float[Tensor, "*batch states {self.width}"], stored: Float[Tensor, "*batch patterns {self.width}"]
    ) -> Float[Tensor, "*batch states {self.width}"]:
        state, stored = self.state_norm(state), self.stored_norm(stored)
        query, key, value = (
            whole.unflatten(-1, (self.heads, -1)).transpose(-2, -3)
            for whole in (self.query(state), self.key(stored), self.value(stored))
        )
        read = associate(query, key, beta=self.beta, steps=self.steps, value=value)
        return self.out(read.transpose(-2, -3).flatten(-2))


def slowly(layer: HopfieldAssociation, state: Tensor, stored: Tensor) -> Tensor:
    """One input, state and head at a time."""
    size, answers = layer.width // layer.heads, []
    for one, many in zip(layer.state_norm(state), layer.stored_norm(stored), strict=True):
        rows = []
        for query in one:
            parts = []
            for head in range(layer.heads):
                own = slice(head * size, (head + 1) * size)
                now = layer.query.weight[own] @ query
                keys, values = many @ layer.key.weight[own].T, many @ layer.value.weight[own].T
                for _ in range(layer.steps - 1):
                    now = (layer.beta * keys @ now).softmax(0) @ keys
                parts.append((layer.beta * keys @ now).softmax(0) @ values)
            rows.append(layer.out.weight @ torch.cat(parts) + layer.out.bias)
        answers.append(torch.stack(rows))
    return torch.stack(answers)


example = Example(
    lambda: HopfieldAssociation(6, heads=2, steps=3, beta=1.0),
    reference=slowly,
    exempt={"the past does not see the future": "a state looks at the whole set of patterns, which has no order"},
)
