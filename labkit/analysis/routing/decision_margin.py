"""How clearly a tree decides: the histogram of |score| over the decisions that inputs really meet.

A decision with a score near 0 is a coin toss in training and turns into a plain yes or no in evaluation; the share
of such decisions is what the hardening gap is made of. At |score| = 4.6 the soft answer is 99 % sure.

Source: the hardening of "Fast Feedforward Networks" (P120).
"""

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.tree import Branching, TreeGate
from labkit.recording.observe import observe

EDGES = np.linspace(0, 10, 41)
"""Bin edges of |score|; what lies above the last one is counted in the last bin."""
NOTE = f"the last bar holds all above {EDGES[-2]:g}"


def decision_margin(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """The share of decisions on the inputs' own paths by their margin |score|, for every tree, in evaluation.

    Shapes: batch (x, ...) -> (layer, bin), sums to 1 over bin; `bin` holds the centres.
    Raises: NothingRecorded when the model has no tree.
    """
    trace = observe(model, batch[0], Branching)
    rows = []
    for name in trace:
        margins = torch.cat([call.scores.flatten() for call in trace.calls(name)]).abs().numpy()
        counts, _ = np.histogram(margins.clip(max=EDGES[-1]), EDGES)
        rows.append(counts / max(1, counts.sum()))
    return xr.DataArray(
        np.asarray(rows, dtype=np.float32),
        dims=("layer", "bin"),
        coords={"layer": list(trace), "bin": ("bin", (EDGES[1:] + EDGES[:-1]) / 2, {"note": NOTE})},
        name="margin",
        attrs={"long_name": "share of decisions", "units": "fraction"},
    )


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
