"""One hidden layer on a whole sequence laid out as one long vector: a plain network in the place of attention.

    v = [x_1, x_2, ..., x_L]                               the tokens one after the other, L·d numbers
    h = norm( φ( W₁ norm(v) + b₁ ) )                       `hidden` numbers
    [y_1, ..., y_M] = W₂ h + b₂                            cut into M tokens again

Symbols: L is `length`, d is `width`, M is `out_length` (L unless said otherwise), φ the leaky ReLU, norm a layer norm over all
numbers of the vector.

Every token of the answer depends on every token of the input: tokens mix, later ones with earlier ones too, and rows of the
batch do not. Attention works out from the tokens which one listens to which, and has the same weights for every place. Here
each place has weights of its own, the length is fixed, and the parameters grow with its square if `hidden` grows along.

What may not see the future (the self-attention of a decoder) is this layer with `out_length=1`, given for each place the
tokens up to it and zeros after: the backbone does that.

Source: "Rethinking Attention: Exploring Shallow Feed-Forward Neural Networks as an Alternative to Attention Layers in
Transformers" (P048). Norms, activation and the sizes of the hidden layer as in the authors' code, where shorter sentences are
padded to L with zeros; here every sequence has length L.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.shapes import shaped


class SequenceFeedforward(nn.Module):
    """A one-hidden-layer network from all numbers of a sequence to all numbers of the answer. Tokens mix, rows do not.

    Shapes: x (*batch, length, width) -> (*batch, out_length, width).
    Raises: ShapeError for inputs of another shape or type.
    Source: "Rethinking Attention: Exploring Shallow Feed-Forward Neural Networks as an Alternative to Attention Layers in
    Transformers" (P048).
    """

    def __init__(self, length: int, width: int, *, hidden: int, out_length: int | None = None):
        super().__init__()
        self.length, self.width, self.out_length = length, width, length if out_length is None else out_length
        self.before, self.into = nn.LayerNorm(length * width), nn.Linear(length * width, hidden)
        self.between, self.out = nn.LayerNorm(hidden), nn.Linear(hidden, self.out_length * width)

    @shaped
    def forward(
        self, x: Float[Tensor, "*batch {self.length} {self.width}"]
    ) -> Float[Tensor, "*batch {self.out_length} {self.width}"]:
        hidden = self.between(F.leaky_relu(self.into(self.before(x.flatten(-2)))))
        return self.out(hidden).unflatten(-1, (self.out_length, self.width))


def slowly(layer: SequenceFeedforward, x: Tensor) -> Tensor:
    """Token by token: what each adds to the hidden units, and what these write into each token of the answer."""

    def normed(value: Tensor, norm: nn.LayerNorm) -> Tensor:
        centred = value - value.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias

    tokens = normed(torch.cat(x.unbind(-2), -1), layer.before).split(layer.width, -1)
    weights = layer.into.weight.split(layer.width, 1)
    raw = sum((token @ weight.T for token, weight in zip(tokens, weights, strict=True)), layer.into.bias)
    hidden = normed(torch.where(raw > 0, raw, 0.01 * raw), layer.between)
    written = zip(layer.out.weight.split(layer.width), layer.out.bias.split(layer.width), strict=True)
    return torch.stack([hidden @ weight.T + bias for weight, bias in written], -2)


example = Example(lambda: SequenceFeedforward(5, 4, hidden=6), reference=slowly)
