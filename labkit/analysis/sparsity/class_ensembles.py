"""Which hidden units form the ensemble of each class: few for each, if the layer is sparse, and others for others.

By distribution:    i ∈ E_c   where the activations of unit i on class c differ from those of the other units
                              (Kolmogorov-Smirnov tests, mean p-value below 0.05)
By strength:        i ∈ E_c   where its mean activation on c is above a tenth of the strongest unit's

See `labkit.parts.ensembles` for both. In a dense layer the first says "nearly all units": there is no ensemble then.

Source: "Emergent representations in networks trained with the Forward-Forward algorithm" (P199); by distribution after the
authors' published code, by strength reconstructed.
"""

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.ensembles import Rule, members
from labkit.recording.hidden import by_input, hidden
from labkit.recording.tables import layered


def class_ensembles(
    model: nn.Module, batch: tuple[Tensor, Tensor], *, classes: int | None = None, by: Rule = "distribution"
) -> xr.DataArray:
    """Whether each hidden unit belongs to the ensemble of each class, in evaluation: 1 or 0.

    An input of several places (tokens, pixels) counts by its mean over them. Layers whose rows cannot be told apart by
    input are left out.

    Shapes: batch (x, labels), labels (inputs,) -> (layer, class, unit); NaN where a layer has fewer units.
    Raises: NothingRecorded when the model has no block whose hidden units can be read; ValueError for an unknown rule.
    """
    count = int(batch[1].max()) + 1 if classes is None else classes
    values = {name: by_input(found) for name, found in hidden(model, batch).items()}
    tables = {
        name: members(table.float().cpu(), batch[1].cpu(), count, by).float().numpy()
        for name, table in values.items()
        if table is not None
    }
    return layered(tables, ("class", "unit"), name="class_ensembles", long_name=f"in the ensemble, by {by}")


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
