"""Which hidden units do no work of their own: dead, saturated, or duplicates of another.

- *dead*: the unit never says anything. Its largest modulus over the batch is at most 1/1000 of what is usual among
  the units of its layer: of the median of the units' largest moduli, those at exactly 0 left out. For a ReLU these are
  the units that are 0 for every input; a GELU's tail towards 0 counts as nothing.
- *saturated*: the unit is stuck. Either at an end of the layer's range: at least 95 % of its values lie within 1 % of the
  range from the layer's largest value, or from its smallest unless that is 0 (resting at 0 is sparsity, not
  saturation). Or anywhere else: its standard deviation is below 1 % of its mean, so that it is nothing but a bias.
- *duplicate*: another unit of the layer says the same up to scale and sign: their correlation over the batch is at
  least 0.99 in modulus. Dead units have no twin, nor do units that speak so rarely that agreement means nothing:
  (Σ d²)² / Σ d⁴ of the deviations d from the mean, the number of rows that carry the correlation, must be at least 8.

Above 4,096 units the twins are looked for by 64 random projections of the rows: of each unit's four nearest there the
correlation is computed exactly. A twin at 0.99 is missed with a probability far below one in a thousand.

Source: saturation as in Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks"
(2010), dead units as in Lu et al., "Dying ReLU and Initialization: Theory and Numerical Examples" (2019); the exact
definitions and thresholds above are ours.
"""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.recording.hidden import CELLS, blocks, hidden, sampled
from labkit.recording.tables import stacked

CONDITIONS = ("dead", "saturated", "duplicate")
QUIET, STUCK, NEAR, ALIKE, CARRIED = 1e-3, 0.95, 0.01, 0.99, 8
ROWS, EXACT, DIRECTIONS, NEAREST = 2048, 4096, 64, 4


def unit_health(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """Whether each hidden unit of each feed-forward block is dead, saturated or a duplicate, in evaluation.

    Both units of a pair of duplicates are marked; the coordinate `twin` (layer, unit) is the unit that each resembles
    most, -1 where it has no twin.

    Shapes: batch (x, ...) -> (condition, layer, unit), 0 or 1; NaN where a layer has fewer units.
    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    return unit_health_of({name: found.values for name, found in hidden(model, batch).items()})


def unit_health_of(values: Mapping[str, Tensor]) -> xr.DataArray:
    """The same of activations that are at hand. Shapes: each (..., units) -> (condition, layer, unit)."""
    marks, twins = {}, {}
    for name, table in values.items():
        flat = table.reshape(-1, table.shape[-1])
        dead, saturated = _stuck(flat)
        twins[name] = torch.where(dead, -1, twins_of(flat)).numpy()
        marks[name] = np.stack([dead.numpy(), saturated.numpy(), twins[name] >= 0]).astype(np.float32)
    table = stacked(marks, axis=1)
    most = max(flat.numel() // flat.shape[-1] for flat in values.values())
    return xr.DataArray(
        table,
        dims=("condition", "layer", "unit"),
        coords={
            "condition": list(CONDITIONS),
            "layer": list(values),
            "unit": np.arange(table.shape[-1]),
            "twin": (("layer", "unit"), stacked(twins, fill=-1)),
        },
        name="unit_health",
        attrs={
            "long_name": "units that do no work of their own",
            "units": "",
            "rows": f"dead and saturated over {most:,} rows, duplicates over {min(most, ROWS):,} of them",
        },
    )


def _stuck(values: Tensor) -> tuple[Tensor, Tensor]:
    """Which units are dead and which are saturated, each (units,)."""
    units = values.shape[-1]
    low, high = torch.full((units,), torch.inf), torch.full((units,), -torch.inf)
    near, sums = values[:1].float(), torch.zeros(2, units, dtype=torch.float64)  # centred, so that squares stay exact
    for part in blocks(values):
        low, high = torch.minimum(low, part.amin(0).cpu()), torch.maximum(high, part.amax(0).cpu())
        sums += torch.stack([(part - near).sum(0), (part - near).square().sum(0)]).cpu()
    largest = torch.maximum(low.abs(), high.abs())
    heard = largest[largest > 0]
    dead = largest <= (QUIET * heard.median() if len(heard) else 0)
    bottom, top = low.min(), high.max()
    tolerance = NEAR * (top - bottom)
    above, below = torch.zeros(units), torch.zeros(units)
    for part in blocks(values):
        above += (part >= top - tolerance).sum(0).cpu()
        below += (part <= bottom + tolerance).sum(0).cpu()
    ends = [(above, top), (below, bottom)]
    at_end = [(count >= STUCK * len(values)) & (end.abs() > tolerance) for count, end in ends]
    shift, power = sums / max(1, len(values))
    still = (power - shift**2).clamp_min(0).sqrt() < NEAR * (near[0].cpu().double() + shift).abs()
    return dead, (at_end[0] | at_end[1] | still) & ~dead


def twins_of(values: Tensor, *, alike: float = ALIKE, rows: int = ROWS, exact: int = EXACT) -> Tensor:
    """For each unit the one that it resembles most, if their correlation is at least `alike` in modulus; else -1.

    Shapes: values (rows, units) -> (units,) integers. Memory: a copy of the sampled rows and of one block of
    correlations, whatever the number of units.
    """
    unit = _unit_vectors(sampled(values, rows))
    count = unit.shape[-1]
    twins = torch.full((count,), -1)
    if count < 2 or len(unit) < 2:
        return twins
    if count > exact:
        shape, generator = (len(unit), DIRECTIONS), torch.Generator().manual_seed(0)
        sketch = torch.nn.functional.normalize(torch.randn(shape, generator=generator).T @ unit, dim=0)
    else:
        sketch = unit
    step = max(1, CELLS // count)
    for start in range(0, count, step):
        block = slice(start, min(start + step, count))
        likeness = (sketch[:, block].T @ sketch).abs()
        likeness[torch.arange(likeness.shape[0]), torch.arange(block.start, block.stop)] = -1
        near = likeness.topk(min(NEAREST, count - 1), dim=1).indices
        truth = torch.einsum("rb,rbk->bk", unit[:, block], unit[:, near]).abs() if count > exact else None
        best, at = (likeness.gather(1, near) if truth is None else truth).max(1)
        twins[block] = torch.where(best >= alike, near.gather(1, at.unsqueeze(1)).squeeze(1), -1)
    return twins


def _unit_vectors(values: Tensor) -> Tensor:
    """Each unit's deviations from its mean at length 1, (rows, units) float32; 0 for units that cannot be judged."""
    centred = values.float().cpu()
    centred = centred - centred.mean(0)
    power = (centred**2).sum(0)
    carried = power**2 / (centred**4).sum(0)
    kept = (power > 0) & (carried >= min(CARRIED, len(centred) / 4))
    return centred * torch.where(kept, power.rsqrt(), 0)


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
