"""Turns the feedforward layers of a trained model into mixtures of experts without a new weight in them.

The hidden units of a layer are divided into experts of one size; a router names the experts that an input needs, and the
others do not run:

    y = Σ_{e chosen} Σ_{u in e} φ(k_u · x + c_u) w_u + b,         experts chosen by a guess at    m_e(x) = Σ_{u in e} |a_u|

Symbols: u a hidden unit, k_u, c_u, w_u its weights, a_u what it says, e an expert, m_e its activation mass.

Which units belong together (`split`):
    "weights"          ingoing weights that lie near each other: balanced k-means
    "co-activation"    units that are active for the same inputs: the graph of that, cut
    "random"           the control

Which experts an input needs (`router`):
    "network"          a small network taught to predict the masses
    "mean key"         x · κ_e, κ_e the mean of the experts' ingoing weights, at length 1
    "truth"            the masses themselves: all units run, to see what a perfect router would do
    "fixed"            the experts with the largest mass on average, the same for every input: the control
    "random"           a random linear map: the control

A rectified layer in which few units are active loses little: what does not run would have said nothing.

Source: "MoEfication: Transformer Feed-forward Layers are Mixtures of Experts" (P209). The router network there is trained
in the same way on a loss that we did not see; the cross-entropy to the shares of the mass is ours, and so are |a_u| in
place of a_u for units that may be negative and the "fixed" control.
"""

from typing import Any

import torch
from torch import nn

from labkit.example import Example
from labkit.parts.carved import CarvedExperts, carved
from labkit.parts.carved_gates import ROUTERS, Router, routed
from labkit.parts.partition import SPLITS, Split, divided, members
from labkit.recording.dense_blocks import DenseBlock, drawn_batch, regrouped
from labkit.recording.hidden import sampled

ROWS = 8192
"""Rows at most that are looked at."""


def moefication(
    model: nn.Module,
    batch: Any = None,
    *,
    experts: int = 8,
    chosen: int = 2,
    split: Split = "weights",
    router: Router = "network",
    where: str = "*",
    seed: int = 0,
) -> nn.Module:
    """A copy of the model whose dense feedforward blocks that fit `where` are experts, of which `chosen` run.

    `batch` is what splits and routers are fitted on. Without it they are fitted on drawn normal inputs, which is enough
    where both read the weights alone. `layer.gate.chosen` may be changed at any time; `labkit.parts.carved.choose` does it
    for a whole model.
    Raises: ValueError for a number of experts that does not divide the units and for words that are not known; LabError
    where no block fits.
    """
    if split not in SPLITS or router not in ROUTERS:
        raise ValueError(
            f"a layer is split by one of {', '.join(SPLITS)} and routed by one of {', '.join(ROUTERS)}, not by {split!r} "
            f"and {router!r}."
        )

    def build(block: DenseBlock) -> CarvedExperts:
        rows = sampled(block.inputs, ROWS)
        groups = members(divided(block.units.into, lambda: block.units.hidden(rows), experts, split, seed))
        layer = carved(block.units, groups, groups.new_empty(0), chosen=chosen, gate=None)
        layer.gate = routed(layer, rows, chosen, router, seed)
        return layer.train(model.training)

    return regrouped(model, drawn_batch(model) if batch is None else batch, build, where)


def _small() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))


example = Example(_small, inputs=lambda seed: (torch.randn(7, 5, generator=torch.Generator().manual_seed(seed)),))
