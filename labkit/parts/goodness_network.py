"""A network that is asked "is this label right?": dense layers whose goodness is summed, label by label.

    h_0 = x with label c in its first pixels,      h_l = ReLU(W_l h_{l-1} / |h_{l-1}| + b_l),      score_c = Σ_l g(h_l)

Symbols: c a class, h_l the activations of layer l, g their goodness. The class with the largest score is the prediction: as
many forward passes as there are classes, run here as one.

It can be trained layer by layer (`trainers.local.forward_forward`) or as a whole (`trainers.goodness.goodness_backprop`). A
`Judge` is the same network that answers by a linear unit on its last layer and not by its goodness, for comparison.

Source: "The Forward-Forward Algorithm: Some Preliminary Investigations" (P198), which leaves the first layer out of the sum
(`first=1`); the authors' code of P199 keeps it, and adds up the shares of the labels, by softmax, instead of the goodness.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from labkit.parts.goodness import Goodness, every_label, goodness, length_normalised


class GoodnessLayer(nn.Module):
    """A dense layer with a rectifier that looks at the direction of its input only. (..., in_width) -> (..., width)."""

    def __init__(self, in_width: int, width: int):
        super().__init__()
        self.dense, self.activation = nn.Linear(in_width, width), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.dense(length_normalised(x)))


class GoodnessNetwork(nn.Module):
    """(rows, in_width) -> (rows, classes): the summed goodness of every label. The pixels of the label are overwritten.

    `widths` are the sizes of its layers, `bright` the number that marks a label, `first` the first layer that is counted.
    Raises: ValueError for a network without layers that count.
    """

    def __init__(
        self,
        in_width: int,
        classes: int,
        widths: Sequence[int] = (200, 200),
        *,
        kind: Goodness = "sum of squares",
        bright: float = 1.0,
        first: int = 0,
    ):
        super().__init__()
        if not 0 <= first < len(widths):
            raise ValueError(f"of {len(widths)} layers none is counted from layer {first} on.")
        self.layers = nn.Sequential(*(GoodnessLayer(*pair) for pair in zip((in_width, *widths), widths)))
        self.classes, self.bright, self.first = classes, bright, first
        self.kind: Goodness = kind

    def goodness(self, activations: Tensor) -> Tensor:
        """Of the activations of one layer. Shapes: (..., units) -> (...)."""
        return goodness(activations, self.kind)

    def judged(self, x: Tensor) -> Tensor:
        """The score of inputs that have a label in their first pixels. Shapes: (..., in_width) -> (...)."""
        total = torch.zeros(x.shape[:-1], dtype=x.dtype, device=x.device)
        for place, layer in enumerate(self.layers):
            x = layer(x)
            if place >= self.first:
                total = total + self.goodness(x)
        return total

    def forward(self, x: Tensor) -> Tensor:
        return self.judged(every_label(x, self.classes, self.bright))


class Judge(GoodnessNetwork):
    """The same layers and inputs, but the score is a weighted sum of the last layer's units: no goodness is involved."""

    def __init__(self, in_width: int, classes: int, widths: Sequence[int] = (200, 200), *, bright: float = 1.0):
        super().__init__(in_width, classes, widths, bright=bright)
        self.verdict = nn.Linear(widths[-1], 1)

    def judged(self, x: Tensor) -> Tensor:
        return self.verdict(self.layers(x)).squeeze(-1)
