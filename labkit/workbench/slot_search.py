"""The same memory slots found in two ways: by product keys, and by the scores of all slots."""

import torch
from torch import Tensor, nn

from labkit.parts.product_keys import ProductKeyGate


class Search(nn.Module):
    """Finds the best slots for queries of `width` numbers by product keys. (rows, width) -> (rows, chosen)."""

    def __init__(self, width: int, slots: int, chosen: int):
        super().__init__()
        self.chosen = chosen
        self.gate = ProductKeyGate(width // 2, keys=round(slots**0.5), heads=1, chosen=chosen)

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(x.view(len(x), 1, 2, -1)).index


class FlatSearch(Search):
    """Finds them by the scores of all slots, whose keys are all pairs of the same half keys."""

    def __init__(self, width: int, slots: int, chosen: int):
        super().__init__(width, slots, chosen)
        first, second = self.gate.weight.detach()[0]
        pairs = (first.repeat_interleave(len(second), 0), second.repeat(len(first), 1))
        self.keys = nn.Parameter(torch.cat(pairs, -1))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.keys.T).topk(self.chosen, -1).indices
