"""How many choices a layer really uses, in bits: the entropy of its load.

    H = -Σ_i load_i log2 load_i

Symbols: load_i share of choice i of all that was chosen. H is log2(choices) where all are used alike, 0 where one takes
everything; 2^H is the number of choices that would, used alike, spread the inputs as widely.

Source: load entropy, after "A Review of Sparse Expert Models in Deep Learning" (P369).
"""

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.tree import TreeGate
from labkit.recording.routing_arrays import by_layer, routed
from labkit.recording.routings import Routings, bits, joined, loads


def choice_entropy(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """The entropy of each layer's load in evaluation.

    Shapes: batch (x, ...) -> (layer,) in bits.
    Raises: NothingRecorded when the model has no gate.
    """
    return entropy_of(routed(model, batch))


def entropy_of(routings: Routings) -> xr.DataArray:
    """The same from routings that were recorded before; NaN for a layer in which nothing was chosen."""
    rows = {name: bits(loads(routing)) for name, routing in joined(routings).items()}
    return by_layer(rows, (), name="choice_entropy", says="entropy of the load", units="bits", routings=routings)


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
