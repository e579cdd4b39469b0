"""Over how many directions each layer's activations spread: the spectrum of their covariance.

    p_k = λ_k / Σ λ,      effective rank = exp(-Σ p_k ln p_k),      participation ratio = (Σ λ)² / Σ λ²

where λ_k are the eigenvalues of the covariance of the activations over the rows, in descending order. Both numbers are
the number of directions if all are used alike, and 1 if there is only one.

Source: Roy and Vetterli, "The effective rank: a measure of effective dimensionality" (2007), of the covariance matrix;
the participation ratio as in Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement" (2017).
"""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.spectra import hard_rank, soft_rank, variances
from labkit.recording.hidden import hidden, sampled
from labkit.recording.tables import layered

SIDE, COMPONENTS = 1024, 256


def spectrum(
    model: nn.Module, batch: tuple[Tensor, ...], *, rows: int = SIDE, components: int = COMPONENTS
) -> xr.DataArray:
    """The share of variance of each principal direction of every feed-forward block, in evaluation.

    Shapes: batch (x, ...) -> (layer, component), descending; NaN beyond a layer's directions. At most `components` are
    kept; coordinates (layer): `effective_rank` and `participation_ratio`, of all of them, `rows` used, and `sampled`,
    1 where a layer has more than `rows` units and more than `rows` rows, so that only `rows` rows were looked at: then
    no more than that many directions can be found.
    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    values = {name: found.values for name, found in hidden(model, batch).items()}
    return spectrum_of(values, rows=rows, components=components)


def spectrum_of(values: Mapping[str, Tensor], *, rows: int = SIDE, components: int = COMPONENTS) -> xr.DataArray:
    """The same of activations that are at hand. Shapes: each (..., units) -> (layer, component)."""
    shares, ranks, ratios, used, cut = {}, [], [], [], []
    for name, table in values.items():
        flat = table.reshape(-1, table.shape[-1])
        wide = flat.shape[-1] > rows
        looked = sampled(flat, rows) if wide else flat
        powers = variances(looked)
        total = powers.sum()
        share = powers / total if total > 0 else np.full(len(powers), np.nan)
        shares[name] = share[:components]
        ranks.append(soft_rank(powers))
        ratios.append(hard_rank(powers))
        used.append(len(looked))
        cut.append(int(len(looked) < len(flat)))
    return layered(
        shares,
        ("component",),
        name="spectrum",
        long_name="share of variance",
        units="fraction",
        coords={
            "effective_rank": ("layer", np.asarray(ranks, dtype=np.float32)),
            "participation_ratio": ("layer", np.asarray(ratios, dtype=np.float32)),
            "rows": ("layer", used),
            "sampled": ("layer", cut),
        },
    )


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
