"""How the activations of each layer are distributed: a histogram for each layer, over its own range.

A few huge activations must not squeeze everything else into one bin: where the extremes reach far beyond the values
that 99.9 % of the activations stay within, the range ends there and what lies beyond is counted in the outermost bins.

Source: the histograms from which thresholds are calibrated in "Training-Free Activation Sparsity in Large Language
Models" (Liu et al., 2024, known as TEAL), to which "WINA" (P281) compares.
"""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.recording.hidden import blocks, hidden, sampled
from labkit.recording.tables import layered

TAIL = 0.0005
"""The share of values on either side that a range may leave out."""
FAR = 1.5
"""How much wider than the range of all but the tails the full range may be and still be kept."""
LOOKED_AT = 2**20
"""From how many values the range is found; all values are counted."""


def activation_density(
    model: nn.Module,
    batch: tuple[Tensor, ...],
    *,
    bins: int = 64,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> xr.DataArray:
    """The share of activations in each bin, for every feed-forward block, in evaluation.

    Give `ranges`, layer name -> (lowest, highest) edge, to compare recordings bin by bin, as over training.

    Shapes: batch (x, ...) -> (layer, bin), sums to 1 over bin. Coordinates: `centre` (layer, bin) and `width` (layer)
    of the bins, `zeros` (layer) the share of values that are exactly 0, `beyond` (layer) the share outside the range.
    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    values = {name: found.values for name, found in hidden(model, batch).items()}
    return activation_density_of(values, bins=bins, ranges=ranges)


def activation_density_of(
    values: Mapping[str, Tensor], *, bins: int = 64, ranges: Mapping[str, tuple[float, float]] | None = None
) -> xr.DataArray:
    """The same of activations that are at hand. Shapes: each (..., units) -> (layer, bin)."""
    shares, centres, widths, zeros, beyond = {}, [], [], [], []
    for name, table in values.items():
        flat = table.reshape(-1, table.shape[-1])
        low, high = ranges[name] if ranges and name in ranges else range_of(flat)
        counts, outside, none = np.zeros(bins), 0, 0
        for part in blocks(flat):
            counts += torch.histc(part.clamp(low, high), bins, low, high).double().cpu().numpy()
            outside += int(((part < low) | (part > high)).sum())
            none += int((part == 0).sum())
        width = (high - low) / bins
        shares[name] = counts / max(1, flat.numel())
        centres.append(low + width * (np.arange(bins) + 0.5))
        widths.append(width)
        zeros.append(none / max(1, flat.numel()))
        beyond.append(outside / max(1, flat.numel()))
    return layered(
        shares,
        ("bin",),
        name="activation_density",
        long_name="share of activations",
        units="fraction",
        coords={
            "centre": (("layer", "bin"), np.asarray(centres, dtype=np.float32), {"long_name": "activation"}),
            "width": ("layer", np.asarray(widths, dtype=np.float32)),
            "zeros": ("layer", np.asarray(zeros, dtype=np.float32), {"long_name": "share of exact zeros"}),
            "beyond": ("layer", np.asarray(beyond, dtype=np.float32), {"long_name": "share outside the range"}),
        },
        note="each layer has its own range; what lies outside is counted in the first and last bin",
    )


def range_of(values: Tensor) -> tuple[float, float]:
    """From where to where a histogram of these values goes: their extremes, or without far tails."""
    if values.numel() == 0:
        return 0.0, 1.0
    low = min(float(part.min()) for part in blocks(values))
    high = max(float(part.max()) for part in blocks(values))
    rows = sampled(values, max(1, LOOKED_AT // values.shape[-1])).float().flatten()
    some = sampled(rows.unsqueeze(-1), LOOKED_AT).squeeze(-1).sort().values
    inner = [float(some[round(share * (len(some) - 1))]) for share in (TAIL, 1 - TAIL)]
    if inner[1] > inner[0] and high - low > FAR * (inner[1] - inner[0]):
        low, high = inner
    return (low, high) if high > low else (low - 0.5, low + 0.5)


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
