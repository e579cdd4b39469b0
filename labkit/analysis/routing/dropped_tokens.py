"""Which tokens nobody served: dropped by a gate with limited places, or that would be, if places were limited.

    capacity = ceil(factor · tokens · K / choices)

A choice serves at most `capacity` tokens. Places are given out by preference (all first choices before all second ones)
and within a preference in the order of the tokens, so that late tokens are the ones that are dropped.

Symbols: K how many are chosen for each token; factor 1 is just enough room if the load were even.

Source: the capacity factor, after "A Review of Sparse Expert Models in Deep Learning" (P369).
"""

import math

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.routing_arrays import by_layer, routed
from labkit.recording.routings import Routings, joined, ranked


def dropped_tokens(
    model: nn.Module, batch: tuple[Tensor, ...], *, capacity_factor: float | None = None
) -> xr.DataArray:
    """The tokens that got no choice at all in evaluation; with a factor, those that such a capacity would leave out.

    Shapes: batch (x, ...) -> (layer, token), 1 where a token is dropped; coordinate `lost` (layer, token) counts the
    places that a token lost, also where it kept others.
    Raises: NothingRecorded when the model has no gate; LabError for a factor that is not above 0.
    """
    return dropped_of(routed(model, batch), capacity_factor=capacity_factor)


def dropped_of(routings: Routings, *, capacity_factor: float | None = None) -> xr.DataArray:
    """The same from routings that were recorded before; index -1 is a place without a choice."""
    if capacity_factor is not None and not capacity_factor > 0:
        raise LabError(f"A capacity factor is a number above 0, not {capacity_factor}.")
    gone, lost = {}, {}
    for name, routing in joined(routings).items():
        index = routing.index if capacity_factor is None else served(routing, capacity_factor)
        gone[name], lost[name] = (index < 0).all(-1), (index < 0).sum(-1)
    says = "dropped" if capacity_factor is None else f"would be dropped at a capacity factor of {capacity_factor:g}"
    found = by_layer(gone, ("token",), name="dropped_tokens", says=says, units="0 or 1", routings=routings)
    places = by_layer(lost, ("token",), name="lost", says="places lost", units="places", routings=routings)
    return found.assign_coords(lost=(found.dims, places.values))


def served(routing: Routing, factor: float) -> Tensor:
    """The choices that are left of a flat routing when each serves at most its capacity: (tokens, K), -1 where none."""
    index, _ = ranked(routing)
    tokens, places = index.shape
    capacity = math.ceil(factor * tokens * places / routing.choices)
    queue = index.T.flatten()  # all first choices in the order of the tokens, then all second choices
    order = queue.argsort(stable=True)
    first = torch.searchsorted(queue[order].contiguous(), queue)
    turn = torch.empty_like(queue).index_copy_(0, order, torch.arange(len(queue))) - first
    kept = torch.where((turn < capacity) & (queue >= 0), queue, -1)
    return kept.view(places, tokens).T


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
