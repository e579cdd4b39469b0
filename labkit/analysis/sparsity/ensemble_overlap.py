"""How much the ensembles of two classes have in common: shared units over all their units (Jaccard).

    J_cd = |E_c ∩ E_d| / |E_c ∪ E_d|         1 for a class with itself, 0 for strangers, NaN where both are empty

Two ensembles that each hold nearly the whole layer overlap for that reason alone. `expected` says by how much: about the overlap
that ensembles of these sizes would have if their units were drawn at random, s_c s_d / (s_c + s_d - s_c s_d), with s_c the share
of the layer's units that are in the ensemble of c.

Source: the shared units of "Emergent representations in networks trained with the Forward-Forward algorithm" (P199); Jaccard's
index is our choice to measure them.
"""

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.ensembles import Rule, jaccard, members
from labkit.recording.hidden import by_input, hidden
from labkit.recording.tables import layered


def ensemble_overlap(
    model: nn.Module, batch: tuple[Tensor, Tensor], *, classes: int | None = None, by: Rule = "distribution"
) -> xr.DataArray:
    """The overlap of the ensembles of each two classes, in evaluation, with the coordinate `expected` (layer, class, other).

    Shapes: batch (x, labels), labels (inputs,) -> (layer, class, other), 0 to 1.
    Raises: as `class_ensembles`.
    """
    count = int(batch[1].max()) + 1 if classes is None else classes
    found, chance = {}, {}
    for name, seen in hidden(model, batch).items():
        table = by_input(seen)
        if table is None:
            continue
        ensembles = members(table.float().cpu(), batch[1].cpu(), count, by)
        share = ensembles.double().mean(-1)
        both = share.unsqueeze(-1) * share
        found[name] = jaccard(ensembles).numpy()
        chance[name] = (both / (share.unsqueeze(-1) + share - both)).numpy()
    said = layered(found, ("class", "other"), name="ensemble_overlap", long_name="overlap of two ensembles (Jaccard)")
    expected = layered(chance, ("class", "other"), name="expected", long_name="overlap by chance")
    return said.assign_coords(expected=(said.dims, expected.values))


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
