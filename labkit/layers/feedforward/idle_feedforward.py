"""A feedforward layer in which most hidden channels skip the activation, so that after training they fold away.

Trained is a wide layer with two batch norms and its residual connection. Its first `active` hidden channels pass the
activation, the others are idle: they go on as they are.

    h = W_in N₁(x) + b_in,          h is cut into h_a (active) and h_i (idle)
    y = x + W_out N₂([gelu(h_a), h_i]) + b_out

From x through the idle channels to y there is nothing but linear maps. In evaluation so are the norms N, and so is the
residual connection. All of them together are one matrix, which `folded()` works out:

    y = M x + U gelu(V x + v) + c,      M = I + (W_out S₂)_i (W_in S₁)_i

with the norms' scales S in V and U, and their shifts in v and c. For one row that is width² + 2 width active products
instead of 2 width hidden: fewer where more than width / 2 channels are idle.

Symbols: x, y of size width; h of size hidden, a share `idle` of it idle; N batch norms, S the diagonal matrix of what a
norm multiplies by; subscripts a and i take the active or idle rows and columns.

A layer norm would not fold: it divides each row by that row's own spread. Batch norms mix the rows of a batch in
training; in evaluation each row stands alone.

Source: "RePaViT: Scalable Vision Transformer Acceleration via Structural Reparameterization on Feedforward Network
Layers" (P121). Both norms, their places and the first channels being the active ones are as in the authors' code. That
the paper's usual share is 0.75 is read from summaries of it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.folding import ChannelNorm, identity, linear, of_linear, of_norm
from labkit.parts.shapes import shaped


class FoldedFeedforward(nn.Module):
    """What is left of an idle layer: one matrix beside a narrow feedforward layer; the residual is in the matrix.

    Shapes: x (*batch, width) -> (*batch, width).
    Raises: ShapeError for inputs of another shape or type.
    Source: "RePaViT: Scalable Vision Transformer Acceleration via Structural Reparameterization on Feedforward Network
    Layers" (P121).
    """

    def __init__(self, straight: nn.Linear, into: nn.Linear, out: nn.Linear):
        super().__init__()
        self.width = straight.in_features
        self.straight, self.into, self.out = straight, into, out

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.width}"]) -> Float[Tensor, "*batch {self.width}"]:
        return self.straight(x) + self.out(F.gelu(self.into(x)))


class IdleFeedforward(nn.Module):
    """A feedforward layer with norms and residual, in which a share of the hidden channels skips the activation.

    `idle` is that share. `folded()` gives the smaller layer that says the same in evaluation.

    Shapes: x (*batch, width) -> (*batch, width).
    Raises: ShapeError for inputs of another shape or type; ValueError for a share that leaves no channel active.
    Source: "RePaViT: Scalable Vision Transformer Acceleration via Structural Reparameterization on Feedforward Network
    Layers" (P121).
    """

    def __init__(self, width: int, *, hidden: int, idle: float = 0.75):
        super().__init__()
        self.width, self.hidden, self.active = width, hidden, round(hidden * (1 - idle))
        if not 1 <= self.active <= hidden:
            raise ValueError(
                f"a share of {idle:g} idle leaves {self.active} of {hidden} channels active, not 1 or more."
            )
        self.before, self.between = ChannelNorm(width), ChannelNorm(hidden)
        self.into, self.out = nn.Linear(width, hidden), nn.Linear(hidden, width)

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.width}"]) -> Float[Tensor, "*batch {self.width}"]:
        hidden = self.into(self.before(x))
        active, idle = hidden[..., : self.active], hidden[..., self.active :]
        return x + self.out(self.between(torch.cat((F.gelu(active), idle), -1)))

    def folded(self) -> FoldedFeedforward:
        """The layer that says in fewer products what this one says in evaluation. It shares no memory with it."""
        into, out = of_linear(self.into).after(of_norm(self.before)), of_linear(self.out).after(of_norm(self.between))
        active, idle, like = slice(self.active), slice(self.active, None), self.into.weight
        straight = out.reading(idle).after(into.saying(idle)).beside(identity(self.width, like))
        # the bias of `out` is in `straight` already: it must not be counted twice
        narrow = linear(into.saying(active), like), linear(out.reading(active), like, bias=False)
        return FoldedFeedforward(linear(straight, like), *narrow).train(self.training)


def slowly(layer: IdleFeedforward, x: Tensor) -> Tensor:
    """Channel by channel, the norms written out."""

    def normed(norm: ChannelNorm, rows: Tensor) -> Tensor:
        flat = rows.reshape(-1, rows.shape[-1])
        mean, variance = norm.running_mean, norm.running_var
        if norm.training:
            mean = flat.mean(0)
            variance = ((flat - mean) ** 2).mean(0)
        return norm.weight * (rows - mean) / (variance + norm.eps).sqrt() + norm.bias

    read, said = normed(layer.before, x), []
    for channel, (weight, bias) in enumerate(zip(layer.into.weight, layer.into.bias, strict=True)):
        value = (read * weight).sum(-1) + bias
        said.append(value * 0.5 * (1 + torch.erf(value / 2**0.5)) if channel < layer.active else value)
    return x + normed(layer.between, torch.stack(said, -1)) @ layer.out.weight.T + layer.out.bias


MIXES = (
    "batch norm takes its numbers from all rows of a training batch; in evaluation rows stand alone, as its tests show"
)

example = Example(
    lambda: IdleFeedforward(6, hidden=8, idle=0.5),
    reference=slowly,
    exempt={
        "rows do not mix": MIXES,
        "what is not a number stays in its row": MIXES,
        "any leading dimensions also an empty batch": "the property trains between two evaluations, which moves the norms' "
        "running numbers; the layer's own tests ask for the same in one mode at a time",
    },
)
