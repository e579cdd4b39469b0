"""How much of the data each choice gets: the load of experts, leaves, slots or neurons.

    load_i = mean over inputs of the weight with which i was chosen

Source: the leaf usage of "Fast Feedforward Networks" (P120).
"""

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.tree import TreeGate
from labkit.recording.routing_arrays import by_layer, routed
from labkit.recording.routings import Routings, joined, loads


def choice_load(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """The share of inputs that each choice gets in evaluation, for every gate of the model.

    Shapes: batch (x, ...) -> (layer, choice), sums to 1 over choice, or to less where a gate weighs what it chose by
    less than 1; NaN where a layer has fewer choices.
    Raises: NothingRecorded when the model has no gate.
    """
    return load_of(routed(model, batch), model)


def load_of(routings: Routings, model: nn.Module | None = None) -> xr.DataArray:
    """The same from routings that were recorded before; the model, where it is at hand, only gives the choices a word.

    Shapes: -> (layer, choice); a layer sums to less than 1 where tokens were dropped.
    """
    rows = {name: loads(routing) for name, routing in joined(routings).items()}
    return by_layer(
        rows, ("choice",), name="leaf_load", says="share of inputs", units="fraction", routings=routings, model=model
    )


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
