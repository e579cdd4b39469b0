"""How much of its width a feedforward layer uses: ranks of its hidden units' activations, before and after they act.

Of the eigenvalues λ_1 ≥ λ_2 ≥ ... of the covariance of D hidden units over all tokens, with shares p_k = λ_k / Σ λ:

    soft rank      S = exp(-Σ p_k ln p_k)              directions in use, weak ones too
    hard rank      H = (Σ λ)² / Σ λ²                   directions that carry most of the variance
    concentration  (2/D) Σ_k (p_1 + ... + p_k - k/D)   0: all directions alike; near 1: one direction has it all
    utilisation    2 (H/D) (S/D) / (H/D + S/D)         the harmonic mean of both shares of the width

The stage "before" is what the layer's first linear map says (of a gated layer the first of its two), "after" is what
enters its last one. Before the nonlinearity there are no more directions than the layer has inputs, however wide it is;
only the nonlinearity can fill more of the width.

Source: "Spectral Scaling Laws in Language Models: How Effectively Do Feed-Forward Networks Use Their Latent Space?" (P202),
which calls the four hard rank, soft rank, spectral concentration and spectral utilisation index (SUI). The two ranks are
as published. That SUI is the harmonic mean of the shares, and the zero and scale of the concentration, are reconstructed.
"""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.spectra import concentration, hard_rank, soft_rank, variances
from labkit.recording.anatomy import blocks_and_banks
from labkit.recording.batches import evaluating
from labkit.recording.entering import entering
from labkit.recording.hidden import hidden, sampled
from labkit.recording.materials import projection
from labkit.recording.tables import layered

ROWS = 8192
STAGES = ("before", "after")
QUANTITIES = ("hard rank", "soft rank", "concentration", "utilisation")


def spectral_utilisation(model: nn.Module, batch: tuple[Tensor, ...], *, rows: int = ROWS) -> xr.DataArray:
    """Ranks, concentration and utilisation of every feedforward block, in evaluation.

    Shapes: batch (x, ...) -> (stage, layer, quantity); NaN before the nonlinearity where a block's first map is not
    known, as of convolutions. At most `rows` rows (a row is a token), sampled evenly: no more directions can be found.
    The coordinate `units` (layer) is the width.
    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    after = {name: sampled(found.values, rows) for name, found in hidden(model, batch).items()}
    before = _before(model, batch, rows)
    return xr.concat(
        [_stage({name: table.get(name) for name in after}) for table in (before, after)],
        xr.IndexVariable("stage", list(STAGES)),
        combine_attrs="override",
        coords="minimal",
        compat="override",
    ).assign_coords(units=("layer", [table.shape[-1] for table in after.values()]))


def utilisation_of(values: Tensor) -> dict[str, float]:
    """The four numbers by name, of activations that are at hand. Shapes: values (rows, units)."""
    powers, units = variances(values), values.shape[-1]
    hard, soft = hard_rank(powers), soft_rank(powers)
    both = 2 * hard * soft / (hard + soft) / units
    return dict(zip(QUANTITIES, (hard, soft, concentration(powers, units), both), strict=True))


def _stage(tables: Mapping[str, Tensor | None]) -> xr.DataArray:
    found = {}
    for name, table in tables.items():
        known = None if table is None else utilisation_of(table.flatten(0, -2))
        found[name] = np.array([np.nan if known is None else known[quantity] for quantity in QUANTITIES])
    return layered(
        found,
        ("quantity",),
        name="spectral_utilisation",
        long_name="how much of its width a layer uses",
        units="directions, or a share of the width",
        coords={"quantity": list(QUANTITIES)},
    )


def _before(model: nn.Module, batch: tuple[Tensor, ...], rows: int) -> dict[str, Tensor]:
    """What the first linear map of each block says, worked out from what it is given."""
    given, found = entering(model, batch), {}
    with torch.no_grad(), evaluating(model):
        for block in blocks_and_banks(model)[0]:
            first = next((part for _, part in block.parts if projection(part)), None)
            if first is not None and block.name in given:
                found[block.name] = first(sampled(given[block.name][0].values, rows))
    return found


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
