"""How few units of a layer share its answer to an input, by Hoyer's measure: 0 all alike, 1 a single one.

    H = (√n - ‖a‖₁ / ‖a‖₂) / (√n - 1)         over the n units, averaged over the inputs of a class

It orders answers as `population_sparsity` (Treves and Rolls) does and is the smaller number of the two; see
`labkit.parts.hoyer` for how they are related.

Source: Hoyer, "Non-negative matrix factorization with sparseness constraints" (2004), as used by the authors' code of
"Emergent representations in networks trained with the Forward-Forward algorithm" (P199).
"""

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.hoyer import hoyer
from labkit.recording.hidden import by_input, hidden
from labkit.recording.tables import layered


def hoyer_sparsity(model: nn.Module, batch: tuple[Tensor, Tensor], *, classes: int | None = None) -> xr.DataArray:
    """The mean over the inputs of each class, in evaluation. Inputs at which a layer is silent do not count.

    Shapes: batch (x, labels), labels (inputs,) -> (layer, class), 0 to 1; NaN for a class without inputs.
    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    labels = batch[1].cpu()
    count = int(labels.max()) + 1 if classes is None else classes
    values = {name: by_input(found) for name, found in hidden(model, batch).items()}
    tables = {}
    for name, table in values.items():
        if table is not None:
            said = hoyer(table.double().cpu())
            tables[name] = torch.stack([said[labels == one].nanmean() for one in range(count)]).numpy()
    return layered(tables, ("class",), name="hoyer_sparsity", long_name="sparseness (Hoyer)")


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
