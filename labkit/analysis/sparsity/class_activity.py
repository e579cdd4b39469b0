"""What every hidden unit says to every class: its mean activation, the picture in which ensembles are seen.

    m_ic = (1 / R_c) Σ_{rows of class c} a_i         over the R_c rows of class c

A unit that belongs to one class only is one strong cell in an empty column; one that everything excites is a full column.

Source: the maps of units by categories in "Emergent representations in networks trained with the Forward-Forward algorithm"
(P199), there with a row for each image.
"""

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.ensembles import class_means
from labkit.recording.hidden import by_input, hidden
from labkit.recording.tables import layered


def class_activity(model: nn.Module, batch: tuple[Tensor, Tensor], *, classes: int | None = None) -> xr.DataArray:
    """The mean activation of every hidden unit on the inputs of every class, in evaluation.

    An input of several places (tokens, pixels) counts by its mean over them. Layers whose rows cannot be told apart by
    input are left out.

    Shapes: batch (x, labels), labels (inputs,) -> (layer, class, unit); NaN where a layer has fewer units or a class no inputs.
    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    count = int(batch[1].max()) + 1 if classes is None else classes
    values = {name: by_input(found) for name, found in hidden(model, batch).items()}
    tables = {
        name: class_means(table.float().cpu(), batch[1].cpu(), count).numpy()
        for name, table in values.items()
        if table is not None
    }
    return layered(tables, ("class", "unit"), name="class_activity", long_name="mean activation")


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
