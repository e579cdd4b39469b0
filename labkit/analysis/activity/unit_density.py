"""How the activations of one hidden unit are distributed over a batch, and how often it is silent.

Source: the neuron's activation density on the feature pages of "Towards Monosemanticity: Decomposing Language Models
With Dictionary Learning" (Bricken et al., 2023).
"""

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.recording.hidden import hidden


def unit_density(
    model: nn.Module, batch: tuple[Tensor, ...], *, layer: str | None = None, unit: int = 0, bins: int = 48
) -> xr.DataArray:
    """The share of rows (tokens, pixels or inputs) by the activation of one unit, in evaluation.

    `layer` is a name as in `unit_activity`; without it, the first block.

    Shapes: batch (x, ...) -> (bin), sums to 1; the coordinate `bin` holds the centres. attrs: `layer`, `unit`,
    `width` of a bin, `zeros` the share of rows at exactly 0, `mean`, `largest`, `rows`.
    Raises: NothingRecorded when the model has no block whose hidden units can be read; LabError for a layer or a unit
    that is not there.
    """
    found = hidden(model, batch)
    name = next(iter(found)) if layer is None else layer
    if name not in found:
        raise LabError(f"There are no hidden units recorded under {name!r}; the layers are {', '.join(found)}.")
    values = found[name].values
    if not 0 <= unit < values.shape[-1]:
        raise LabError(f"{name} has the units 0 to {values.shape[-1] - 1}, and {unit} was asked for.")
    density = unit_density_of(values[:, unit], bins=bins)
    return density.assign_attrs(layer=name, unit=unit, long_name=f"share of rows by the activation of unit {unit}")


def unit_density_of(values: Tensor, *, bins: int = 48) -> xr.DataArray:
    """The same of one unit's activations (rows,) that are at hand."""
    said = values.flatten().double().cpu().numpy()
    low, high = (float(said.min()), float(said.max())) if said.size else (0.0, 1.0)
    low, high = (low, high) if high > low else (low - 0.5, low + 0.5)
    counts, edges = np.histogram(said, bins, (low, high))
    return xr.DataArray(
        (counts / max(1, said.size)).astype(np.float32),
        dims=("bin",),
        coords={"bin": ("bin", ((edges[1:] + edges[:-1]) / 2).astype(np.float32), {"long_name": "activation"})},
        name="unit_density",
        attrs={
            "long_name": "share of rows",
            "units": "fraction",
            "width": float(edges[1] - edges[0]),
            "zeros": float((said == 0).mean()) if said.size else 0.0,
            "mean": float(said.mean()) if said.size else 0.0,
            "largest": high,
            "rows": int(said.size),
        },
    )


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
