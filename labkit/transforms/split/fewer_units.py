"""Lets the feedforward layers of a trained model run fewer of their units, by a way of your choice and without training.

    y = Σ_{u in S(x)} φ(k_u · x + c_u) w_u + b

Symbols: x an input, u a hidden unit with ingoing weights k_u, c_u and outgoing weights w_u, φ the activation (in a gated layer
times a second product), S(x) the units that run. The ways differ in S:

    BestUnits("output norm")         S the same for every x: the units of the highest score over a batch
    EachInput("WINA")                S the units that score highest for this x
    Experts(32, "co-activation")     S groups of units, which a router names before any unit is computed

The first is structured pruning: the layer becomes narrow. The second has to compute all a_u to know the best, and saves the
second product only. The third saves both, and may be wrong about who is best. Which of them is fastest at which share is a
question for a clock: see `labkit.workbench.sparsity.ways_compared`.

Source: the scores are those of "FFSplit: Split Feed-Forward Network For Optimizing Accuracy-Efficiency Trade-off in Language
Model Inference" (P201), "WINA: Weight Informed Neuron Activation for Accelerating Large Language Model Inference" (P281) and
"MoEfication: Transformer Feed-forward Layers are Mixtures of Experts" (P209); putting them side by side is ours.
"""

from typing import Any

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.fewer_units import BestUnits, Way, keep
from labkit.recording.dense_blocks import DenseBlock, drawn_batch, regrouped
from labkit.recording.hidden import sampled

ROWS = 8192
"""Rows at most that a way is fitted on."""


def fewer_units(
    model: nn.Module,
    batch: Any = None,
    *,
    way: Way | None = None,
    share: float = 0.5,
    where: str = "*",
    seed: int = 0,
) -> nn.Module:
    """A copy of the model whose dense feedforward blocks that fit `where` run this share of their units.

    `way` is `BestUnits(score)`, `EachInput(rule)` or `Experts(...)` of `labkit.parts.fewer_units`, or anything with their
    method `layer`; without it `BestUnits()`. It is fitted on `batch`, without one on drawn normal inputs. The share can be
    changed at any time by `labkit.parts.fewer_units.keep(model, share)`.
    Raises: ValueError for a share outside 0 to 1; LabError where no block fits, or where the copy with all its units says
    something else than the model.
    """
    if not 0 < share <= 1:
        raise ValueError(f"The share of the units that is kept is above 0 and at most 1, not {share}.")
    chosen = BestUnits() if way is None else way

    def build(block: DenseBlock) -> nn.Module:
        rows = sampled(block.inputs, ROWS)
        return chosen.layer(block.units, rows, 1.0, seed).train(model.training)

    result = regrouped(model, drawn_batch(model) if batch is None else batch, build, where)
    keep(result, share)
    return result


def slowly(model: nn.Module, x: Tensor) -> Tensor:
    """Score each unit over the drawn batch by hand, drop the lower half, and run what is left."""
    first, last = model[0], model[2]  # type: ignore[index]
    said = first(drawn_batch(model)).relu().abs().mean(0)
    order = (said * last.weight.norm(dim=0)).argsort(descending=True)[: len(said) // 2]
    return first(x).relu()[:, order] @ last.weight[:, order].T + last.bias


def _small() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))


example = Example(
    _small, inputs=lambda seed: (torch.randn(7, 5, generator=torch.Generator().manual_seed(seed)),), reference=slowly
)
