"""Which token looks at which: the attention weights of every head in every layer.

    A = softmax(Q Kᵀ / √d)          one row for each query, sums to 1 over the keys

Read from the running model, before dropout; where a model computes attention in one fused operation, the weights are
computed once more from the queries and keys that it was given, and the model's own answer stays as it is.

Source: "Attention Is All You Need" (Vaswani et al., 2017).
"""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from labkit.example import Example
from labkit.recording.batches import inputs_of, part_of, size_of
from labkit.recording.kinds import Attention
from labkit.recording.observe import observe

NUMBERS = 2**26
"""At most so many weights are kept: 256 MiB in float32."""


def attention_maps(model: nn.Module, batch: Any, *, inputs: int = 1) -> xr.DataArray:
    """The attention weights of the first `inputs` inputs, fewer where they would not fit into memory.

    Several calls of one block are told apart by a number behind its name. NaN where a layer has fewer heads or keys.

    Shapes: batch (x, ...) -> (input, layer, head, query, key), rows sum to 1.
    Raises: NothingRecorded when the model has no attention that can be read.
    """
    found: dict[str, np.ndarray] = {}
    taken = 0
    for place in range(min(inputs, size_of(batch))):
        trace = observe(model, inputs_of(part_of(batch, torch.tensor([place]))), Attention)
        for name in trace:
            for number, call in enumerate(trace.calls(name)):
                weights = call.weights.float().cpu().numpy().reshape(-1, *call.weights.shape[-3:])[:1]
                label = name if len(trace.calls(name)) == 1 else f"{name}, call {number}"
                found[label] = np.concatenate([found[label], weights]) if label in found else weights
        taken += 1
        if sum(one.size for one in found.values()) / taken * (taken + 1) > NUMBERS:
            break
    shape = tuple(max(sizes) for sizes in zip(*(one.shape for one in found.values())))
    values = np.full((shape[0], len(found), *shape[1:]), np.nan, dtype=np.float32)
    for layer, one in enumerate(found.values()):
        values[(slice(one.shape[0]), layer, *(slice(size) for size in one.shape[1:]))] = one
    dims = ("input", "layer", "head", "query", "key")
    labels = {dim: np.arange(size) for dim, size in zip(dims, values.shape)} | {"layer": list(found)}
    attrs = {"long_name": "attention weight", "units": "fraction", "inputs": f"{taken} of {size_of(batch)}"}
    return xr.DataArray(values, dims=dims, coords=labels, name="attention_maps", attrs=attrs)


class _Attending(nn.Module):
    """Two layers of self-attention, for the example."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.first(x, x, x, need_weights=False)[0]
        return x + self.second(x, x, x, need_weights=False)[0]


example = Example(_Attending, inputs=lambda seed: (torch.randn(3, 5, 8), torch.arange(3)))
