"""A plain deep network: a dense layer into the hidden width, some slots of that width, a dense layer out of it."""

from collections.abc import Callable

from torch import Tensor, nn

Layer = Callable[[int, int], nn.Module]


class HiddenLayers(nn.Module):
    """A network of `depth` equal slots, each `width` wide, between two dense layers. (rows, in_width) -> (rows, out_width).

    A slot takes the place of "activation, then a dense layer" or of anything else from `width` to `width`; nothing is
    added to what a slot says.
    """

    def __init__(self, task, layer: Layer, *, width: int = 64, depth: int = 2):
        super().__init__()
        self.into = nn.Linear(task.in_width, width)
        self.slots = nn.ModuleList([layer(width, width) for _ in range(depth)])
        self.out = nn.Linear(width, task.out_width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.into(x)
        for slot in self.slots:
            hidden = slot(hidden)
        return self.out(hidden)
