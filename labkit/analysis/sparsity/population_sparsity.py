"""How few hidden units share the answer to each token: 0 where all say the same, 1 where a single one speaks.

    S_r = (1 - A_r) / (1 - 1/n),      A_r = (Σ_u |a_ru| / n)² / (Σ_u a_ru² / n)         over the n units

Source: Vinje and Gallant, "Sparse coding and decorrelation in primary visual cortex during natural vision" (2000), after
Treves and Rolls, "What determines the capacity of autoassociative memories in the brain?" (1991).
"""

from collections.abc import Mapping

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.sparseness import sparseness
from labkit.recording.hidden import aligned, blocks, hidden
from labkit.recording.tables import layered


def population_sparsity(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """The population sparseness of every feed-forward block at every token (or input), in evaluation.

    Shapes: batch (x, ...) -> (layer, token), 0 to 1; NaN where a layer is silent. The coordinate `sequence` (token) is
    the input of the batch. Where the layers see different places, as in a convolutional network, a token is an input,
    its units averaged over their places.
    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    values, which, left_out = aligned(hidden(model, batch))
    found = population_sparsity_of(values)
    sequence = found["token"].values if which is None else which.input.numpy()
    return found.assign_coords(sequence=("token", sequence)).assign_attrs(left_out=", ".join(left_out))


def population_sparsity_of(values: Mapping[str, Tensor]) -> xr.DataArray:
    """The same of activations that are at hand. Shapes: each (tokens, units) -> (layer, token)."""
    rows = {}
    for name, table in values.items():
        parts = [(part.abs().double(), table.shape[-1]) for part in blocks(table)]
        rows[name] = torch.cat([sparseness(part.sum(-1), (part**2).sum(-1), n) for part, n in parts]).cpu().numpy()
    return layered(rows, ("token",), name="population_sparsity", long_name="population sparseness")


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
