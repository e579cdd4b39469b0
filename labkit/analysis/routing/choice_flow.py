"""Where the tokens of one layer's choices go in the next layer: the flow between experts, as a Sankey diagram shows it.

    flow_{ij} = mean over tokens of a_i(t) · b_j(t)

Symbols: a_i(t) the weight of choice i for token t in one layer, b_j(t) that of choice j in the next; with one chosen per
token it is the share of tokens that took i and then j. The sums over j are the load of i, the sums over i that of j.

Source: paths through sparse layers, after "A Review of Sparse Expert Models in Deep Learning" (P369).
"""

from itertools import pairwise

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.routing_arrays import notes, routed
from labkit.recording.routings import Routings, calls_of, common_noun, joined

PIECE = 8192
"""Tokens that are multiplied out at a time."""


def choice_flow(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """The share of tokens that take one choice and then another in the next layer, in evaluation.

    Shapes: batch (x, ...) -> (between, from, to); NaN where a layer has fewer choices.
    Raises: NothingRecorded when the model has no gate; LabError for a single layer, or where successive layers do not
    see the same tokens.
    """
    return flow_of(routed(model, batch), model)


def flow_of(routings: Routings, model: nn.Module | None = None) -> xr.DataArray:
    """The same from routings that were recorded before."""
    flat = joined(routings)
    if len(flat) < 2:
        raise LabError(f"A flow needs two layers that choose; this recording has only {next(iter(flat))}.")
    if not getattr(routings, "aligned", True):
        raise LabError(
            "The layers of this recording did not see the same tokens in the same order, so nothing flows from one "
            "to the next: open the part of it in which they did (one rank, or one step)."
        )
    between = list(pairwise(flat))
    for one, two in between:
        _fits(routings, one, two)
    widest = max(routing.choices for routing in flat.values())
    values = np.full((len(between), widest, widest), np.nan, dtype=np.float32)
    for place, (one, two) in zip(values, between):
        table = _table(flat[one], flat[two])
        place[: len(table), : table.shape[1]] = table.numpy()
    choice = {"long_name": common_noun(routings, model)}
    return xr.DataArray(
        values,
        dims=("between", "from", "to"),
        coords={
            "between": [f"{one} -> {two}" for one, two in between],
            "from": ("from", np.arange(widest), choice),
            "to": ("to", np.arange(widest), choice),
        },
        name="choice_flow",
        attrs={"long_name": "share of tokens", "units": "fraction"} | notes(routings),
    )


def _fits(routings: Routings, one: str, two: str) -> None:
    here, there = ([call.index.shape[:-1] for call in calls_of(routings, name)] for name in (one, two))
    if len(here) != len(there) or not all(_alike(*pair) for pair in zip(here, there)):
        raise LabError(
            f"{one} and {two} do not see the same tokens ({_shapes(here)} and {_shapes(there)}), so nothing flows from "
            "one to the other."
        )


def _alike(here: torch.Size, there: torch.Size) -> bool:
    """Whether two shapes hold the same tokens: the same shape, or one of them flattened."""
    return here.numel() == there.numel() and (here == there or min(len(here), len(there)) <= 1)


def _shapes(calls: list[torch.Size]) -> str:
    return ", ".join(" x ".join(map(str, shape)) or "one" for shape in calls[:3]) + (" ..." if len(calls) > 3 else "")


def _table(one: Routing, two: Routing) -> Tensor:
    total = torch.zeros(one.choices, two.choices, dtype=torch.float64)
    for start in range(0, len(one.index), PIECE):
        here, there = (
            Routing(each.index[start : start + PIECE], each.weights[start : start + PIECE], each.choices).mixture()
            for each in (one, two)
        )
        total += (here.T @ there.to(here.dtype)).double()
    return total / max(1, len(one.index))


example = Example(
    lambda: nn.Sequential(_Passing(), _Passing()),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)


class _Passing(nn.Module):
    """A gate that routes what passes through it and leaves it as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = TreeGate(4, depth=2)

    def forward(self, x: Tensor) -> Tensor:
        self.gate(x)
        return x
