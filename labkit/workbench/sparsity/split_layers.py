"""What is left of a model whose feedforward layers are split and squeezed, and whether the same units are heavy everywhere.

All ways of a table take equally much: the same number of weights, or the same number of bits. `heavy` is the share of the units
that is kept exactly; 0 is the whole layer squeezed alike.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from labkit.parts.unit_scores import unit_scores
from labkit.recording.batches import answer, judged
from labkit.recording.dense_blocks import dense_blocks
from labkit.recording.timing import side_by_side
from labkit.transforms.split.split_heavy_hitters import split_heavy_hitters
from labkit.workbench.pretrained.load import pretrained
from labkit.workbench.sparsity.ways_compared import halves

HEAVY = 0.1
"""The share of heavy units beside factors of low rank, unless told otherwise."""
LOW_RANK: Mapping[str, Mapping[str, Any]] = {
    "heavy, rest low rank": {},
    "all low rank": {"heavy": 0.0},
    "random, rest low rank": {"score": "random"},
    "by weights, rest low rank": {"score": "weights"},
    "by activity, rest low rank": {"score": "how active"},
    "heavy, rest pruned": {"rest": "pruned"},
}
"""Settings of `split_heavy_hitters`, by name."""
ROUNDING: Mapping[str, Mapping[str, Any]] = {
    "heavy, rest rounded": {},
    "all rounded": {"heavy": 0.0},
    "random, rest rounded": {"score": "random"},
    "by weights, rest rounded": {"score": "weights"},
}
FIRST_HALF = 50
"""Halves of pretrained models' inputs in studies are drawn from this seed on: earlier ones were looked at while building."""
QUANTITIES = ("loudest of a place", "norm of the heavy", "same on other inputs")


def heavy_for(bits: int, units: int) -> float:
    """The share of units in 16 bits beside which the others, with one bit less each, take `bits` on average or less."""
    return int(units * 1 / (16 - bits + 1)) / units


@torch.no_grad()
def left_of_split(
    model: nn.Module, fitted: Any, measured: Any, ways: Sequence[Mapping[str, Any]], *, loss: Any = None, seed: int = 0
) -> list[tuple[float, float]]:
    """Loss and accuracy of the model for each set of settings of `split_heavy_hitters`."""
    whole = copy.deepcopy(model).eval()
    split = (split_heavy_hitters(whole, fitted, seed=seed, **settings) for settings in ways)
    return [judged(answer(one, measured), measured, loss) for one in split]


def low_rank_table(
    model: nn.Module,
    fitted: Any,
    measured: Any,
    sizes: Sequence[float],
    *,
    heavy: float = HEAVY,
    loss: Any = None,
    seed: int = 0,
) -> xr.DataArray:
    """Loss and accuracy by way and by how many of the weights are left. -> (way, size, quantity), size 1 the whole model."""

    def settings(way: str, size: float) -> dict[str, Any]:
        given: dict[str, Any] = {"heavy": heavy, "size": size, **LOW_RANK[way]}
        return given | ({"heavy": size} if given.get("rest") == "pruned" else {})

    return _table(model, fitted, measured, LOW_RANK, "size", sizes, settings, loss, seed)


def rounding_table(
    model: nn.Module, fitted: Any, measured: Any, bits: Sequence[int], *, units: int, loss: Any = None, seed: int = 0
) -> xr.DataArray:
    """Loss and accuracy by way and by the bits of a weight on average. -> (way, bits, quantity), 16 the whole model."""

    def settings(way: str, many: float) -> dict[str, Any]:
        given = {"heavy": heavy_for(int(many), units), "size": many / 16, "rest": "quantised"}
        return given | dict(ROUNDING[way])

    return _table(model, fitted, measured, ROUNDING, "bits", bits, settings, loss, seed)


def _table(
    model: nn.Module,
    fitted: Any,
    measured: Any,
    ways: Mapping[str, Any],
    axis: str,
    places: Sequence[float],
    settings: Callable[[str, float], dict[str, Any]],
    loss: Any,
    seed: int,
) -> xr.DataArray:
    table = np.empty((len(ways), len(places) + 1, 2))
    with torch.no_grad():
        table[:, 0] = judged(answer(copy.deepcopy(model).eval(), measured), measured, loss)
    asked = [settings(way, place) for way in ways for place in places]
    table[:, 1:] = np.array(left_of_split(model, fitted, measured, asked, loss=loss, seed=seed)).reshape(
        len(ways), len(places), 2
    )
    whole, says = (1.0, "share of the weights that is left") if axis == "size" else (16, "bits of a weight, on average")
    return xr.DataArray(
        table,
        dims=("way", axis, "quantity"),
        coords={
            "way": list(ways),
            axis: (axis, [whole, *places], {"long_name": says}),
            "quantity": ["loss", "accuracy"],
        },
        attrs={"long_name": "what is left", "units": "nats; fraction"},
    )


