"""Does a head look at one token, at a few, or at all? How many patterns cover nine tenths of its attention.

A softmax over stored patterns comes to rest at a single pattern, at the average of a few that are alike (a metastable state)
or at the average of all. Which of these a head does is told by how many of its largest weights are needed for 90 %.

    k(query) = the smallest k whose k largest weights sum to `mass` or more,     k = the median over queries and inputs

Shapes of the answer: (layer, head); `share` says k as a share of the patterns there are: near 1 for an average of all, 1 / N
for a single pattern.

Source: "Hopfield Networks is All You Need" (P517), which classes the heads of BERT by it.
"""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.recording.batches import inputs_of, part_of, size_of
from labkit.recording.kinds import Attention
from labkit.recording.observe import observe


def metastability(model: nn.Module, batch: Any, *, mass: float = 0.9, inputs: int = 64) -> xr.DataArray:
    """How many patterns hold `mass` of the attention of each head, the median over queries and the first `inputs` inputs.

    Several calls of one block, as when a state is updated several times, are told apart by a number behind its name.

    Shapes: batch (x, ...) -> (layer, head), from 1 to the number of patterns; coordinate `patterns` (layer) says how many
    there are. NaN where a layer has fewer heads than others.
    Raises: NothingRecorded when the model has no attention that can be read; ValueError for a mass not between 0 and 1.
    """
    needed = _needed(model, batch, mass, inputs)
    rows = {name: one.double().quantile(0.5, 0).numpy() for name, (one, _) in needed.items()}
    sizes = [patterns for _, patterns in needed.values()]
    values = np.full((len(rows), max(len(row) for row in rows.values())), np.nan)
    for place, row in enumerate(rows.values()):
        values[place, : len(row)] = row
    return xr.DataArray(
        values,
        dims=("layer", "head"),
        coords={"layer": list(rows), "head": np.arange(values.shape[1]), "patterns": ("layer", sizes)},
        name="metastability",
        attrs={"long_name": f"patterns that hold {mass:.0%} of the attention", "units": "patterns"},
    )


def pattern_shares(model: nn.Module, batch: Any, *, mass: float = 0.9, inputs: int = 1024) -> xr.DataArray:
    """In what share of queries each head needs so many patterns for `mass` of its attention: (layer, head, held).

    The histogram behind `metastability`; `held` goes from 1 to the largest number of patterns of any layer.
    """
    needed = _needed(model, batch, mass, inputs)
    most, heads = max(size for _, size in needed.values()), max(one.shape[1] for one, _ in needed.values())
    values = np.full((len(needed), heads, most), np.nan)
    for place, (one, _) in enumerate(needed.values()):
        for head in range(one.shape[1]):
            values[place, head] = np.bincount(one[:, head].numpy() - 1, minlength=most) / len(one)
    return xr.DataArray(
        values,
        dims=("layer", "head", "held"),
        coords={"layer": list(needed), "head": np.arange(heads), "held": np.arange(1, most + 1)},
        name="pattern_shares",
        attrs={"long_name": f"how many patterns hold {mass:.0%} of the attention", "units": "share of queries"},
    )


def _needed(model: nn.Module, batch: Any, mass: float, inputs: int) -> dict[str, tuple[Tensor, int]]:
    """For each call of each attention, how many patterns every query needs (queries, heads), and how many there are."""
    if not 0 < mass <= 1:
        raise ValueError(f"metastability counts the patterns that hold a mass above 0 and at most 1, not {mass}.")
    few = part_of(batch, torch.arange(min(inputs, size_of(batch))))
    trace, found = observe(model, inputs_of(few), Attention), {}
    for name in trace:
        calls = trace.calls(name)
        for number, call in enumerate(calls):
            label = name if len(calls) == 1 else f"{name}, call {number}"
            each = covering(call.weights, mass).transpose(-1, -2)  # (..., queries, heads)
            found[label] = each.reshape(-1, each.shape[-1]), call.weights.shape[-1]
    return found


def covering(weights: Tensor, mass: float = 0.9) -> Tensor:
    """The smallest number of weights that sum to `mass` or more: (..., patterns), rows that sum to 1 -> (...)."""
    held = weights.double().sort(-1, descending=True).values.cumsum(-1)
    # Rounding must not ask for one more where the sum is the mass itself.
    return (held < mass - 1e-6).sum(-1) + 1


class _Attending(nn.Module):
    """One layer of self-attention, for the example."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


example = Example(_Attending, inputs=lambda seed: (torch.randn(3, 5, 8), torch.arange(3)))
