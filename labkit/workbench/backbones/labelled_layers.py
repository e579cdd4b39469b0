"""Networks for comparing Forward-Forward with backpropagation: the same hidden layers, read out in different ways.

`shown` says what to show to which layers, so that one measurement fits networks that are told a label and those that are not.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from labkit.parts.goodness import labelled, unlabelled
from labkit.parts.goodness_network import GoodnessNetwork


class Classifier(nn.Module):
    """Dense layers with rectifiers, and a dense layer to the classes; it sees no label. (rows, in_width) -> (rows, classes)."""

    def __init__(self, in_width: int, classes: int, widths: Sequence[int] = (200, 200)):
        super().__init__()
        pairs = zip((in_width, *widths), widths)
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(*pair), nn.ReLU()) for pair in pairs))
        self.out = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layers(x))

    def responses(self, x: Tensor) -> list[Tensor]:
        """What every layer says. Shapes: (rows, in_width) -> (rows, units) each."""
        said = []
        for layer in self.layers:
            x = layer(x)
            said.append(x)
        return said


CONDITIONS = ("right label", "no label", "wrong label", "scrambled pixels")


def shown(model: nn.Module, x: Tensor, label: Tensor, condition: str = "right label") -> tuple[nn.Module, Tensor]:
    """The hidden layers of a model, and inputs for them: images with a label in them where the model reads labels.

    "no label" has all label pixels alike, "wrong label" the next class, "scrambled pixels" the right label beside the pixels
    of the image in a random order, another one for each: as bright as before, so that the label is as strong as before when
    the length is divided out. A network that reads no labels sees the image, scrambled or not.
    """
    if condition == "scrambled pixels":
        order = torch.rand(x.shape, generator=torch.Generator().manual_seed(7)).argsort(-1)
        x = x.gather(-1, order)
    if not isinstance(model, GoodnessNetwork):
        return model.layers, x  # type: ignore[return-value]
    if condition == "no label":
        return model.layers, unlabelled(x, model.classes, model.bright)
    told = (label + 1) % model.classes if condition == "wrong label" else label
    return model.layers, labelled(x, told, model.classes, model.bright)


def responses(model: nn.Module, x: Tensor, label: Tensor, condition: str = "right label") -> list[Tensor]:
    """What every hidden layer says to these inputs, in evaluation. Shapes: x (rows, features) -> (rows, units) each."""
    layers, now = shown(model, x, label, condition)
    said = []
    with torch.no_grad():
        for layer in layers:  # type: ignore[union-attr]
            now = layer(now)
            said.append(now)
    return said
