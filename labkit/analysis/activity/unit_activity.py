"""How active each hidden unit is: the mean modulus of its activation over a batch.

    activity_u = (1/R) Σ_r |a_ru|         over the R rows: tokens, pixels or inputs

Source: the quantity that magnitude-based activation sparsity ranks units by, as in "WINA: Weight Informed Neuron
Activation for Accelerating Large Language Model Inference" (P281).
"""

from collections.abc import Mapping

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.recording.hidden import blocks, hidden
from labkit.recording.tables import layered


def unit_activity(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """The mean modulus of every hidden unit of every feed-forward block, in evaluation.

    Shapes: batch (x, ...) -> (layer, unit); NaN where a layer has fewer units.
    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    return unit_activity_of({name: found.values for name, found in hidden(model, batch).items()})


def unit_activity_of(values: Mapping[str, Tensor]) -> xr.DataArray:
    """The same of activations that are at hand. Shapes: each (..., units) -> (layer, unit)."""
    means, rows = {}, {}
    for name, table in values.items():
        flat = table.reshape(-1, table.shape[-1])
        total = torch.zeros(flat.shape[-1], dtype=torch.float64)
        for part in blocks(flat):
            total += part.abs().sum(0).cpu()
        rows[name] = len(flat)
        means[name] = (total / max(1, len(flat))).numpy()
    return layered(
        means,
        ("unit",),
        name="unit_activity",
        long_name="mean absolute activation",
        rows=f"{min(rows.values()):,} to {max(rows.values()):,} rows a layer",
    )


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
