"""Which inputs each hidden unit responds to most strongly: the first thing to look at to guess what it stands for.

For token sequences and images an input counts once for a unit, at the place where the unit is most active in it.

Source: the top-activating examples of "Towards Monosemanticity: Decomposing Language Models With Dictionary Learning"
(Bricken et al., 2023).
"""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.recording.hidden import CELLS, Hidden, hidden, rows_of
from labkit.recording.tables import layered, stacked


def strongest_inputs(model: nn.Module, batch: tuple[Tensor, ...], *, ranks: int = 9) -> xr.DataArray:
    """The largest activations of each unit of every feed-forward block, best first, and the inputs they come from.

    A rank at which the activation is exactly 0 is empty: value NaN, input -1. So a dead unit has no strongest input.

    Shapes: batch (x, ...) -> (layer, unit, rank). Coordinates of the same shape: `input`, the place in the batch, and
    `place`, the token or pixel within the input; -1 where there is none. Where a block sees only some tokens, as an
    expert does, `input` is -1 and `place` counts the rows that it saw.
    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    return strongest_of(hidden(model, batch), ranks=ranks)


def strongest_inputs_of(values: Mapping[str, Tensor], *, ranks: int = 9) -> xr.DataArray:
    """The same of activations that are at hand. Shapes: each (inputs, ..., units) -> (layer, unit, rank)."""
    return strongest_of({name: rows_of(table) for name, table in values.items()}, ranks=ranks)


def strongest_of(found: Mapping[str, Hidden], *, ranks: int = 9) -> xr.DataArray:
    """The same of rows whose inputs are known. Shapes: each (rows, units) -> (layer, unit, rank)."""
    values, inputs, places = {}, {}, {}
    for name, rows in found.items():
        values[name], inputs[name], places[name] = _of_layer(rows, ranks)
    dims = ("layer", "unit", "rank")
    return layered(
        values,
        ("unit", "rank"),
        name="strongest_inputs",
        long_name="activation at the unit's strongest inputs",
        coords={"input": (dims, stacked(inputs, fill=-1)), "place": (dims, stacked(places, fill=-1))},
    )


def _of_layer(rows: Hidden, ranks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, inputs and places of the strongest, each (units, ranks), of one layer."""
    grid = _grid(rows)
    units = rows.values.shape[-1]
    values = np.full((units, ranks), np.nan, dtype=np.float32)
    inputs, places = np.full((units, ranks), -1), np.full((units, ranks), -1)
    if not grid.numel():
        return values, inputs, places
    index, empty = grid.clamp_min(0).to(rows.values.device), (grid < 0).to(rows.values.device)
    some = max(1, CELLS // grid.numel())
    for start in range(0, units, some):
        columns = rows.values[:, start : start + some]
        said = columns[index.flatten()].float().view(*grid.shape, -1).masked_fill(empty.unsqueeze(-1), -torch.inf)
        best, at = said.max(1)
        top, which = best.topk(min(ranks, len(grid)), dim=0)
        row = grid.to(at.device)[which, at.gather(0, which)].cpu()
        kept = ((top != 0) & top.isfinite()).T.cpu().numpy()
        chosen = slice(start, start + top.shape[1]), slice(top.shape[0])
        values[chosen] = np.where(kept, top.T.cpu().numpy(), np.nan)
        inputs[chosen] = np.where(kept, rows.input[row].T.numpy(), -1)
        places[chosen] = np.where(kept, rows.place[row].T.numpy(), -1)
    return values, inputs, places


def _grid(rows: Hidden) -> Tensor:
    """Which row is place p of input i, (inputs, places), -1 where there is none; each row for itself if not known."""
    if not len(rows.input) or int(rows.input.min()) < 0:
        return torch.arange(len(rows.input)).unsqueeze(-1)
    grid = torch.full((int(rows.input.max()) + 1, int(rows.place.max()) + 1), -1)
    grid[rows.input, rows.place] = torch.arange(len(rows.input))
    return grid


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
