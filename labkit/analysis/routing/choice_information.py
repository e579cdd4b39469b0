"""How much the choice tells about the label, in bits, and how much of that is only the smallness of the sample.

    I = Σ_{i,c} p(i, c) log2 [ p(i, c) / (p(i) p(c)) ]

Symbols: p(i, c) the share of tokens of class c that went to choice i. On a finite sample I is above 0 even where the
choice has nothing to do with the label, and the more so the more choices and classes there are; therefore the same
number is computed again and again with the labels shuffled. Only what lies above the shuffles is specialisation.

Source: specialisation of experts, after "A Review of Sparse Expert Models in Deep Learning" (P369). The shuffled
baseline is the control.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.routing_arrays import by_layer, labelled, routed
from labkit.recording.routings import Routings, joined, only_rows, token_labels

AGAINST = ("labels", "shuffled", "shuffled high")
"""The labels themselves, the mean over the shuffles, and what 97.5 % of the shuffles stay below."""


def choice_information(
    model: nn.Module, batch: tuple[Tensor, Tensor], *, shuffles: int = 200, seed: int = 0
) -> xr.DataArray:
    """Mutual information of choice and label in evaluation, beside what shuffled labels give.

    Shapes: batch (x, labels), labels (inputs,) or (inputs, tokens) -> (layer, against) in bits.
    Raises: NothingRecorded when the model has no gate; LabError when the labels do not fit the tokens.
    """
    return information_of(routed(model, batch), labelled(batch), shuffles=shuffles, seed=seed)


def information_of(routings: Routings, labels: Tensor, *, shuffles: int = 200, seed: int = 0) -> xr.DataArray:
    """The same from routings that were recorded before. Tokens with a label below 0 are left out.

    Shuffles go over all tokens of a layer.
    """
    if shuffles < 1:
        raise LabError(f"The baseline needs at least one shuffle, not {shuffles}.")
    classes = int(labels.max()) + 1
    draws = torch.Generator().manual_seed(seed)
    rows = {}
    for name, routing, given in _labelled(routings, labels):
        count = _counter(routing, classes)
        chance = np.array(
            [_information(count(given[torch.randperm(len(given), generator=draws)])) for _ in range(shuffles)]
        )
        real = _information(count(given))
        rows[name] = np.array([real, chance.mean(), np.quantile(chance, 0.975)])
    found = by_layer(
        rows,
        ("against",),
        name="choice_information",
        says="information of the choice about the label",
        units="bits",
        routings=routings,
    )
    return found.assign_coords(against=list(AGAINST)).assign_attrs(shuffles=shuffles)


def contributions_of(routings: Routings, labels: Tensor, model: nn.Module | None = None) -> xr.DataArray:
    """What each choice adds to the information of its layer: its load times how far its classes differ from all.

        I_i = p(i) Σ_c p(c|i) log2 [ p(c|i) / p(c) ]

    Shapes: labels, one for each input or token -> (layer, choice) in bits, sums over choice to the mutual information.
    """
    classes = int(labels.max()) + 1
    rows = {name: _parts(_counter(routing, classes)(given)) for name, routing, given in _labelled(routings, labels)}
    return by_layer(
        rows,
        ("choice",),
        name="information_by_choice",
        says="information about the label",
        units="bits",
        routings=routings,
        model=model,
    )


def _labelled(routings: Routings, labels: Tensor):
    """Name, routing and labels of every layer, of the tokens that have a label."""
    for name, routing in joined(routings).items():
        given = token_labels(labels, routings, name)
        known = given >= 0
        yield name, only_rows(routing, known), given[known]


def _counter(routing: Routing, classes: int) -> Callable[[Tensor], Tensor]:
    """Labels (tokens,) -> the weight of each choice on each class, (choices, classes); made ready to be asked often."""
    kept = routing.index >= 0
    token = kept.nonzero()[:, 0]
    start, weights = routing.index[kept] * classes, routing.weights.double()[kept]

    def count(labels: Tensor) -> Tensor:
        cells = torch.bincount(start + labels[token], weights=weights, minlength=routing.choices * classes)
        return cells.view(routing.choices, classes)

    return count


def _information(table: Tensor) -> float:
    return float(_parts(table).sum())


def _parts(table: Tensor) -> Tensor:
    joint = table / table.sum()
    alone = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return torch.xlogy(joint, joint / alone.clamp_min(torch.finfo(joint.dtype).tiny)).sum(1) / math.log(2)


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
