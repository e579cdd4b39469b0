"""What silencing hidden units costs and what it saves: loss and accuracy against the measured time of the next product.

Four rules keep some units of each token and set the others to 0, without training:

    magnitude   |a_u| > t                    TEAL's rule
    WINA        |a_u| · ‖W_:u‖₂ > t          W multiplies the units next
    top-k       the k largest |a_u|          of each token
    random      k of those that are not 0    the control: how much any silencing costs

A *level* is the share of units to silence. The thresholds t are set on every second input of the batch, so that they
silence this share there; everything is measured on the other inputs. k is the share of the units that is kept. What is
silenced by all four at level 0 is nothing: what a ReLU leaves at exactly 0 stays 0, and shows in the active fraction.

The time is that of the down-projections, on one thread of this machine: a kernel that gathers the active units' weights
(`labkit.parts.gathered`) in turns with the dense product, on activations as this rule left them. The time to find the
active units is in it, the time to score them is not.

Source: "WINA: Weight Informed Neuron Activation for Accelerating Large Language Model Inference" (P281), whose column
norms are taken as they are, without its rotation of the weights; Liu et al., "Training-Free Activation Sparsity in Large
Language Models" (2024, TEAL); top-k as in "The Lazy Neuron Phenomenon" (P466).
"""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.parts.threshold import above, calibrated, scores, strongest
from labkit.recording.batches import answer, evaluating, judged, part_of, size_of, some_of
from labkit.recording.following import following, norms_of, weight_of
from labkit.recording.hidden import hidden
from labkit.recording.intervene import changed
from labkit.recording.timing import product_times

METHODS = ("magnitude", "WINA", "top-k", "random")
QUANTITIES = (
    "active fraction",
    "loss",
    "accuracy",
    "milliseconds",
    "dense milliseconds",
    "milliseconds of a batch",
    "dense milliseconds of a batch",
)
LEVELS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
BATCH = 64
"""Rows that the kernels are timed on."""


def threshold_tradeoff(
    model: nn.Module,
    batch: tuple[Tensor, ...],
    *,
    levels: Sequence[float] = LEVELS,
    layers: str = "*",
    inputs: int = 1024,
    seconds: float = 8.0,
    loss: Callable[[Any, Any], Tensor] | None = None,
) -> xr.DataArray:
    """Loss, accuracy, active fraction and time when a share of the hidden units is silenced by four rules.

    `layers` is a pattern on the names of blocks. Of the blocks that match, those are changed of which the following
    weight is found; if there is none, all are, and WINA and the times are NaN. At most `inputs` inputs are used. The
    timing takes about `seconds`. `loss(output, batch)` as in `ablation_effect`.

    Shapes: batch (x, labels) -> (method, level, quantity). Where one layer is changed, the coordinate `threshold`
    (method, level) is the score above which a unit is kept. Milliseconds are of one row, or of a batch of
    `attrs["batch"]` rows, over all changed layers.
    Raises: NothingRecorded when the model has no block whose hidden units can be read; LabError where no block matches,
    for fewer than 2 inputs, and for levels outside 0 to below 1.
    """
    if not levels or not all(0 <= level < 1 for level in levels):
        raise LabError(f"A level is the share of units to silence, from 0 to below 1; given were {list(levels)}.")
    some, count = some_of(model, batch, inputs)
    if count < 2:
        raise LabError(
            "The thresholds are set on one half of the batch and measured on the other: give 2 inputs or more."
        )
    every = torch.arange(size_of(some))
    setting, measured = part_of(some, every[0::2]), part_of(some, every[1::2])
    found = {name: rows for name, rows in hidden(model, setting).items() if fnmatch.fnmatchcase(name, layers)}
    if not found:
        raise LabError(f"No block's name matches {layers!r}; the blocks are {', '.join(hidden(model, setting))}.")
    after = {name: module for name, module in following(model, setting).items() if name in found}
    names, norms = list(after) or list(found), norms_of(after)
    limits = {
        method: {name: _limits(method, found[name].values, levels, norms.get(name)) for name in names}
        for method in METHODS
    }
    table = np.full((len(METHODS), len(levels), len(QUANTITIES)), np.nan, dtype=np.float32)
    share = seconds / (len(METHODS) * len(levels) * max(1, len(after)))
    untouched: list[float] | None = None
    with evaluating(model):
        for row, method in enumerate(METHODS):
            for column, level in enumerate(levels):
                if method == "WINA" and not after:
                    continue
                if level > 0 or untouched is None:
                    rules = {
                        name: _Rule(method, level, limits[method][name][column], norms.get(name)) for name in names
                    }
                    with changed(model, dict(rules)):
                        output = answer(model, measured)
                    active = sum(rule.active for rule in rules.values()) / sum(rule.seen for rule in rules.values())
                    table[row, column] = [active, *judged(output, measured, loss), *_times(rules, after, share)]
                else:
                    table[row, column] = untouched
                untouched = table[row, column].tolist() if level == 0 else untouched
    only = (
        {"threshold": (("method", "level"), [limits[method][names[0]] for method in METHODS])}
        if len(names) == 1
        else {}
    )
    return xr.DataArray(
        table,
        dims=("method", "level", "quantity"),
        coords={
            "method": list(METHODS),
            "level": ("level", [float(level) for level in levels], {"long_name": "share of units to silence"}),
            "quantity": list(QUANTITIES),
            **only,
        },
        name="threshold_tradeoff",
        attrs={
            "long_name": "what silencing hidden units costs and saves",
            "units": "fraction; nats; fraction; ms",
            "layers": ", ".join(names),
            "batch": BATCH,
            "sampled": f"thresholds on {len(every[0::2]):,} inputs, measured on {len(every[1::2]):,} others",
        },
    )


