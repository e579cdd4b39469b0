"""Several layers read the same input, and their answers are added: the smallest network with more than one router."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Layer = Callable[[int, int], nn.Module]


class SideBySide(nn.Module):
    """A network of `count` equal slots from the input's features to the classes. (rows, in_width) -> (rows, classes)."""

    def __init__(self, task, layer: Layer, *, count: int = 2):
        super().__init__()
        self.slots = nn.ModuleList([layer(task.in_width, task.out_width) for _ in range(count)])

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([slot(x) for slot in self.slots]).sum(0)
