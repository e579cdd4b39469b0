"""How much each hidden unit says what others say too: the mean size of its correlation with the other units of its layer.

    c_u = 1/(m-1) Σ_{v ≠ u} |corr(a_u, a_v)|        over the m units that vary, the correlation over the rows

It is 0 where no unit tells anything about another, and 1 where all say the same up to scale and sign. Of R rows even
independent units have √(2 / (π R)) on average, about 0.04 for 500. Correlation is a stand-in: units are co-adapted where one
is of use only beside certain others, and such units may be correlated or not.

Source: co-adaptation is what "Improving neural networks by preventing co-adaptation of feature detectors" (P158) sets out to
prevent, without measuring it; the pairwise correlation as its measure follows Cogswell et al., "Reducing Overfitting in Deep
Networks by Decorrelating Representations" (2016), who penalise the covariance.
"""

from collections.abc import Mapping

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.recording.hidden import hidden, sampled
from labkit.recording.tables import layered


def coadaptation(model: nn.Module, batch: tuple[Tensor, ...], *, rows: int = 4096) -> xr.DataArray:
    """The mean modulus of each hidden unit's correlation with the others of its block, in evaluation.

    More than `rows` rows are sampled evenly. Shapes: batch (x, ...) -> (layer, unit), 0 to 1; NaN for a unit that never varies,
    and where a layer has fewer units.
    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    return coadaptation_of({name: found.values for name, found in hidden(model, batch).items()}, rows=rows)


def coadaptation_of(values: Mapping[str, Tensor], *, rows: int = 4096) -> xr.DataArray:
    """The same of activations that are at hand. Shapes: each (rows, units) -> (layer, unit)."""
    found = {}
    for name, table in values.items():
        said = sampled(table.reshape(-1, table.shape[-1]), rows).double().cpu()
        said = said - said.mean(0)
        length = said.norm(dim=0)
        varies = length > 1e-9 * length.max().clamp_min(1e-300)
        said = said[:, varies] / length[varies]
        others = (said.T @ said).abs().sum(1) - 1
        means = torch.full((len(length),), torch.nan, dtype=torch.float64)
        means[varies] = others / (len(others) - 1) if len(others) > 1 else torch.nan
        found[name] = means.numpy()
    return layered(found, ("unit",), name="coadaptation", long_name="mean correlation with the other units")


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
