"""The layer is the whole network: what it does cannot be hidden by anything around it."""

from collections.abc import Callable

from torch import Tensor, nn

Layer = Callable[[int, int], nn.Module]


class OnlyLayer(nn.Module):
    """A network of one slot, from the input's features to the classes. (rows, in_width) -> (rows, classes)."""

    def __init__(self, task, layer: Layer):
        super().__init__()
        self.slot = layer(task.in_width, task.out_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.slot(x)
