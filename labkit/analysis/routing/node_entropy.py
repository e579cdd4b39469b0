"""How undecided each node of a tree is: 1 bit is a coin toss, 0 a settled answer.

    H_n = mean over inputs of -c log2 c - (1 - c) log2 (1 - c),      c = σ(s_n)

Source: the hardening of "Fast Feedforward Networks" (P120).
"""

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.relaxation import binary_entropy
from labkit.parts.tree import Branching, TreeGate
from labkit.recording.observe import observe


def node_entropy(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """The mean entropy in bits of each node's soft decision over the batch; NaN for a node that no input met.

    Shapes: batch (x, ...) -> (layer, node); NaN also where a layer has fewer nodes.
    Raises: NothingRecorded when the model has no tree.
    """
    trace = observe(model, batch[0], Branching, soft=True)
    rows = {}
    for name in trace:
        calls: list[Branching] = trace.calls(name)
        node = torch.cat([call.node.flatten() for call in calls])
        bits = torch.cat([binary_entropy(call.scores).flatten() for call in calls]) / math.log(2)
        total = torch.zeros(calls[0].nodes).index_add_(0, node, bits.float())
        rows[name] = (total / torch.bincount(node, minlength=calls[0].nodes)).numpy()
    widest = max(len(row) for row in rows.values())
    values = np.full((len(rows), widest), np.nan, dtype=np.float32)
    for place, row in zip(values, rows.values()):
        place[: len(row)] = row
    return xr.DataArray(
        values,
        dims=("layer", "node"),
        coords={"layer": list(rows), "node": np.arange(widest)},
        name="node_entropy",
        attrs={"long_name": "entropy of the decision", "units": "bits"},
    )


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
