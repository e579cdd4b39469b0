"""What it costs and what it saves when fewer hidden units run: ways side by side on one model, and the clock beside the count.

`ways_compared` fits each way on one half of a batch and measures on the other: loss and accuracy, the share of the units that
take part, and the time of the feedforward layers. `speed_by_share` times one layer of a size of your choice, to find the share
from which on running fewer units is faster on this machine.

Times are of whole layers, with everything that deciding takes: both products, scores, routers. They are taken in turns with the
dense layer on one thread.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.parts.carved import DenseUnits
from labkit.parts.fewer_units import (
    BestUnits,
    EachInput,
    Experts,
    UnitsInOrder,
    UnitsOfEachInput,
    Way,
    active_share,
    keep,
)
from labkit.recording.batches import answer, evaluating, judged, part_of, size_of
from labkit.recording.dense_blocks import DenseBlock, dense_blocks
from labkit.recording.timing import SINGLE, side_by_side
from labkit.transforms.split.fewer_units import fewer_units

WAYS: Mapping[str, Way] = {
    "magnitude": EachInput("magnitude"),
    "WINA": EachInput("WINA"),
    "fixed units": BestUnits("output norm"),
    "experts": Experts(32, "co-activation", "network"),
    "random": EachInput("random", "top-k"),
}
TIMED: Mapping[str, Way] = {
    "fixed units": BestUnits("random"),
    "top-k of each input": EachInput("magnitude", "top-k"),
    "experts": Experts(32, "random", "mean key"),
}
LEVELS = (0.0, 0.25, 0.5, 0.625, 0.75, 0.875, 0.9375)
QUANTITIES = (
    "active fraction",
    "loss",
    "accuracy",
    "milliseconds",
    "dense milliseconds",
    "milliseconds of a batch",
    "dense milliseconds of a batch",
)
BATCH = 64
"""Rows that the layers are timed on at once."""


def ways_compared(
    model: nn.Module,
    batch: Any,
    ways: Mapping[str, Way] | None = None,
    *,
    levels: Sequence[float] = LEVELS,
    loss: Callable[[Any, Any], Tensor] | None = None,
    where: str = "*",
    seconds: float = 6.0,
    seed: int = 0,
) -> xr.DataArray:
    """Each way at each level, on inputs that it was not fitted on. -> (method, level, quantity), as `views.tradeoff` draws it.

    A level is the share of the units that should not run. The two halves are drawn by `seed`. Milliseconds are of one row, or of
    `attrs["batch"]` rows, summed over the layers; timing takes about `seconds`. Ways named "random" are not timed: drawing
    numbers is no part of what they show.
    Raises: LabError for fewer than 4 inputs, for levels outside 0 to below 1, and where no dense block fits `where`.
    """
    ways = WAYS if ways is None else ways
    if not levels or not all(0 <= level < 1 for level in levels):
        raise LabError(f"A level is the share of units that do not run, from 0 to below 1; given were {list(levels)}.")
    fitted, measured = halves(batch, seed)
    blocks = dense_blocks(model, measured, where)
    rows = {name: block.inputs[: max(BATCH, SINGLE)] for name, block in blocks.items()}
    share = seconds / (len(ways) * len(levels) * len(blocks))
    table = np.full((len(ways), len(levels), len(QUANTITIES)), np.nan, dtype=np.float32)
    limits = np.full((len(ways), len(levels)), np.nan)
    for row, (name, way) in enumerate(ways.items()):
        fewer = fewer_units(model, fitted, way=way, share=1.0, where=where, seed=seed).eval()
        layers = {one: _layer_of(fewer, block) for one, block in blocks.items()}
        for column, level in enumerate(levels):
            keep(fewer, 1 - level)
            with evaluating(fewer):
                said = judged(answer(fewer, measured), measured, loss)
                active = np.mean([active_share(layer, blocks[one].inputs) for one, layer in layers.items()])
            times = [np.nan] * 4 if name == "random" else _times(layers, blocks, rows, share)
            table[row, column] = [active, *said, *times]
            (only, *others) = layers.values()
            if not others and isinstance(only, UnitsOfEachInput) and only.by == "threshold":
                limits[row, column] = float(only.levels[round(level * (len(only.levels) - 1))])
    known = {"threshold": (("method", "level"), limits)} if np.isfinite(limits).any() else {}
    return xr.DataArray(
        table,
        dims=("method", "level", "quantity"),
        coords={
            "method": list(ways),
            "level": ("level", [float(level) for level in levels], {"long_name": "share of units that do not run"}),
            "quantity": list(QUANTITIES),
            **known,
        },
        name="ways_compared",
        attrs={
            "long_name": "what running fewer units costs and saves",
            "units": "fraction; nats; fraction; ms",
            "layers": ", ".join(blocks),
            "batch": BATCH,
            "sampled": f"fitted on {size_of(fitted):,} inputs, measured on {size_of(measured):,} others",
        },
    )


def speed_by_share(
    ways: Mapping[str, Way] | None = None,
    *,
    width: int = 768,
    units: int = 3072,
    activation: str = "relu",
    gated: bool = False,
    shares: Sequence[float] = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125),
    batches: Sequence[int] = (1, 8, 64),
    seconds: float = 6.0,
) -> xr.DataArray:
    """How many times as fast as dense a layer width -> units -> width runs, by way, rows at once and active share.

    Shapes: -> (arm, batch, active). Weights and inputs are drawn: what a layer says does not matter to the clock, only how many
    units take part, which is the same in each row. Experts are 32 with a linear router, fitted on nothing.
    """
    ways = TIMED if ways is None else ways
    chance = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance) / shape[-1] ** 0.5

    value = drawn(units, width) if gated else None
    dense = DenseUnits(activation, drawn(units, width), None, value, None, drawn(units, width), None)
    x = {count: torch.randn(count, width, generator=chance) for count in batches}
    plain = UnitsInOrder(dense, torch.arange(units), 1.0).eval()
    ratio = np.empty((len(ways), len(batches), len(shares)))
    for row, way in enumerate(ways.values()):
        layer = way.layer(dense, torch.randn(64, width, generator=chance), 1.0).eval()
        for column, share in enumerate(shares):
            keep(layer, share)
            for place, count in enumerate(batches):
                ours, theirs = _timed((partial(layer, x[count]), partial(plain, x[count])), seconds / ratio.size)
                ratio[row, place, column] = theirs / ours
    return xr.DataArray(
        ratio,
        dims=("arm", "batch", "active"),
        coords={
            "arm": list(ways),
            "batch": ("batch", list(batches), {"long_name": "inputs at once"}),
            "active": ("active", list(shares), {"long_name": "share of the units that run"}),
        },
        name="speed_by_share",
        attrs={"long_name": f"speed of a layer {width} to {units} to {width}", "units": "times as fast as dense"},
    )


def halves(batch: Any, seed: int = 0) -> tuple[Any, Any]:
    """What ways are fitted on, and what is measured. Raises: LabError for fewer than 4 inputs."""
    size = size_of(batch)
    if size < 4:
        raise LabError(
            f"Ways are fitted on one half of a batch and measured on the other: {size} inputs are too few, give 4 or more."
        )
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    return part_of(batch, order[: size // 2]), part_of(batch, order[size // 2 :])


def _layer_of(model: nn.Module, block: DenseBlock) -> nn.Module:
    """What was put in a block's place: see `labkit.recording.dense_blocks.replaced`."""
    return model.get_submodule(block.alone or block.down)


def _times(
    layers: Mapping[str, nn.Module], blocks: Mapping[str, DenseBlock], rows: Mapping[str, Tensor], seconds: float
) -> list[float]:
    """Milliseconds of one row and of a batch, each of the layer and of the dense one, summed over the layers."""
    times = []
    for name, layer in layers.items():
        units = blocks[name].units
        plain = UnitsInOrder(units, torch.arange(len(units.into)), 1.0).eval()
        single = list(rows[name][:SINGLE].split(1))
        acts = (
            lambda layer=layer, single=single: [layer(one) for one in single],
            lambda plain=plain, single=single: [plain(one) for one in single],
            lambda layer=layer, many=rows[name]: layer(many),
            lambda plain=plain, many=rows[name]: plain(many),
        )
        found = _timed(acts, seconds)
        times.append([found[0] / len(single), found[1] / len(single), found[2], found[3]])
    return np.sum(times, axis=0).tolist()


def _timed(acts: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    with torch.no_grad():
        return side_by_side(acts, seconds=seconds)
