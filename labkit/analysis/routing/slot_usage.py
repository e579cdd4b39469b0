"""How well a memory uses its slots: how many are read at all, how evenly, and how often two inputs meet in one.

    used share  = share of slots that at least one input read
    KL          = Σ_s z_s ln(z_s S),         z_s share of all reading weight that fell on slot s
    collisions  = chance that one read each of two different inputs is of the same slot

Symbols: S slots. KL is 0 when all slots are read alike, ln S when everything is read from one; collisions are then 1/S
and 1.

Source: memory usage and its divergence from uniform are how product-key memories are judged; product-key memory is
treated beside mixtures in "Approximating Two-Layer Feedforward Networks for Efficient Transformers" (P122). The
definition of collisions is ours.
"""

import math

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.routing_arrays import by_layer, routed
from labkit.recording.routings import Routings, joined, loads

QUANTITIES = ("used share", "KL from uniform", "collisions")


def slot_usage(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """How the slots of every memory (the choices of every gate) are used in evaluation.

    Shapes: batch (x, ...) -> (layer, quantity). Collisions are NaN for fewer than two inputs.
    Raises: NothingRecorded when the model has no gate.
    """
    return slot_usage_of(routed(model, batch))


def slot_usage_of(routings: Routings) -> xr.DataArray:
    """The same from routings that were recorded before; with several heads each head's query counts as an input."""
    rows = {}
    for name, routing in joined(routings).items():
        share = loads(routing)
        used = (share > 0).double().mean()
        share = share / share.sum()
        divergence = torch.xlogy(share, share * routing.choices).sum()
        rows[name] = torch.stack([used, divergence, _collisions(routing)])
    found = by_layer(
        rows, ("quantity",), name="slot_usage", says="use of the slots", units="fraction; nats", routings=routings
    )
    return found.assign_coords(quantity=list(QUANTITIES), unit=("quantity", ["fraction", "nats", "fraction"]))


def _collisions(routing: Routing) -> Tensor:
    """Reads that different inputs have in common, of all pairs of reads of different inputs."""
    kept = routing.index >= 0
    reads = kept.sum(-1)
    inputs = int((reads > 0).sum())
    if inputs < 2:
        return torch.tensor(math.nan, dtype=torch.float64)
    share = (kept / reads.clamp_min(1).unsqueeze(-1)).double()
    once = torch.bincount(routing.index[kept], weights=share[kept], minlength=routing.choices)
    row = torch.arange(len(reads)).unsqueeze(-1).expand_as(routing.index)
    cell, place = torch.unique(row[kept] * routing.choices + routing.index[kept], return_inverse=True)
    own = torch.zeros(len(cell), dtype=torch.float64).index_add_(0, place, share[kept])
    return ((once**2).sum() - (own**2).sum()) / (inputs * (inputs - 1))


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
