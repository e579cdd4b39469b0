"""How selective each hidden unit is: 0 where it responds alike to all inputs, 1 where to a single one.

    S_u = (1 - A_u) / (1 - 1/R),      A_u = (Σ_r |a_ru| / R)² / (Σ_r a_ru² / R)         over the R rows

Source: Vinje and Gallant, "Sparse coding and decorrelation in primary visual cortex during natural vision" (2000), after
Treves and Rolls, "What determines the capacity of autoassociative memories in the brain?" (1991).
"""

from collections.abc import Mapping

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.sparseness import sparseness
from labkit.recording.hidden import blocks, hidden
from labkit.recording.tables import layered


def lifetime_sparsity(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """The lifetime sparseness of every hidden unit of every feed-forward block over the rows of a batch.

    Shapes: batch (x, ...) -> (layer, unit), 0 to 1; NaN for a unit that is silent throughout, and where a layer has
    fewer units.
    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    return lifetime_sparsity_of({name: found.values for name, found in hidden(model, batch).items()})


def lifetime_sparsity_of(values: Mapping[str, Tensor]) -> xr.DataArray:
    """The same of activations that are at hand. Shapes: each (..., units) -> (layer, unit)."""
    rows = {}
    for name, table in values.items():
        flat = table.reshape(-1, table.shape[-1])
        sums = torch.zeros(2, flat.shape[-1], dtype=torch.float64)
        for part in blocks(flat):
            sums += torch.stack([part.abs().sum(0), (part.double() ** 2).sum(0)]).cpu()
        rows[name] = sparseness(sums[0], sums[1], len(flat)).numpy()
    return layered(rows, ("unit",), name="lifetime_sparsity", long_name="lifetime sparseness")


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
