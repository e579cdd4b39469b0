"""What if this token had gone elsewhere? One token of one layer is sent to every choice in turn.

    Δloss_e = loss(forced to e) - loss,      Δoutput_e = || output(forced to e) - output ||

The forced choice takes the place and the weight of the token's first choice; where several are chosen, the others stay.
All later layers see the change and may route differently. At the choice that the router took itself both are 0.

Symbols: loss that of the one input which holds the token, over all its labels; || || the Euclidean length over all
outputs of that input.

Source: a counterfactual of the router's decision; routing decisions as in "A Review of Sparse Expert Models in Deep
Learning" (P369).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.parts.experts import Experts
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.batches import answer, inputs_of, judged, part_of, scores_of, size_of
from labkit.recording.forcing import forcing
from labkit.recording.observe import observe
from labkit.recording.routing_arrays import routed
from labkit.recording.routings import first_choice, joined, noun_of

QUANTITIES = ("loss", "output")


def forced_choice(
    model: nn.Module,
    batch: Any,
    *,
    layer: str | None = None,
    token: int = 0,
    loss: Callable[[Any, Any], Tensor] | None = None,
) -> xr.DataArray:
    """How loss and output of a token's input change when the token is sent to each choice in turn, in evaluation.

    `layer` is a layer as recordings name it, by default the first that chooses; `token` counts as on the axis `token` of
    the other measurements. The input is run alone, so a gate with a capacity for the whole batch may answer otherwise.

    Shapes: batch (x, labels), `loss(output, batch)` by default the cross-entropy -> (choice, quantity). Coordinate
    `taken` (choice) is True for the choice the router made. The loss is NaN without labels.
    Raises: NothingRecorded when the model has no gate; LabError when there is no such layer or token, or when the
    layer's answer does not depend on what its gate says.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            return _measured(model, batch, layer, token, loss)
    finally:
        for module, mode in modes:
            module.training = mode


def _measured(model: nn.Module, batch: Any, layer: str | None, token: int, loss: Any) -> xr.DataArray:
    everywhere = routed(model, batch)
    layer = next(iter(everywhere)) if layer is None else layer
    if layer not in everywhere:
        raise LabError(f"{layer} chooses nothing; the layers that choose are: {', '.join(everywhere)}.")
    one, place = _alone(batch, everywhere, layer, token)
    here = joined(observe(model, inputs_of(one), Routing))[layer]
    before = answer(model, one)
    outputs, losses = scores_of(before).float(), judged(before, one, loss)[0]
    values = np.empty((here.choices, len(QUANTITIES)), dtype=np.float32)
    for choice in range(here.choices):
        with forcing(model, layer, place, choice):
            after = answer(model, one)
        values[choice] = judged(after, one, loss)[0] - losses, float((scores_of(after).float() - outputs).norm())
    if here.choices > 1 and not values[:, 1].any():
        raise LabError(f"Whatever {layer} says, the output stays the same: it only reports choices made elsewhere.")
    noun = noun_of(layer, model)
    taken = int(first_choice(here)[place])
    return xr.DataArray(
        values,
        dims=("choice", "quantity"),
        coords={
            "choice": ("choice", np.arange(here.choices), {"long_name": noun}),
            "quantity": list(QUANTITIES),
            "taken": ("choice", np.arange(here.choices) == taken),
            "unit": ("quantity", ["nats" if loss is None else "", "length"]),
        },
        name="forced_choice",
        attrs={"long_name": f"change when sent to this {noun}", "units": "", "layer": layer, "token": token},
    )


def _alone(batch: Any, everywhere: Any, layer: str, token: int) -> tuple[Any, int]:
    """The batch of the one input that holds the token, and the token's place among that input's tokens."""
    count, size = len(joined(everywhere)[layer].index), size_of(batch)
    if not 0 <= token < count:
        raise LabError(f"{layer} routes tokens 0 to {count - 1}; there is no token {token}.")
    positions, extent = getattr(everywhere, "positions", None), getattr(everywhere, "extent", None)
    if positions is not None:
        token, count = positions[token], int(np.prod(extent))
    if count % size:
        raise LabError(f"{layer} routes {count} tokens of {size} inputs: which token is of which input is not known.")
    each = count // size
    return part_of(batch, torch.tensor([token // each])), token % each


class _Small(nn.Module):
    """A gate and four experts."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.leaves = TreeGate(4, depth=2), Experts(4, 4, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.leaves(x, self.gate(x))


example = Example(_Small, inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
