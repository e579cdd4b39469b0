"""Which choice each token was sent to, in every layer, with the weight it got there: the token strip.

Source: routing decisions token by token, after "A Review of Sparse Expert Models in Deep Learning" (P369).
"""

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.tree import TreeGate
from labkit.recording.routing_arrays import by_layer, choices_coord, routed
from labkit.recording.routings import Routings, common_noun, joined, ranked
from labkit.recording.tables import stacked

MOST = 8
"""How many of a token's choices are kept where nothing else is asked; a soft routing has as many as there are choices."""


def token_choices(model: nn.Module, batch: tuple[Tensor, ...], *, most: int = MOST) -> xr.DataArray:
    """The choices of every token in evaluation, best first.

    Shapes: batch (x, ...) -> (layer, token, rank) index of the choice, -1 where nothing was chosen; coordinates
    `weight` (layer, token, rank), NaN where a layer had no such token or place, and `choices` (layer), out of how many.
    Raises: NothingRecorded when the model has no gate.
    """
    return choices_of(routed(model, batch), model, most=most)


def choices_of(routings: Routings, model: nn.Module | None = None, *, most: int = MOST) -> xr.DataArray:
    """The same from routings that were recorded before; `choice` in the attributes says what is chosen."""
    index, weights = {}, {}
    for name, routing in joined(routings).items():
        best, share = ranked(routing)
        index[name], weights[name] = best[:, :most].numpy(), share[:, :most].numpy()
    noun = common_noun(routings, model)
    weight = by_layer(weights, ("token", "rank"), name="token_choices", says="", units="", routings=routings)
    found = weight.copy(data=stacked(index, fill=-1))
    found.attrs |= {"long_name": f"chosen {noun}", "choice": noun}
    return found.assign_coords(weight=(found.dims, weight.values), choices=choices_coord(routings))


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
