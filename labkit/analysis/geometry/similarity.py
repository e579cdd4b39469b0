"""How alike two layers represent the same inputs, whatever the rotation and scale: linear centred kernel alignment.

    CKA(X, Y) = HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)),      K = X Xᵀ, L = Y Yᵀ

over n rows. The plain estimator takes HSIC(K, L) = Σ_ij (HKH)_ij (HLH)_ij with the centring H. It is biased upwards: with
more units than rows, independent noise looks alike. The unbiased one sets the diagonals to 0 and uses

    HSIC_1 = [tr(K L) + 1ᵀK1 1ᵀL1 / ((n-1)(n-2)) - 2/(n-2) 1ᵀK L1] / (n (n-3)),

which is Σ_ij K°_ij L°_ij / (n (n-3)) of matrices K° centred so that the rows without the diagonal sum to 0. That form is
computed here, in strips of rows, so that no n x n matrix is kept.

Source: Kornblith et al., "Similarity of Neural Network Representations Revisited" (2019); the unbiased estimator of Song
et al., "Feature Selection via Dependence Maximization" (2012), as used by Nguyen, Raghu and Kornblith, "Do Wide and Deep
Networks Learn the Same Things?" (2021). "Task structure and nonlinearity jointly determine learned representational
geometry" (P270) follows such alignments over training.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.recording.hidden import CELLS, aligned, hidden, sampled

ROWS, LEAST = 1024, 4


def similarity(model: nn.Module, batch: tuple[Tensor, ...], *, unbiased: bool = True, rows: int = ROWS) -> xr.DataArray:
    """Linear CKA between all feed-forward blocks of a model, in evaluation.

    Shapes: batch (x, ...) -> (layer, other), 1 on the diagonal. The unbiased estimate can fall a little below 0; NaN
    for a layer that says the same for all inputs. At most `rows` rows, sampled evenly. A row is a token; where the
    layers see different places, as in a convolutional network, an input, its units averaged over their places.
    Raises: NothingRecorded when the model has no block whose hidden units can be read; LabError for fewer than 4 rows.
    """
    values, which, left_out = aligned(hidden(model, batch))
    found = similarity_of(values, unbiased=unbiased, rows=rows)
    averaged = "over the places of each input" if which is None else ""
    return found.assign_attrs(averaged=averaged, left_out=", ".join(left_out))


def similarity_of(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor] | None = None,
    *,
    unbiased: bool = True,
    rows: int = ROWS,
) -> xr.DataArray:
    """Linear CKA between the layers of two recordings of the same inputs: two steps of a training, or two seeds.

    Without `second`, between the layers of `first`.

    Shapes: each (rows, ...) with the same rows in the same order -> (layer, other), layers of `first` by those of
    `second`.
    Raises: LabError where the numbers of rows differ or are below 4.
    """
    other = first if second is None else second
    counts = {len(table) for table in (*first.values(), *other.values())}
    if len(counts) != 1:
        raise LabError(
            f"CKA compares the same inputs in two places, and the recordings have {', '.join(map(str, sorted(counts)))} "
            f"rows; record both with the same batch."
        )
    count = min(counts.pop(), rows)
    if count < LEAST:
        raise LabError(f"CKA needs at least {LEAST} rows and there are {count}; use a larger batch.")
    every = [_centred(table, rows) for table in first.values()]
    every += [] if second is None else [_centred(table, rows) for table in other.values()]
    products = _products(every, unbiased)
    start = 0 if second is None else len(first)
    power = products.diagonal().clone()
    power[power <= 0] = torch.nan
    table = (products / (power.sqrt().unsqueeze(1) * power.sqrt()))[: len(first), start:]
    return xr.DataArray(
        table.numpy().astype(np.float32),
        dims=("layer", "other"),
        coords={"layer": list(first), "other": list(other)},
        name="similarity",
        attrs={
            "long_name": "similarity of representations (linear CKA)",
            "units": "",
            "estimator": "unbiased" if unbiased else "plain",
            "sampled": f"{count:,} rows",
        },
    )


def _centred(table: Tensor, rows: int) -> Tensor:
    """(rows, units) float32 with mean 0: CKA does not change by it, rounding errors do."""
    kept = sampled(table, rows).flatten(1).float().cpu()
    kept = kept - kept.mean(0)
    return kept / kept.norm().clamp_min(torch.finfo(torch.float32).tiny)  # of no consequence, but for overflow


def _products(every: Sequence[Tensor], unbiased: bool) -> Tensor:
    """Σ_ij K°_ij L°_ij for every pair of centred Gram matrices, (layers, layers) float64."""
    count = len(every[0])
    products = torch.zeros(len(every), len(every), dtype=torch.float64)
    diagonals = [(table.double() ** 2).sum(1) for table in every]
    sums = [-diagonal for diagonal in diagonals]  # of the rows without the diagonal: the units have mean 0
    step = max(1, CELLS // (count * len(every)))
    for start in range(0, count, step):
        stop = min(start + step, count)
        strips = []
        for table, row_sums in zip(every, sums):
            strip = (table[start:stop] @ table.T).double()
            if unbiased:
                means = row_sums / (count - 2)
                total = row_sums.sum() / ((count - 1) * (count - 2))
                strip = strip - means[start:stop, None] - means + total
                strip[torch.arange(stop - start), torch.arange(start, stop)] = 0
            strips.append(strip.flatten())
        flat = torch.stack(strips)
        products += flat @ flat.T
    return products


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
