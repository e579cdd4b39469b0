"""How far the best choice lies ahead of the second: the histogram of p1 - p2 over the tokens.

A token with a margin near 0 goes elsewhere when a weight, a seed or the number format changes a little; routing
amplifies such tokens, because the other expert's answer is a different one.

Symbols: p1 and p2 the largest and the second largest probability that the router gives to a token.

Source: router probabilities, after "A Review of Sparse Expert Models in Deep Learning" (P369).
"""

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.routing_arrays import by_layer, routed
from labkit.recording.routings import Routings, joined, probabilities

EDGES = np.linspace(0, 1, 21)
"""Bin edges of p1 - p2."""


def choice_margin(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """The share of tokens by their margin; relaxed gates (trees) answer softly for this, without noise.

    Shapes: batch (x, ...) -> (layer, bin), sums to 1 over bin; `bin` holds the centres. NaN where a layer's gate tells
    only whom it chose.
    Raises: NothingRecorded when the model has no gate.
    """
    return margin_of(routed(model, batch, soft=True))


def margin_of(routings: Routings) -> xr.DataArray:
    """The same from routings that were recorded before."""
    rows = {}
    for name, routing in joined(routings).items():
        margins = margins_of(routing)
        counts, _ = np.histogram(margins, EDGES)
        rows[name] = counts / len(margins) if len(margins) else np.full(len(EDGES) - 1, np.nan)
    found = by_layer(rows, ("bin",), name="choice_margin", says="share of tokens", units="fraction", routings=routings)
    return found.assign_coords(bin=("bin", (EDGES[1:] + EDGES[:-1]) / 2, {"long_name": "lead of the best choice"}))


def margins_of(routing: Routing) -> np.ndarray:
    """p1 - p2 of every token of a flat routing, (tokens,); empty where the probabilities are not known."""
    found = probabilities(routing)
    if found is None:
        return np.empty(0)
    best = torch.nn.functional.pad(found, (0, max(0, 2 - found.shape[-1]))).topk(2, -1).values
    return (best[:, 0] - best[:, 1]).clamp(0, 1).numpy()


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