class _Rule:
    """One rule at one level in one block: it silences, counts what it kept, and keeps some rows for the timing."""

    def __init__(self, method: str, level: float, threshold: float, norms: Tensor | None):
        self.method, self.level, self.threshold, self.norms = method, level, threshold, norms
        self.active, self.seen, self.rows = 0, 0, torch.empty(0, 0)
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, values: Tensor) -> Tensor:
        kept = values * self.mask(values) if self.level > 0 else values
        self.active += int((kept != 0).sum())
        self.seen += kept.numel()
        if not self.rows.numel():
            self.rows = kept.reshape(-1, kept.shape[-1])[:BATCH].clone()
        return kept

    def mask(self, values: Tensor) -> Tensor:
        count = max(1, round((1 - self.level) * values.shape[-1]))
        if self.method == "top-k":
            return strongest(values, count)
        if self.method == "random":
            drawn = torch.rand(values.shape, generator=self.generator).to(values.device)
            return strongest(drawn * (values != 0), count)
        return above(values, self.threshold, self.norms if self.method == "WINA" else None)


def _limits(method: str, values: Tensor, levels: Sequence[float], norms: Tensor | None) -> list[float]:
    """The threshold of each level for one layer, on the inputs that are for setting them; NaN for rules without one."""
    if method not in ("magnitude", "WINA") or (method == "WINA" and norms is None):
        return [float("nan")] * len(levels)
    score = scores(values.float(), norms if method == "WINA" else None)
    return [calibrated(score, level) for level in levels]


def _times(rules: Mapping[str, "_Rule"], after: Mapping[str, nn.Module], seconds: float) -> list[float]:
    """Milliseconds of the gathering and the dense product for one row, then for a batch, summed over the layers."""
    times = []
    for name, module in after.items():
        weight = weight_of(module)
        if weight is not None and weight.dim() == 2 and rules[name].rows.numel():
            times.append(product_times(rules[name].rows, weight, module.bias, seconds=seconds))
    return np.sum(times, axis=0).tolist() if times else [np.nan] * 4


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 3)),
    inputs=lambda seed: (torch.randn(40, 4), torch.arange(40) % 3),
    exempt={"says the same whatever the mode and twice": "the milliseconds are measured anew each time"},
)
