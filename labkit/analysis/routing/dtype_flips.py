"""Which tokens go elsewhere when only the number format changes; the same comparison serves for steps and seeds.

A router turns a difference in the last digit into another expert, whose answer is quite another one, and every later
layer sees that. A flip is a token whose first choice differs between two recordings of the same tokens.

Experts have no names: two models trained from different seeds number them differently. `matched` therefore renumbers
the second recording's choices, layer by layer, in the way that agrees most with the first.

Source: router-decision churn, after "A Review of Sparse Expert Models in Deep Learning" (P369).
"""

import copy
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.parts.assignment import best_assignment
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.routing_arrays import by_layer, routed
from labkit.recording.routings import Routings, first_choice, joined, ranked


def dtype_flips(model: nn.Module, batch: tuple[Tensor, ...], *, dtype: torch.dtype = torch.bfloat16) -> xr.DataArray:
    """The tokens whose first choice changes when a copy of the model runs in `dtype`, in evaluation.

    Shapes: batch (x, ...) -> (layer, token), 1 where it flips.
    Raises: NothingRecorded when the model has no gate.
    """
    recast = copy.deepcopy(model).to(dtype)
    found = choice_flips(routed(model, batch), routed(recast, _recast(batch, dtype)))
    found.attrs["between"] = f"{_format(model)} and {str(dtype).removeprefix('torch.')}"
    return found


def choice_flips(first: Routings, second: Routings, *, matched: bool = False, any_place: bool = False) -> xr.DataArray:
    """Where two recordings of the same tokens differ: two steps, two seeds (`matched`), two number formats.

    Compares first choices, or, with `any_place`, whether the same choices were taken whatever their order.

    Shapes: -> (layer, token), 1 where a token went elsewhere, 0 where not.
    Raises: LabError when layers, choices or tokens differ, or when a recording does not know which choice was first.
    """
    if not any_place and not all(getattr(each, "ordered", True) for each in (first, second)):
        raise LabError(
            "A recording does not say which of a token's choices was the first: compare with any_place=True."
        )
    one, two = joined(first), joined(second)
    if list(one) != list(two):
        raise LabError(f"The recordings have different layers: {', '.join(one)} and {', '.join(two)}.")
    rows = {}
    for name, here in one.items():
        there = two[name]
        _fits(name, here, there)
        if matched:
            there = _renumbered(here, there)
        rows[name] = _sets_differ(here, there) if any_place else first_choice(here) != first_choice(there)
    what = "another set of choices" if any_place else "another first choice"
    return by_layer(rows, ("token",), name="choice_flips", says=what, units="0 or 1", routings=first)


def flip_shares(recordings: Mapping[int, Routings]) -> xr.DataArray:
    """How much of the routing changed from one recorded step to the next, the tokens being the same at every step.

    Shapes: step -> routings of the same tokens -> (step, layer) share of tokens; a step is compared with the one before.
    """
    steps = sorted(recordings)
    if len(steps) < 2:
        raise LabError(f"Flips over training need recordings of at least two steps, not {len(steps)}.")
    shares = [choice_flips(recordings[a], recordings[b]).mean("token") for a, b in pairwise(steps)]
    found = xr.concat(shares, xr.IndexVariable("step", steps[1:]))
    return found.rename("choice_flips").assign_attrs(long_name="share of tokens that went elsewhere", units="fraction")


def _fits(name: str, here: Routing, there: Routing) -> None:
    if here.choices != there.choices:
        raise LabError(f"{name} chooses among {here.choices} in one recording and {there.choices} in the other.")
    if len(here.index) != len(there.index):
        raise LabError(
            f"{name} routed {len(here.index)} tokens in one recording and {len(there.index)} in the other: record "
            "the same inputs twice."
        )


def _sets_differ(here: Routing, there: Routing) -> Tensor:
    sets = [
        torch.zeros(len(each.index), each.choices + 1, dtype=torch.bool).scatter_(1, each.index + 1, True)[:, 1:]
        for each in (here, there)
    ]
    return (sets[0] != sets[1]).any(-1)


def _renumbered(here: Routing, there: Routing) -> Routing:
    """`there` with its choices renumbered so that as many tokens as possible agree with `here`."""
    agreement = np.zeros((there.choices, here.choices))
    one, two = first_choice(here).numpy(), first_choice(there).numpy()
    both = (one >= 0) & (two >= 0)
    np.add.at(agreement, (two[both], one[both]), 1)
    names = torch.from_numpy(best_assignment(-agreement))
    index, weights = ranked(there)
    return Routing(torch.where(index >= 0, names[index.clamp_min(0)], -1), weights, there.choices)


def _recast(value: Any, dtype: torch.dtype) -> Any:
    """The batch with its real numbers in another format; whole numbers and masks stay."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: _recast(part, dtype) for key, part in value.items()}
    return tuple(_recast(part, dtype) for part in value) if isinstance(value, tuple) else value


def _format(model: nn.Module) -> str:
    return next((str(part.dtype).removeprefix("torch.") for part in model.parameters()), "no parameters")


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
