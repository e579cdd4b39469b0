"""A network for bags: each member is read alone, the slot makes one vector of them all, and a dense layer decides."""

from collections.abc import Callable

from torch import Tensor, nn

Layer = Callable[[int, int], nn.Module]


class BagNetwork(nn.Module):
    """Reads bags of any number of members: (rows, instances, in_width) -> (rows, classes).

    The slot takes (rows, instances, width) to (rows, width). What reads the members is shared by all of them, so that only
    the slot can look at more than one.
    """

    def __init__(self, task, layer: Layer, *, width: int = 32, hidden: int = 64):
        super().__init__()
        self.read = nn.Sequential(nn.Linear(task.in_width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.slot = layer(width, width)
        self.out = nn.Linear(width, task.out_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.slot(self.read(x)))
