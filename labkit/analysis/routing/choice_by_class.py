"""Which classes each choice serves: the joint share of inputs by choice and class.

    share_{ic} = (1/N) Σ_inputs [class = c] · weight with which i was chosen

Source: the leaf usage by class of "Fast Feedforward Networks" (P120).
"""

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.observe import observe


def choice_by_class(model: nn.Module, batch: tuple[Tensor, Tensor]) -> xr.DataArray:
    """The share of all inputs that have a class and went to a choice, for every gate, in evaluation.

    Shapes: batch (x, labels), one label for each routed row -> (layer, choice, class), sums to 1 in a layer.
    Raises: NothingRecorded when the model has no gate.
    """
    x, labels = batch
    trace = observe(model, x, Routing)
    classes = F.one_hot(labels.flatten()).float()
    tables = {}
    for name in trace:
        calls = [call.mixture().flatten(0, -2).float() for call in trace.calls(name)]
        tables[name] = sum(call.T @ classes for call in calls).numpy() / (len(calls) * len(classes))
    widest = max(len(table) for table in tables.values())
    values = np.full((len(tables), widest, classes.shape[1]), np.nan, dtype=np.float32)
    for row, table in zip(values, tables.values()):
        row[: len(table)] = table
    return xr.DataArray(
        values,
        dims=("layer", "choice", "class"),
        coords={"layer": list(tables), "choice": np.arange(widest), "class": np.arange(classes.shape[1])},
        name="leaf_by_class",
        attrs={"long_name": "share of all inputs", "units": "fraction"},
    )


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
