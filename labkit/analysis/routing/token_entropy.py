"""How undecided the router was about each token, in bits: 0 a settled answer, 1 a coin toss between two choices.

    H_t = -Σ_i p_i(t) log2 p_i(t)

Symbols: p_i(t) how probable the router found choice i for token t, before the best were picked.

Source: router probabilities, after "A Review of Sparse Expert Models in Deep Learning" (P369).
"""

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.tree import TreeGate
from labkit.recording.routing_arrays import by_layer, routed
from labkit.recording.routings import Routings, bits, joined, probabilities


def token_entropy(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """The entropy of every token's probabilities; relaxed gates (trees) answer softly for this, without noise.

    Shapes: batch (x, ...) -> (layer, token) in bits; NaN where a layer's gate tells only whom it chose.
    Raises: NothingRecorded when the model has no gate.
    """
    return token_entropy_of(routed(model, batch, soft=True))


def token_entropy_of(routings: Routings) -> xr.DataArray:
    """The same from routings that were recorded before. Scores that are not shares of 1 go through a softmax."""
    rows = {}
    for name, routing in joined(routings).items():
        found = probabilities(routing)
        rows[name] = torch.full((len(routing.index),), torch.nan) if found is None else bits(found)
    return by_layer(
        rows, ("token",), name="token_entropy", says="entropy of the router's answer", units="bits", routings=routings
    )


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
