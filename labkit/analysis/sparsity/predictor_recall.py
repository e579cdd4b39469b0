"""Whether a small predictor knows from a block's input which hidden units will be active.

A unit need not be computed if it is known beforehand that it will be silent. The predictor is linear and of low rank: it
reads the block's input x, scores every unit, and the best-scored share of the units is computed.

    score = (x - x̄) U V,      U (width, rank),  V (rank, units)

the reduced-rank ridge regression of "was active" (0 or 1) on x, in closed form. It is fitted on every second input of the
batch; all is measured on the others. Beside it stands what needs no predictor: always the units that were most often
active on the first half. A predictor is worth its work only in so far as it is better than that.

Source: the sparsity predictors of Liu et al., "Deja Vu: Contextual Sparsity for Efficient LLMs at Inference Time" (2023),
which are small networks trained by gradient descent; the closed form is ours.
"""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.recording.batches import evenly
from labkit.recording.entering import entering
from labkit.recording.hidden import sampled
from labkit.recording.tables import layered

QUANTITIES = ("recall", "recall of the most frequent", "share of activation", "share of the most frequent")
BUSY, RIDGE = 0.1, 1e-2
"""Without exact zeros, a unit counts as active where its modulus is among the largest tenth of its layer's."""


def predictor_recall(
    model: nn.Module,
    batch: tuple[Tensor, ...],
    *,
    kept: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
    rank: int = 16,
    rows: int = 4096,
    units: int = 4096,
) -> xr.DataArray:
    """The share of really active units that a predictor of low rank finds, by the share of units that are computed.

    Shapes: batch (x, ...) -> (layer, kept, quantity): `recall` of the predictor, `recall of the most frequent` units,
    and the share of Σ|a| that each of the two choices keeps. Coordinate `active` (layer): the share of units that are
    active. attrs: `rank`, `sampled`.
    Raises: NothingRecorded when the model has no block whose hidden units can be read; LabError when no block's input
    can be read, and for fewer than 4 inputs.
    """
    found = entering(model, batch)
    if not found:
        raise LabError(
            "Of no block both the input and the hidden units can be read, so there is nothing to predict from."
        )
    tables, active = {}, []
    for name, (given, said) in found.items():
        first = said.input % 2 == 0 if int(said.input.min()) >= 0 else torch.arange(len(said.input)) % 2 == 0
        if int(first.sum()) < 2 or int((~first).sum()) < 2:
            raise LabError(
                "The predictor is fitted on one half of the batch and measured on the other: give 4 inputs or more."
            )
        fit, test = (sampled(mask.nonzero().squeeze(1), rows) for mask in (first, ~first))
        some = evenly(said.values.shape[-1], units).to(said.values.device)
        x, values = given.values.float().cpu(), said.values[:, some].float().abs().cpu()
        limit = _limit(values[fit])
        score, often = predicted(x[fit], values[fit] > limit, x[test], rank)
        tables[name] = measured(values[test], values[test] > limit, score, often, kept)
        active.append(float((values[test] > limit).float().mean()))
    return layered(
        tables,
        ("kept", "quantity"),
        name="predictor_recall",
        long_name="share of what is active that is found",
        units="fraction",
        coords={
            "kept": ("kept", [float(share) for share in kept], {"long_name": "share of units that are computed"}),
            "quantity": list(QUANTITIES),
            "active": ("layer", active),
        },
        rank=rank,
        sampled=f"at most {rows:,} rows of each half and {units:,} units of a layer",
    )


def predicted(x: Tensor, active: Tensor, new: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The scores of the units for new inputs, and how often each was active.

    Shapes: x (rows, width), active (rows, units) bool, new (others, width) -> (others, units), (units,).
    """
    target, mean, often = active.double(), x.double().mean(0), active.double().mean(0)
    centred = x.double() - mean
    gram = centred.T @ centred
    ridge = RIDGE * gram.diagonal().mean().clamp_min(1e-12) * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram + ridge, centred.T @ (target - often))
    if rank < min(weight.shape):  # keep the directions in which the fitted values centred @ weight vary most
        power, basis = torch.linalg.eigh(gram)
        spread = power.clamp_min(0).sqrt().unsqueeze(1) * (basis.T @ weight)  # spreadᵀ spread = fittedᵀ fitted
        kept = torch.linalg.eigh(spread @ spread.T)[1][:, -rank:]
        directions = torch.linalg.qr(spread.T @ kept)[0]
        weight = weight @ directions @ directions.T
    return (often + (new.double() - mean) @ weight).float(), often.float()


def measured(values: Tensor, active: Tensor, score: Tensor, often: Tensor, kept: Sequence[float]) -> np.ndarray:
    """The quantities for each share of units that is computed, (kept, quantity)."""
    table = []
    for share in kept:
        count = max(1, round(share * values.shape[-1]))
        row = []
        for rated in (score, often.expand_as(score)):
            chosen = torch.zeros_like(active).scatter_(-1, rated.topk(count, dim=-1).indices, True)
            hits, total = (chosen & active).sum(), active.sum()
            mass, whole = (values * chosen).sum(), values.sum()
            row.append((float(hits / total) if total else np.nan, float(mass / whole) if whole else np.nan))
        table.append([row[0][0], row[1][0], row[0][1], row[1][1]])
    return np.asarray(table, dtype=np.float32)


def _limit(values: Tensor) -> float:
    """Above which modulus a unit of this layer counts as active: 0 where there are zeros."""
    if float((values == 0).float().mean()) >= 0.05:
        return 0.0
    some = sampled(values.reshape(-1, 1), 2**20).flatten()
    return float(some.sort().values[int((1 - BUSY) * (len(some) - 1))])


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 3)),
    inputs=lambda seed: (torch.randn(40, 4), torch.arange(40) % 3),
)