@torch.no_grad()
def steadiness(model: nn.Module, fitted: Any, measured: Any, *, share: float = HEAVY) -> xr.DataArray:
    """Whether the units that are heavy on some inputs are so on others. -> (part, quantity)

    "loudest of a place": of the units that add most at a place of `measured`, the share that is heavy on `fitted`; by chance it
    would be `share`. "norm of the heavy": how much of Σ E‖a_u w_u‖ comes from them. "same on other inputs": how many of the heavy
    units of `fitted` are heavy on `measured`.
    """
    rows, first, second = [], dense_blocks(model, fitted), dense_blocks(model, measured)
    for name, block in first.items():
        units, count = block.units, max(1, round(share * len(block.units.into)))
        one, other = (unit_scores(units, inputs) for inputs in (block.inputs, second[name].inputs))
        heavy, again = (
            torch.zeros_like(one, dtype=torch.bool).index_fill_(0, s.topk(count).indices, True) for s in (one, other)
        )
        each = units.hidden(second[name].inputs).abs() * units.out.norm(dim=1)
        there = heavy[each.topk(count, dim=1).indices].float().mean()
        rows.append([float(there), float(other[heavy].sum() / other.sum()), float((heavy & again).sum() / count)])
    return xr.DataArray(
        np.array(rows),
        dims=("part", "quantity"),
        coords={"part": [f"layer {at + 1}" for at in range(len(rows))], "quantity": list(QUANTITIES)},
        attrs={"long_name": f"the heaviest {share:.0%} of the units", "units": "share"},
    )


def steady_in_others(models: Sequence[str], seeds: int) -> xr.DataArray:
    """`steadiness`, mean over the layers, of pretrained models on halves of their inputs. -> (seed, model, quantity)"""
    table = []
    for seed in range(seeds):
        known = [pretrained(name) for name in models]
        found = [steadiness(one.model, *halves(one.batch, FIRST_HALF + seed)).mean("part") for one in known]
        table.append(np.stack([one.values for one in found]))
    return xr.DataArray(
        np.stack(table),
        dims=("seed", "model", "quantity"),
        coords={"seed": list(range(seeds)), "model": list(models), "quantity": list(QUANTITIES)},
        attrs={
            "long_name": f"models of others: the heaviest {HEAVY:.0%} of the units",
            "units": "share",
            "view": "heatmap",
            "mean": "seeds",
            "says": "Models that nobody trained for this, scored on one half of their inputs and looked at on the other. Units "
            "that write much on average need not be the loudest at a given place: some are loud rarely, and then very.",
        },
    )


def squeezed_other(name: str, size: float, ways: Mapping[str, float], seeds: int) -> xr.DataArray:
    """Loss of a pretrained model, its rest of low rank, by the share of heavy units, on halves of its inputs. -> (seed, way)"""
    known, asked = pretrained(name), [{"heavy": share, "size": size} for share in ways.values()]
    table = [
        left_of_split(known.model, *halves(known.batch, FIRST_HALF + seed), asked, loss=known.loss)
        for seed in range(seeds)
    ]
    return xr.DataArray(
        np.array(table)[..., 0],
        dims=("seed", "way"),
        coords={"seed": list(range(seeds)), "way": list(ways)},
        attrs={"long_name": f"pretrained {name}: loss at {size:.1%}", "units": "nats"},
    )


def norms_in_order(model: nn.Module, batch: Any, *, places: int = 65) -> xr.DataArray:
    """What each unit adds to the answer on average, heaviest first, in multiples of the mean. -> (arm, units), an arm a block.

    `units` is a share of the units of a block, so that blocks of other widths can be laid over it.
    """
    found = {name: unit_scores(block.units, block.inputs) for name, block in dense_blocks(model, batch).items()}
    shares = np.linspace(0, 1, places)
    rows = []
    for one in found.values():
        order = (one / one.mean()).sort(descending=True).values.numpy()
        rows.append(order[(shares * (len(order) - 1)).round().astype(int)])
    return xr.DataArray(
        np.stack(rows),
        dims=("arm", "units"),
        coords={"arm": list(found), "units": ("units", shares, {"long_name": "share of the units, heaviest first"})},
        attrs={"long_name": "what a unit adds", "units": "times the mean"},
    )


def times_of_split(width: int, units: int, size: float, batches: Sequence[int], repeats: int) -> xr.DataArray:
    """How many times as fast as dense a split layer width -> units -> width runs, by way. -> (timed, batch, repeat)"""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, units), nn.GELU(), nn.Linear(units, width)).eval()
    x = {count: torch.randn(count, width) for count in batches}
    asked = {"heavy, rest low rank": HEAVY, "all low rank": 0.0}
    split = {
        name: split_heavy_hitters(model, x[max(batches)], heavy=heavy, size=size).eval()
        for name, heavy in asked.items()
    }
    table = np.empty((len(split), len(batches), repeats))
    for (row, one), (place, count), repeat in (
        (pair, batch, repeat)
        for pair in enumerate(split.values())
        for batch in enumerate(batches)
        for repeat in range(repeats)
    ):
        with torch.no_grad():
            ours, theirs = side_by_side((lambda one=one, x=x[count]: one(x), lambda x=x[count]: model(x)), seconds=0.03)
        table[row, place, repeat] = theirs / ours
    return xr.DataArray(
        table,
        dims=("timed", "batch", "repeat"),
        coords={"timed": list(split), "batch": ("batch", list(batches), {"long_name": "inputs at once"})},
        attrs={"long_name": f"speed of a layer {width} to {units} to {width}", "units": "times as fast as dense"},
    )
