"""How much of the data each choice gets: the load of experts, leaves or neurons.

    load_i = mean over inputs of the weight with which i was chosen

Source: the leaf usage of "Fast Feedforward Networks" (P120).
"""

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.balance import shares
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.observe import observe


def choice_load(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """The share of inputs that each choice gets in evaluation, for every gate of the model.

    Shapes: batch (x, ...) -> (layer, choice), sums to 1 over choice; NaN where a layer has fewer choices.
    Raises: NothingRecorded when the model has no gate.
    """
    trace = observe(model, batch[0], Routing)
    loads = {name: sum(shares(call) for call in trace.calls(name)) / len(trace.calls(name)) for name in trace}
    widest = max(len(load) for load in loads.values())
    values = np.full((len(loads), widest), np.nan, dtype=np.float32)
    for row, load in zip(values, loads.values()):
        row[: len(load)] = load.numpy()
    return xr.DataArray(
        values,
        dims=("layer", "choice"),
        coords={"layer": list(loads), "choice": np.arange(widest)},
        name="leaf_load",
        attrs={"long_name": "share of inputs", "units": "fraction"},
    )


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
