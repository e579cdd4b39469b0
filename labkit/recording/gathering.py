"""What a look adds up, part by part: the units of a layer, the choices of a router, the steps of the parameters.

Each gatherer is given what passes by (`add`), and hands out a row when the window ends (`row`).

A unit is *active* where its modulus exceeds the layer's threshold: 0 behind a ReLU and where values are never negative
and often exactly 0, else 5 % of the layer's root mean square at the first look, which then stays. Where a layer is read
behind its dropout, what is dropped is not active. A unit is

* *dead* when it was not active once in the last `ENOUGH` inputs or more that were looked at. Then, at 95 % confidence,
  it is active on fewer than 3/`ENOUGH` of all inputs (the rule of three). A history calls it dead from the beginning
  of such a stretch on;
* *saturated* when a bounded nonlinearity (tanh, sigmoid, hard ones) is at its bounds, where its slope is below 1 % of
  its largest, in 95 % of the window's inputs; of any other nonlinearity: when it was active on every input of the
  window with a standard deviation below 1 % of its mean, so that it is nothing but a bias;
* a *duplicate* when, over `SAMPLE` rows, it correlates with an earlier unit of its layer by 0.98 or more in modulus.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from labkit.parts.gate import Routing
from labkit.recording.density import RunningDensity
from labkit.recording.duplicates import duplicates
from labkit.recording.history import GateRow, UnitRow
from labkit.recording.moments import RunningMoments, Scratch, some_rows

ENOUGH = 1000
SAMPLE = 128
"""Rows that correlations are computed on."""
DENSITY_STRIDE, DENSITY_VALUES = 8, 16_384
"""The histogram counts each eighth of the rows that a look sees, and about so many values of a call at most."""
FLAT = 0.95
EXACT = 16_384
"""Entries of a parameter whose change is measured: all of a smaller one, 64 evenly spread stretches of a larger one."""


def bounds_of(module: nn.Module) -> tuple[float, float] | None:
    """Below and above which values a nonlinearity hardly changes any more; None where it has no such bounds."""
    match module:
        case nn.ReLU6():
            return -math.inf, 6.0
        case nn.Hardtanh():
            return module.min_val, module.max_val
        case nn.Tanh():
            return -0.995, 0.995
        case nn.Sigmoid():
            return 0.0025, 0.9975
        case nn.Hardsigmoid():
            return 0.0, 1.0
        case nn.Softsign():
            return -0.9, 0.9
    return None


class Units:
    """Gathers the units of one layer."""

    def __init__(
        self,
        scratch: Scratch,
        bounds: tuple[float, float] | None = None,
        *,
        rectified: bool = False,
        units: bool = True,
        density: bool = True,
        health: bool = True,
    ):
        self._moments = RunningMoments(scratch) if units or health else None
        self._density = RunningDensity() if density else None
        self._bounds, self._health = bounds if health else None, health
        self._count = 0
        self._flat: Tensor | None = None
        self._kept: list[Tensor] = []
        self._silent: np.ndarray | None = None
        self.threshold: float | None = 0.0 if rectified else None

    def add(self, values: Tensor, stride: int, offset: int, *, sample: bool, dense: bool) -> None:
        """Count in what the layer said: values (..., units), detached.

        With `sample`, some rows are kept to be compared; with `dense`, values are counted for the histogram.
        """
        rows = some_rows(values, stride, offset)
        if not rows.numel():
            return
        self._count += len(rows)
        if self._moments is not None:
            if self.threshold is None:
                self.threshold = _threshold(rows)
            self._moments.add(rows, self.threshold)
        if self._density is not None and dense:
            apart = min(len(rows), max(DENSITY_STRIDE, rows.numel() // DENSITY_VALUES))
            self._density.add(rows[offset % apart :: apart])
        if self._bounds is not None:
            flat = ((rows <= self._bounds[0]) | (rows >= self._bounds[1])).sum(0)
            self._flat = flat if self._flat is None or self._flat.shape != flat.shape else self._flat + flat
        if sample and self._health and sum(map(len, self._kept)) < SAMPLE:
            self._kept.append(rows[:: max(1, len(rows) // SAMPLE)][:SAMPLE].clone())

    def row(self) -> UnitRow | None:
        """The window that ends here; None when the layer did not run in it."""
        count, self._count = self._count, 0
        if not count:
            return None
        density = self._density.drain() if self._density is not None else None
        moments = self._moments.drain() if self._moments is not None else None
        if moments is None:
            return UnitRow(count, density=density)
        if not self._health:
            return UnitRow(count, moments, density=density)
        never = moments.active == 0
        before = self._silent if self._silent is not None and len(self._silent) == len(never) else 0
        self._silent = silent = (before + count) * never
        saturated = np.zeros(len(never), bool)
        if self._flat is not None:
            saturated, self._flat = self._flat.cpu().numpy() >= FLAT * count, None
        elif (always := moments.active == count).any():
            saturated = always & (moments.variance < 1e-4 * moments.mean**2)
        return UnitRow(count, moments, silent, silent >= ENOUGH, saturated, self._compared(), density)

    def _compared(self) -> np.ndarray | None:
        """Which units are duplicates, where rows were kept to find that out."""
        kept, self._kept = self._kept, []
        if not kept or len({part.shape[1] for part in kept}) > 1:
            return None
        return duplicates(torch.cat(kept), threshold=self.threshold or 0.0).cpu().numpy()


def _threshold(rows: Tensor) -> float:
    some = rows[:: max(1, rows.numel() // 2**16)].float()
    some = some[some.isfinite()]
    zeros = float((some == 0).sum())
    if not some.numel() or (zeros > 0.01 * some.numel() and not bool((some < 0).any())):
        return 0.0
    return 0.05 * float(some.square().mean().sqrt())


class Choices:
    """Gathers the decisions of one router."""

    def __init__(self) -> None:
        self._load: Tensor | None = None
        self._chosen: Tensor | None = None
        self._silent: np.ndarray | None = None
        self._margin = self._inputs = self._asked = 0.0
        self._places = 1

    def add(self, routing: Routing) -> None:
        """Count in the choices of one call."""
        index, weights = routing.index.flatten(0, -2), routing.weights.detach().flatten(0, -2)
        if not index.numel():
            return
        weights = torch.where(index >= 0, weights, 0).float()
        if routing.soft:
            load, chosen = weights.sum(0), (weights > 0).sum(0)
        else:
            places = index.clamp_min(0).flatten()
            load = torch.bincount(places, weights.flatten(), minlength=routing.choices)
            chosen = torch.bincount(places, (index >= 0).flatten().float(), minlength=routing.choices)
        load, chosen = load.double().cpu(), chosen.double().cpu()
        if self._load is None or self._chosen is None or len(self._load) != len(load):
            self._load, self._chosen, self._inputs = load, chosen, 0.0
        else:
            self._load += load
            self._chosen += chosen
        self._inputs += len(index)
        self._places = index.shape[-1]
        margin = margin_of(routing)
        if margin is not None:
            self._margin += float(margin.sum())
            self._asked += margin.numel()

    def row(self, first: np.ndarray | None = None) -> GateRow | None:
        """The window that ends here; None when the router did not run in it."""
        if self._load is None or self._chosen is None or not self._inputs:
            return None
        load, chosen, inputs = self._load.numpy().copy(), self._chosen.numpy().copy(), int(self._inputs)
        before = self._silent if self._silent is not None and len(self._silent) == len(load) else 0
        self._silent = np.where(chosen == 0, before + inputs, 0)
        enough = max(ENOUGH, 20 * len(load) / self._places)
        margin = self._margin / self._asked if self._asked else np.nan
        self._load.zero_()
        self._chosen.zero_()
        self._inputs = self._margin = self._asked = 0.0
        return GateRow(inputs, load, chosen, self._silent >= enough, margin, first)


def margin_of(routing: Routing) -> Tensor | None:
    """p1 - p2 of every input, (...), between 0 and 1: how clearly the first choice won. None where it is not known.

    The probabilities are the mixture's where all choices take part, else the scores (made to sum to 1 by a softmax
    where they do not yet); without scores those of the chosen ones, if there are two at least.
    """
    if routing.choices < 2:
        return None
    if routing.soft:
        shares = routing.weights.detach().float()
    elif routing.scores is not None:
        shares = routing.scores.detach().float()
        if bool((shares < 0).any()) or not torch.allclose(shares.sum(-1), shares.new_ones(()), atol=1e-3):
            shares = shares.softmax(-1)
    elif routing.weights.shape[-1] > 1:
        shares = routing.weights.detach().float()
        shares = shares / shares.sum(-1, keepdim=True).clamp_min(1e-12)
    else:
        return None
    best = shares.topk(2, -1).values
    return best[..., 0] - best[..., 1]


def first_choice(routing: Routing) -> np.ndarray:
    """The best choice of every input, flat; of a mixture the one with the largest weight."""
    first = routing.weights.argmax(-1) if routing.soft else routing.index[..., 0]
    small = np.int16 if routing.choices < 2**15 else np.int32
    return first.flatten().cpu().numpy().astype(small)


class Steps:
    """Gathers what an optimizer's step does: norms of gradients, and changes relative to the parameters."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]]):
        self._named = [(name, one) for name, one in named if one.requires_grad and one.numel()]
        self._before: dict[str, Tensor] = {}
        self.gradients: dict[str, float] = {}
        self.updates: dict[str, float] = {}

    def before(self, moved: set[int]) -> None:
        """Take the gradients' norms and remember the weights that will be moved (by `id`): call it before the step."""
        self.norms()
        self.remember(moved)

    def norms(self) -> None:
        """The norm of each gradient that there is now."""
        found = [(name, one.grad) for name, one in self._named if one.grad is not None]
        if found:
            dense = [grad.coalesce().values() if grad.is_sparse else grad for _, grad in found]
            self.gradients = dict(zip([name for name, _ in found], _norms(dense)))

    def remember(self, moved: set[int] | None = None) -> None:
        """Keep a copy of the entries whose change is measured."""
        chosen = [(name, one) for name, one in self._named if moved is None or id(one) in moved]
        self._before = {name: _some(one.detach()).clone() for name, one in chosen}

    def after(self) -> None:
        """Compare with what was remembered: call it after the step."""
        if not self._before:
            return
        names = [name for name, _ in self._named if name in self._before]
        now = [_some(one.detach()).float() for name, one in self._named if name in self._before]
        old = [self._before[name].float() for name in names]
        change, size = _norms([one - other for one, other in zip(now, old)]), _norms(old)
        self.updates = {name: one / other if other else math.nan for name, one, other in zip(names, change, size)}
        self._before = {}

    def row(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Gradient norms and update ratios of the last look."""
        found = self.gradients, self.updates
        self.gradients, self.updates = {}, {}
        return found


def _some(values: Tensor) -> Tensor:
    if values.numel() <= EXACT or not values.is_contiguous():
        return values
    length = values.numel() // 64
    return values.view(-1)[: 64 * length].view(64, length)[:, : EXACT // 64]


def _norms(tensors: list[Tensor]) -> list[float]:
    """The Euclidean norms as Python numbers, with one wait for the device."""
    return torch.stack([torch.linalg.vector_norm(one, dtype=_wide(one)) for one in tensors]).float().tolist()


def _wide(values: Tensor) -> torch.dtype | None:
    """Sums of sixteen-bit numbers are taken in single precision."""
    return torch.float32 if values.dtype in (torch.float16, torch.bfloat16) else None
