"""A plain network of wide layers in which every weight matrix but the last is a slot, and what slots of low rank start as."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.layers.structured.low_rank_linear import LowRankLinear
from labkit.layers.structured.three_factor_linear import ThreeFactorLinear

Layer = Callable[[int, int], nn.Module]


class LowRankNetwork(nn.Module):
    """Slots in_width -> width -> ... -> width with a ReLU after each, then a dense layer to the classes.

    (rows, in_width) -> (rows, out_width). The last weight has few rows and stays dense.
    """

    def __init__(self, task, layer: Layer, *, width: int = 256, depth: int = 2):
        super().__init__()
        widths = [task.in_width] + [width] * depth
        self.slots = nn.ModuleList([layer(*pair) for pair in itertools.pairwise(widths)])
        self.out = nn.Linear(width, task.out_width)

    def forward(self, x: Tensor) -> Tensor:
        for slot in self.slots:
            x = F.relu(slot(x))
        return self.out(x)


def three_factors(rank: int, *, decay: float = 1.0, frozen: bool = False) -> Callable[[int, int], ThreeFactorLinear]:
    """Slots in three factors that start at this rank; with `frozen` their bases stay as they were drawn."""

    def build(in_width: int, out_width: int) -> ThreeFactorLinear:
        layer = ThreeFactorLinear(in_width, out_width, rank=rank, decay=decay)
        layer.left.requires_grad_(not frozen)
        layer.right.requires_grad_(not frozen)
        return layer

    return build


def two_factors(rank: int, *, decay: float = 1.0) -> Layer:
    """Slots in two factors with the same start as in three: the roots of the singular values in each of the two."""

    def build(in_width: int, out_width: int) -> LowRankLinear:
        start, layer = (
            three_factors(rank, decay=decay)(in_width, out_width),
            LowRankLinear(in_width, out_width, rank=rank),
        )
        roots = start.core.detach().sqrt()
        layer.down.data, layer.up.data = start.right.detach() @ roots, roots @ start.left.detach().T
        return layer

    return build


def core_of(slot: nn.Module) -> Tensor:
    """A small matrix with the singular values of a slot's weight; of a dense slot the weight itself."""
    if isinstance(slot, ThreeFactorLinear):
        return slot.core.detach()
    if isinstance(slot, LowRankLinear):
        return torch.linalg.qr(slot.down.detach())[1] @ torch.linalg.qr(slot.up.detach().T)[1].T
    weight: Tensor = slot.weight  # type: ignore[assignment]
    return weight.detach()


def singular_values(most: int, says: str) -> Callable[[LowRankNetwork, object], xr.DataArray]:
    """A probe of the largest singular values of every slot's weight: (weight, direction), empty beyond the rank."""

    def probe(model: LowRankNetwork, task) -> xr.DataArray:
        values = np.full((len(model.slots), most), np.nan)
        for place, slot in enumerate(model.slots):
            found = torch.linalg.svdvals(core_of(slot))[:most].numpy()
            values[place, : len(found)] = found
        return xr.DataArray(
            values,
            dims=("weight", "direction"),
            coords={"weight": [f"weight {place + 1}" for place in range(len(values))], "direction": np.arange(most)},
            attrs={"long_name": "singular values", "units": "times", "view": "heatmap", "says": says, "mean": "seeds"},
        )

    return probe
