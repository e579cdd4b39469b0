"""Which classes each choice serves: the joint share of inputs by choice and class.

    share_{ic} = (1/N) Σ_inputs [class = c] · weight with which i was chosen

Source: the leaf usage by class of "Fast Feedforward Networks" (P120).
"""

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.tree import TreeGate
from labkit.recording.routing_arrays import by_layer, labelled, routed
from labkit.recording.routings import Routings, joined, label_table, token_labels


def choice_by_class(model: nn.Module, batch: tuple[Tensor, Tensor]) -> xr.DataArray:
    """The share of all inputs that have a class and went to a choice, for every gate, in evaluation.

    Shapes: batch (x, labels), labels (inputs,) or (inputs, tokens) -> (layer, choice, class), sums to 1 in a layer.
    Raises: NothingRecorded when the model has no gate; LabError when the labels do not fit the tokens.
    """
    return by_class_of(routed(model, batch), labelled(batch), model)


def by_class_of(routings: Routings, labels: Tensor, model: nn.Module | None = None) -> xr.DataArray:
    """The same from routings that were recorded before. Labels below 0 are left out.

    Shapes: labels, one for each input or for each token -> (layer, choice, class).
    """
    classes = int(labels.max()) + 1
    rows = {}
    for name, routing in joined(routings).items():
        table = label_table(routing, token_labels(labels, routings, name), classes)
        rows[name] = table / (token_labels(labels, routings, name) >= 0).sum().clamp_min(1)
    return by_layer(
        rows,
        ("choice", "class"),
        name="leaf_by_class",
        says="share of all inputs",
        units="fraction",
        routings=routings,
        model=model,
    )


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
