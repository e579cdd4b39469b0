"""Gates in the place of attention: one half of a layer decides how much of the other half gets through.

    u = norm(gelu(W₁ x + b₁)),      v = norm(W₂ x + b₂),      y = W₃ (u * v) + b₃

The question is along which axis W₁, W₂ and W₃ work, and it is one argument here:

    "channels"    x is one token: each token is gated by itself, and no token hears of another
    "tokens"      x is one channel of all tokens: the tokens are mixed, with weights that belong to their places

Symbols: x of size n, y of size n, u and v of size `hidden`; n is `width` for channels and `tokens` for tokens; * element by
element; norm is one layer norm, used for both.

Attention computes from the tokens which one listens to which. Gates along tokens have fixed weights for that, and only how
much gets through depends on the tokens; they read a fixed number of tokens. Gates along channels replace attention by
something that does not mix at all.

Source: "Activator: GLU Activations as The Core Functions of a Vision Transformer" (P494). Along channels it is what the
authors' code does, with its shared norm. The abstract does not name the axis; along tokens is our addition, so that
something mixes.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.shapes import shaped

AXES = ("tokens", "channels")


class GatedTokenMixing(nn.Module):
    """A gated layer along the tokens or along the channels of a sequence of fixed length.

    Shapes: x (*batch, tokens, width) -> (*batch, tokens, width).
    Raises: ShapeError for inputs of another shape or type; ValueError for an axis that is not known.
    Source: "Activator: GLU Activations as The Core Functions of a Vision Transformer" (P494).
    """

    def __init__(self, tokens: int, width: int, *, hidden: int, axis: str = "tokens"):
        super().__init__()
        if axis not in AXES:
            raise ValueError(f"GatedTokenMixing works along {' or '.join(AXES)}, not {axis!r}.")
        self.tokens, self.width, self.axis = tokens, width, axis
        size = tokens if axis == "tokens" else width
        self.gate, self.value, self.out = nn.Linear(size, hidden), nn.Linear(size, hidden), nn.Linear(hidden, size)
        self.norm = nn.LayerNorm(hidden)

    @shaped
    def forward(
        self, x: Float[Tensor, "*batch {self.tokens} {self.width}"]
    ) -> Float[Tensor, "*batch {self.tokens} {self.width}"]:
        turned = self.axis == "tokens"
        x = x.transpose(-1, -2) if turned else x
        y = self.out(self.norm(F.gelu(self.gate(x))) * self.norm(self.value(x)))
        return y.transpose(-1, -2) if turned else y


def slowly(layer: GatedTokenMixing, x: Tensor) -> Tensor:
    """Each hidden unit as a sum over the tokens, the norm written out."""
    along = "...td,ht->...hd" if layer.axis == "tokens" else "...td,hd->...th"
    unit = -2 if layer.axis == "tokens" else -1

    def lifted(value: Tensor) -> Tensor:
        return value[:, None] if unit == -2 else value

    def hidden(half: nn.Linear) -> Tensor:
        return torch.einsum(along, x, half.weight) + lifted(half.bias)

    def normed(value: Tensor) -> Tensor:
        centred = value - value.mean(unit, keepdim=True)
        spread = (centred.square().mean(unit, keepdim=True) + layer.norm.eps).sqrt()
        return centred / spread * lifted(layer.norm.weight) + lifted(layer.norm.bias)

    raw = hidden(layer.gate)
    gated = normed(raw * 0.5 * (1 + torch.erf(raw / 2**0.5))) * normed(hidden(layer.value))
    back = "...hd,th->...td" if layer.axis == "tokens" else "...th,dh->...td"
    return torch.einsum(back, gated, layer.out.weight) + lifted(layer.out.bias)


example = Example(lambda: GatedTokenMixing(5, 4, hidden=6), reference=slowly)
