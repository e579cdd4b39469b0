"""Dense layers with one slot after each for the activation under test, so that networks differ in their curves only."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Layer = Callable[[int, int], nn.Module]


def dense_stack(in_width: int, out_width: int, activation: Layer, *, width: int = 64, depth: int = 2) -> nn.Sequential:
    """`depth` hidden layers, each with an activation of its own, and a dense layer out. (..., in_width) -> (..., out_width).

    `activation(width, width)` makes one activation; it is called once for each hidden layer.
    """
    layers: list[nn.Module] = []
    for place in range(depth):
        layers += [nn.Linear(width if place else in_width, width), activation(width, width)]
    return nn.Sequential(*layers, nn.Linear(width if depth else in_width, out_width))


class ActivationNetwork(nn.Module):
    """A dense network whose slots are its activations. (rows, in_width) -> (rows, out_width)."""

    def __init__(self, task, layer: Layer, *, width: int = 64, depth: int = 2):
        super().__init__()
        self.stack = dense_stack(task.in_width, task.out_width, layer, width=width, depth=depth)

    @property
    def activations(self) -> list[nn.Module]:
        """The slots in order; a layer may have been put in the place of another since."""
        return list(self.stack)[1:-1:2]

    def forward(self, x: Tensor) -> Tensor:
        return self.stack(x)


class OneEach(nn.Module):
    """A network of its own for every output, all trained at once: `layer(in_width, 1)` makes each.

    The networks share nothing. With a trainer whose steps for one parameter do not depend on the others (Adam without
    clipping), this is as many separate trainings. (rows, in_width) -> (rows, out_width).
    """

    def __init__(self, task, layer: Layer):
        super().__init__()
        self.slots = nn.ModuleList([layer(task.in_width, 1) for _ in range(task.out_width)])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([slot(x) for slot in self.slots], -1)
